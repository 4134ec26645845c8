"""Node cache: shards fetched from a storage once for all processes of a machine, in bounded room on its disk.

A file is named after its content's SHA-256, so what is there is right, whichever dataset it was fetched for.
Evicting a file that a process has mapped is safe on POSIX: the name goes at once, the content when the last mapping
does. Until then it takes room that the limit does not count.
"""

import errno
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from filelock import FileLock, Timeout

from data.errors import ConfigError, DatasetError, InputError
from data.storage import Storage, partial_path, sha256_of

FOLDER = "SPIKETUNE_CACHE"  # environment: the folder; else ~/.cache/spiketune
LIMIT = "SPIKETUNE_CACHE_GB"  # environment: its most gigabytes; else half of the room there is
SHARDS = "shards"  # the part of the folder that is ours


@dataclass(frozen=True, slots=True)
class _Held:
    path: Path
    bytes: int
    used_ns: int


class NodeCache:
    """A folder of fetched shards that all processes of a machine share; the least recently used go first."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder, self._limit = folder, limit_bytes
        self._incoming = folder / "incoming"  # per shard on its way, under its name: as much room as it will take
        self._locks = folder / "locks"
        try:
            for each in (self._incoming, self._locks):
                each.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{folder}: cannot be written ({error.strerror}); set {FOLDER} to another folder"
            ) from None

    @classmethod
    def of_this_machine(cls) -> "NodeCache":
        """The cache that the environment asks for.

        Raises:
            ConfigError: its limit is no number above 0.
            InputError: its folder cannot be written.
        """
        folder = cache_folder() / SHARDS
        limit = limit_from_environment()
        cache = cls(folder, limit or 0)
        if limit is None:
            cache._limit = (shutil.disk_usage(folder).free + sum(held.bytes for held in cache._held())) // 2
        return cache

    def locate(self, storage: Storage, name: PurePosixPath, sha256: str, bytes: int) -> Path:  # noqa: A002
        """The file of a shard on this machine, fetched by exactly one process if it is not there yet.

        Args:
            storage: where to fetch it from.
            name: of the shard in the storage.
            sha256: of its content, in hexadecimal.
            bytes: of its content.

        Raises:
            DatasetError: the storage has not what the manifest says.
            InputError: the storage does not answer, or there is no room.
        """
        path = self._folder / f"{sha256}{name.suffix}"
        if not _touch(path, bytes):
            with FileLock(self._locks / sha256):
                if not _touch(path, bytes):
                    self._fetch(storage, name, sha256, bytes, path)
        return path

    def _fetch(self, storage: Storage, name: PurePosixPath, sha256: str, size: int, path: Path) -> None:
        _check_size(storage, name, size)
        incoming = self._incoming / sha256
        try:
            self._reserve(incoming, size, storage.url(name))
            with self._full_disk_told(storage.url(name)):
                try:
                    storage.fetch(name, incoming)
                except OSError as error:
                    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                        raise
                    self._evict(size)
                    storage.fetch(name, incoming)
            if incoming.stat().st_size != size or sha256_of(incoming) != sha256:
                raise DatasetError(
                    f"{storage.url(name)}: the shard is damaged: its content is not what the manifest says"
                    f"; {rebuild(storage, name)}"
                )
            incoming.replace(path)
        finally:
            incoming.unlink(missing_ok=True)

    def _reserve(self, incoming: Path, size: int, where: str) -> None:
        """Make room for a shard, and hold it against other processes."""
        if size > self._limit:
            raise InputError(
                f"{where}: the shard has {size / 1e9:.3g} GB, but the cache {self._folder} may hold "
                f"{self._limit / 1e9:.3g} GB; raise {LIMIT}, or set {FOLDER} to a folder on a larger disk"
            )
        while not self._reserved(incoming, size):
            time.sleep(0.2)  # others fetch, and only what they have fetched can be evicted

    def _reserved(self, incoming: Path, size: int) -> bool:
        with FileLock(self._locks / "room"):
            incoming.unlink(missing_ok=True)
            self._sweep()
            room = self._limit - sum(file.stat().st_size for file in _files(self._incoming))
            if room < size:
                return False
            self._shrink(room - size)
            with incoming.open("wb") as file:
                file.truncate(size)  # takes no room yet; storage.fetch puts the whole file in its place
        return True

    def _evict(self, size: int) -> None:
        """Give up this many bytes, or all there are: the disk is fuller than the limit would have it."""
        with FileLock(self._locks / "room"):
            self._shrink(sum(held.bytes for held in self._held()) - size)

    def _shrink(self, most: int) -> None:
        held = sorted(self._held(), key=lambda held: held.used_ns)
        total = sum(each.bytes for each in held)
        for each in held:
            if total <= most:
                return
            each.path.unlink(missing_ok=True)
            total -= each.bytes

    def _sweep(self) -> None:
        """Remove what processes that were killed have left behind: nobody holds its lock any more."""
        for name in {file.name.removeprefix(".").removesuffix(".partial") for file in _files(self._incoming)}:
            try:
                with FileLock(self._locks / name, blocking=False):
                    (self._incoming / name).unlink(missing_ok=True)
                    partial_path(self._incoming / name).unlink(missing_ok=True)
            except Timeout:
                continue

    def _held(self) -> Iterator[_Held]:
        for file in _files(self._folder):
            try:
                status = file.stat()
            except FileNotFoundError:  # evicted meanwhile
                continue
            yield _Held(file, status.st_size, status.st_mtime_ns)

    @contextmanager
    def _full_disk_told(self, where: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(
                f"{where}: cannot be fetched into {self._folder} ({error.strerror}); make room on that disk, or set "
                f"{FOLDER} to a folder on a larger one"
            ) from None


def cache_folder() -> Path:
    """The folder of everything that this machine keeps to be faster next time."""
    given = os.environ.get(FOLDER)
    if given:
        return Path(given).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spiketune"


def limit_from_environment() -> int | None:
    """The most bytes, where the environment says.

    Raises:
        ConfigError: it says no number above 0.
    """
    given = os.environ.get(LIMIT)
    if not given:
        return None
    try:
        gigabytes = float(given)
    except ValueError:
        gigabytes = 0.0
    if not 0 < gigabytes < float("inf"):
        raise ConfigError(f"{LIMIT}={given}: must be a number of gigabytes above 0, as in {LIMIT}=200")
    return int(gigabytes * 1e9)


def _check_size(storage: Storage, name: PurePosixPath, size: int) -> None:
    found = storage.size(name)
    if found != size:
        what = "is missing" if found is None else f"has {found} bytes instead of {size}"
        raise DatasetError(f"{storage.url(name)}: the shard {what}; {rebuild(storage, name)}")


def rebuild(storage: Storage, name: PurePosixPath) -> str:
    """What to do about a shard that is missing or damaged."""
    return f"rebuild it alone: spiketune ingest SOURCE {storage.location} --rebuild {name.with_suffix('')}"


def _touch(path: Path, size: int) -> bool:
    """Mark a file as just used; False where it is not there, or not whole as after a loss of power."""
    try:
        whole = path.stat().st_size == size
        os.utime(path)
    except FileNotFoundError:
        return False
    return whole


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.is_file())
