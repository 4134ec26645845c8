"""Ingest: the recordings of a source become the shards of a dataset. What is done is kept; the manifest comes last."""

import errno
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from data.errors import DatasetError, InputError
from data.formats.discovery import find_recordings, read_size
from data.formats.label_scheme import LabelScheme, read_labels
from data.formats.splits import read_split
from data.ingest.journal import Journal
from data.ingest.place import work_place
from data.ingest.plan import Places, check_labels
from data.ingest.progress import IngestProgress
from data.ingest.rebuild import rebuild
from data.ingest.run import Run
from data.ingest.work import Work, on_this_machine
from data.manifest import MANIFEST, Manifest
from data.storage import Storage, open_storage

NO_ROOM = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
GOES_ON = "what is done is kept, and the same command goes on from there"


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How to ingest; a dataset that is there already tells what is None here."""

    labels: str | None = None  # a label set's name or YAML file; None: as the layout tells
    split: str | None = None  # train, val, test or shares 8:1:1, of recordings that lie in no split folder
    size: str | None = None  # sensor of recordings that do not name it, as 640x480
    processes: int | None = None  # side by side; None: as many as there are processors, at most 8
    skip_damaged: bool = False  # leave damaged recordings out instead of ending without a dataset
    rebuild: tuple[str, ...] = ()  # SPLIT/NAME of shards to make again, and nothing else


def ingest(
    source: str | Path,
    target: str | Path,
    options: IngestOptions = IngestOptions(),
    progress: Callable[[IngestProgress], None] | None = None,
    work: Work | None = None,
) -> Manifest:
    """Turn the recordings of a source into a dataset; the same source gives the same bytes.

    Run again, it goes on where it was interrupted, and adds what is new or changed in the source.

    Args:
        source: the folder or URL of recordings in one of the layouts of `data.formats.discovery`.
        target: the folder or URL of the dataset.
        options: how.
        progress: told of what is done, several times a second.
        work: makes the shards, elsewhere than in processes of this machine; it must reach source and target.

    Raises:
        InputError: the input breaks a rule, or the target cannot be written; finished shards are kept.
    """
    origin, goal = open_storage(source), open_storage(target)
    if goal.local is not None and goal.local.exists() and not goal.local.is_dir():
        raise InputError(f"{goal.location}: is a file, but a dataset is a folder; choose another target")
    if options.processes is not None and options.processes < 1:
        raise InputError(f"--processes {options.processes}: must be at least 1")
    if options.rebuild and (options.processes is not None or options.skip_damaged or work is not None):
        extra = "--skip-damaged" if options.skip_damaged else "--processes" if work is None else "--on-cluster"
        raise InputError(f"--rebuild makes single shards again, one by one; leave {extra} out")
    files = origin.files()
    places = Places(origin, goal, {file.path: file.bytes for file in files})
    old = _dataset_before(goal)
    rule = options.split or (old.split_rule if old else None)
    found = find_recordings(
        files,
        origin.location,
        _scheme(options, old),
        None if rule is None else read_split(rule),
        read_size(options.size) if options.size else old.size if old else None,
    )
    try:
        with work_place(goal) as place:
            old = _dataset_before(goal)
            if old is not None:
                _check_options(options, found.scheme, old, goal)
            if options.rebuild:
                return rebuild(options.rebuild, found, places, old, place.scratch, progress)
            work = work or on_this_machine(options.processes)
            run = Run(places, found, rule, old, place, work, options.skip_damaged)
            return run.manifest(progress)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise InputError(f"{goal.location}: has no room left ({error.strerror}); make room: {GOES_ON}") from None
        raise InputError(f"{goal.location}: the ingestion cannot go on ({error}); mend that: {GOES_ON}") from None


def _dataset_before(goal: Storage) -> Manifest | None:
    return Manifest.read(goal) if goal.size(MANIFEST) is not None else Journal(goal).manifest()


def _scheme(options: IngestOptions, old: Manifest | None) -> LabelScheme | None:
    if options.labels is not None:
        return read_labels(options.labels)
    return None if old is None else LabelScheme(old.source_labels, old.label_set, old.label_mapping)


def _check_options(options: IngestOptions, scheme: LabelScheme, old: Manifest, goal: Storage) -> None:
    check_labels(scheme, old, goal)
    if options.size is not None and read_size(options.size) != old.size:
        raise DatasetError(
            f"{goal.location}: --size {options.size}, but the dataset was ingested with "
            f"{old.size.width}x{old.size.height}; leave --size out, or choose another target"
        )
    if options.split is not None and options.split != old.split_rule:
        before = f"with --split {old.split_rule}" if old.split_rule else "without --split"
        raise DatasetError(
            f"{goal.location}: --split {options.split}, but the dataset was ingested {before}; "
            "leave --split out, or choose another target"
        )
