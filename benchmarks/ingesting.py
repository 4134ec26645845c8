"""Ingestion of gzip HDF5 by two processes, against the rate the seed documents of this project give."""

import os
import time
from pathlib import Path

from benchmarks.recordings import recording
from benchmarks.table import Row, row
from data.ingest.ingest import IngestOptions, ingest

SEED_EVENTS_PER_SECOND = 3.0e6  # "3 M events/s" on the eTraM performance page this project grew from


def measure(folder: Path, events: int) -> list[Row]:
    recordings = folder / "recordings"
    for number in (1, 2):
        recording(recordings, f"train_day_000{number}", events)
    os.sync()  # what is still on its way to the disk would be waited for by the ingestion
    options = IngestOptions(labels="etram3", processes=2)
    start = time.perf_counter()
    manifest = ingest(recordings, folder / "dataset", options)
    seconds = time.perf_counter() - start
    rate = sum(entry.events for entry in manifest.recordings) / seconds
    figure = "ingest, Mev/s, 2 processes, gzip HDF5 to shards, against the seed's figure"
    return [row(figure, rate / 1e6, SEED_EVENTS_PER_SECOND / 1e6, 10)]
