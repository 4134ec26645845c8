"""The order of an ingestion: recordings and dataset as the cluster knows them, and how they are to be understood."""

from pathlib import Path
from typing import Any

from data.errors import InputError
from tuner.jobs.order import Order
from tuner.jobs.search_order import check_location

LABELS_FILE = "labels.yaml"
DEFAULT_NAME = "ingest"


def ingest_order(
    source: str,
    dataset: str,
    *,
    name: str | None = None,
    labels: str | None = None,
    split: str | None = None,
    size: str | None = None,
    processes: int | None = None,
    skip_damaged: bool = False,
) -> Order:
    """Check an ingestion and make it an order; a file of labels is sent with it.

    Raises:
        InputError: a place or an option is wrong.
    """
    from data.formats.discovery import read_size
    from data.formats.label_scheme import read_labels
    from data.formats.splits import read_split

    check_location(source, "SOURCE")
    check_location(dataset, "DATASET")
    if split is not None:
        read_split(split)
    if size is not None:
        read_size(size)
    if processes is not None and processes < 1:
        raise InputError(f"--processes {processes}: must be at least 1")
    files: dict[str, bytes] = {}
    if labels is not None:
        read_labels(labels)
        if Path(labels).is_file():
            files[LABELS_FILE] = Path(labels).read_bytes()
    settings: dict[str, Any] = {
        "source": source,
        "dataset": dataset,
        "labels": None if files else labels,
        "split": split,
        "size": size,
        "processes": processes,
        "skip_damaged": skip_damaged,
    }
    return Order("ingest", name or DEFAULT_NAME, settings, files)
