"""The place an ingestion works in: its lock, its scratch folder, and what an earlier one left behind."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from data.errors import InputError
from data.ingest.journal import FOLDER
from data.manifest import Split
from data.storage import Storage


@contextmanager
def work_place(target: Storage) -> Iterator[Path]:
    """A folder of this machine to work in, for one ingestion into the target at a time.

    It lies in the target where that is on this machine, else where temporary files do. Left-overs of an ingestion
    that was killed are removed first.

    Raises:
        InputError: another ingestion into the target goes on.
        OSError: the place cannot be written.
    """
    scratch, lock = _places(target)
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=0):  # the system lets go of it when its process ends, however that happens
            shutil.rmtree(scratch, ignore_errors=True)
            if target.local is not None:
                _remove_partials(target.local)
            try:
                yield scratch
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    except Timeout:
        raise InputError(
            f"{target.location}: another ingestion writes into it; wait until it ends, or choose another target"
        ) from None
    finally:
        if target.local is not None:
            _remove_empty(target.local, lock)


def _places(target: Storage) -> tuple[Path, Path]:
    """The scratch folder and the lock."""
    if target.local is not None:
        return target.local / FOLDER / "scratch", target.local / f"{FOLDER}.lock"
    name = hashlib.sha256(target.location.encode()).hexdigest()[:16]
    scratch = Path(tempfile.gettempdir(), f"spiketune-ingest-{os.getuid()}-{name}")
    return scratch, scratch.with_suffix(".lock")


def _remove_partials(folder: Path) -> None:
    """Remove what has no name yet: its process was killed."""
    for place in (folder, *(folder / split for split in Split), *(folder / FOLDER / split for split in Split)):
        for partial in place.glob(".*.partial"):
            partial.unlink(missing_ok=True)


def _remove_empty(folder: Path, lock: Path) -> None:
    """Remove folders in which nothing came to lie."""
    for empty in (*(folder / FOLDER / split for split in Split), folder / FOLDER, *(folder / split for split in Split)):
        with suppress(OSError):  # it is not there, or not empty
            empty.rmdir()
    if folder.is_dir() and list(folder.iterdir()) == [lock]:
        with suppress(OSError):  # another ingestion came in
            lock.unlink()
            folder.rmdir()
