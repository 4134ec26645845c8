"""The place an ingestion works in: its locks, its scratch folder, and what an earlier one left behind."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from filelock import FileLock, Timeout

from data.errors import InputError
from data.ingest.journal import FOLDER
from data.ingest.lease import NAME as LEASE
from data.ingest.lease import leased, machine
from data.manifest import Split
from data.storage import Storage

_LOCK = PurePosixPath(f"{FOLDER}.lock")


@dataclass(frozen=True, slots=True)
class WorkPlace:
    """Where one ingestion works."""

    scratch: Path  # a folder of the machine that works
    check: Callable[[], None]  # raises InputError where another ingestion has taken the target


@contextmanager
def work_place(target: Storage) -> Iterator[WorkPlace]:
    """A place to work in, for one ingestion into the target at a time, on whichever machine.

    Its folder lies in the target where that is on this machine, else where temporary files do. Left-overs of an
    ingestion that was killed are removed first.

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
                with _known_elsewhere(target) as check:
                    yield WorkPlace(scratch, check)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    except Timeout:
        raise InputError(
            f"{target.location}: another ingestion writes into it; wait until it ends, or choose another target"
        ) from None
    finally:
        if target.local is not None:
            _remove_empty(target.local, lock)


@contextmanager
def _known_elsewhere(target: Storage) -> Iterator[Callable[[], None]]:
    """Keep other machines out: by the file lock itself where the target is a folder, which network disks share."""
    if target.local is not None:
        yield lambda: None
        return
    with leased(target) as lease:
        yield lease.check


def is_locked(target: Storage) -> bool:
    """Whether an ingestion into the target seems to go on, by the file lock alone."""
    _, lock = _places(target)
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True


def is_seen(target: Storage) -> bool:
    """Whether this machine sees the target as the one does that holds its lock."""
    return target.size(LEASE if target.local is None else _LOCK) is not None


@contextmanager
def own_scratch(shared: Path) -> Iterator[Path]:
    """A folder for one of several processes, on several machines, that work on one recording without knowing it.

    Those of processes of this machine that were killed are removed.
    """
    here = hashlib.sha256(machine().encode()).hexdigest()[:16]
    for left in shared.glob(f"{here}-*"):
        if not Path("/proc", left.name.removeprefix(f"{here}-")).exists():
            shutil.rmtree(left, ignore_errors=True)
    folder = shared / f"{here}-{os.getpid()}"
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _places(target: Storage) -> tuple[Path, Path]:
    """The scratch folder and the lock."""
    if target.local is not None:
        return target.local / FOLDER / "scratch", target.local / _LOCK
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
