"""A folder that processes of one machine use together, and that one of them may remove once nobody does.

Each user holds a shared lock on the file `holders`; the kernel frees it however the process ends. Who enters or removes
the folder does so under the lock of the file `gate`, one process at a time.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def entering(folder: Path) -> Iterator[tuple[int, bool]]:
    """Begin to use a folder, made where it is missing; no other process enters or removes it meanwhile.

    Yields a file descriptor that holds the folder until it is closed, and whether nobody else holds it.

    Raises:
        OSError: the folder cannot be made or written.
    """
    with _gate(folder, create=True):
        os.utime(folder / "gate")
        holders = _open(folder / "holders")
        try:
            yield holders, _locked(holders)
            fcntl.flock(holders, fcntl.LOCK_SH)
        except BaseException:
            os.close(holders)
            raise


def is_held(folder: Path) -> bool:
    """Whether a process, this one too, uses the folder."""
    try:
        with _gate(folder, create=False):
            return not _free(folder)
    except FileNotFoundError:
        return False


def remove_unused(folder: Path, idle_s: float = 0.0) -> bool:
    """Remove a folder that no process holds, nor has entered for so long; tells whether it is gone."""
    try:
        with _gate(folder, create=False):
            if _free(folder) and time.time() - (folder / "gate").stat().st_mtime >= idle_s:
                shutil.rmtree(folder)
    except FileNotFoundError:
        pass
    return not folder.exists()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the only lock on a file; waits for it. A process that is killed lets go of it."""
    file = _open(path)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def claim(path: Path) -> int | None:
    """A file descriptor that holds the only lock on a file until it is closed; None where another process has it."""
    file = _open(path)
    if _locked(file):
        return file
    os.close(file)
    return None


@contextmanager
def _gate(folder: Path, create: bool) -> Iterator[None]:
    gate = folder / "gate"
    while True:
        if create:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            file = _open(gate)
        except FileNotFoundError:
            if create:  # removed since it was made
                continue
            raise
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_at(file, gate):  # else it was removed while we waited, and guards nothing any more
                yield
                return
        finally:
            os.close(file)


def _free(folder: Path) -> bool:
    holders = _open(folder / "holders")
    try:
        return _locked(holders)
    finally:
        os.close(holders)


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _is_at(file: int, path: Path) -> bool:
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(file))
