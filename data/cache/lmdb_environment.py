"""The LMDB environment of a folder: open at most once in a process, never across a fork, renewed where it is damaged.

LMDB's locks belong to the process and the file, so a process must not open an environment twice, and a forked child
must not use its parent's. Here, handles of one folder share one environment, and it is closed before a fork; parent and
child each open it again when they next need it.
"""

import logging
import mmap
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lmdb

from data.cache.identity import identify, stranger
from data.cache.shared_folder import entering
from data.errors import ConfigError

_READERS = 1024  # reading transactions at once, over all processes
_FILES = ("data.mdb", "lock.mdb")
_log = logging.getLogger("spiketune")


@dataclass(frozen=True, slots=True)
class Opened:
    """An open environment and its two tables."""

    env: lmdb.Environment
    windows: Any  # key -> encoded frames
    order: Any  # number, first in first -> key


class SharedEnvironment:
    """This process's one environment of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.users = 0
        self._map_bytes = 0
        self._opened: Opened | None = None
        self._holder: int | None = None

    @contextmanager
    def opened(self) -> Iterator[Opened]:
        """The environment, opened where it is not; it stays open until the block is left.

        Raises:
            ConfigError: the folder cannot be written, or is used in a way that cannot be shared.
        """
        with _turnstile.passing():
            with _opening:
                opened = self._opened or self._open()
            yield opened

    def reserve(self, map_bytes: int) -> None:
        """Let the environment grow to so many bytes at least."""
        with _turnstile.shut():
            if map_bytes > self._map_bytes:
                self.close()
                self._map_bytes = map_bytes

    def renew(self) -> None:
        """Close the environment, which LMDB refuses to write to after some failures; the next use opens it again."""
        with _turnstile.shut():
            self.close()

    def reach_all(self) -> None:
        """Map all of what another process, with a higher limit, has let grow beyond this process's map."""
        self.reserve(2 * max(self._map_bytes, (self.folder / "data.mdb").stat().st_size))

    def close(self) -> None:
        """Close the environment, which nobody may be using; the next use opens it again."""
        if self._opened is not None:
            self._opened.env.close()
            self._opened = None
        if self._holder is not None:
            os.close(self._holder)
            self._holder = None

    def _open(self) -> Opened:
        try:
            with entering(self.folder) as (holder, alone):
                self._opened = self._sound(alone)
            self._holder = holder
        except (OSError, lmdb.Error) as error:
            raise ConfigError(
                f"{self.folder}: cannot hold the window cache ({error}); make it writable, or choose another cache.mode"
            ) from None
        return self._opened

    def _sound(self, alone: bool) -> Opened:
        """The environment as it is on disk, or a new one where that is of no use."""
        complaint = stranger(self.folder)
        if complaint and not alone:
            raise ConfigError(f"{self.folder}: {complaint}, and is in use; set SPIKETUNE_CACHE to another folder")
        if alone:
            if complaint is None and _bytes(self.folder / "data.mdb") > self._map_bytes:
                complaint = "is larger than it may be now"
            if complaint:
                _log.info("%s: the window cache %s; it is made anew", self.folder, complaint)
                self._purge()
            identify(self.folder, self._map_bytes)
        try:
            return self._connect()
        except lmdb.Error as error:
            if not alone:
                raise
            _log.warning("%s: the window cache is damaged (%s); it is made anew", self.folder, error)
            self._purge()
            return self._connect()

    def _purge(self) -> None:
        for name in _FILES:
            (self.folder / name).unlink(missing_ok=True)

    def _connect(self) -> Opened:
        # What a crash of the operating system leaves behind is thrown away by its boot id, so nothing is synchronised.
        env = lmdb.open(
            str(self.folder),
            map_size=self._map_bytes // mmap.PAGESIZE * mmap.PAGESIZE,
            sync=False,
            metasync=False,
            meminit=False,
            mode=0o600,
            max_readers=_READERS,
            max_dbs=2,
            max_spare_txns=1,
        )
        try:
            _check_length(env, self.folder / "data.mdb")
            env.reader_check()
            return Opened(env, env.open_db(b"windows"), env.open_db(b"order"))
        except BaseException:
            env.close()
            raise


def shared_environment(folder: Path, map_bytes: int) -> SharedEnvironment:
    """This process's environment of a folder, with room for so many bytes; `release` it when done."""
    with _registry:
        found = _environments.setdefault(folder, SharedEnvironment(folder))
        found.users += 1
    found.reserve(map_bytes)
    return found


def release(environment: SharedEnvironment) -> None:
    """One user less; the last one closes the environment."""
    with _registry:
        environment.users -= 1
        if environment.users == 0:
            _environments.pop(environment.folder, None)
            with _turnstile.shut():
                environment.close()


def _check_length(env: lmdb.Environment, path: Path) -> None:
    """Reading a page beyond the file's end would kill the process."""
    needed = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
    found = path.stat().st_size
    if found < needed:
        raise lmdb.CorruptedError(f"{found} of {needed} bytes are left")


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


class _Turnstile:
    """Lets any number of threads pass, or shuts while none is inside."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0

    @contextmanager
    def passing(self) -> Iterator[None]:
        with self._changed:
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def shut(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._inside == 0)
            yield

    def before_fork(self) -> None:
        self._changed.acquire()
        self._changed.wait_for(lambda: self._inside == 0)

    def after_fork(self) -> None:
        self._changed.release()


_turnstile = _Turnstile()
_opening = threading.Lock()
_registry = threading.Lock()
_environments: dict[Path, SharedEnvironment] = {}


def _before_fork() -> None:
    _registry.acquire()
    _turnstile.before_fork()
    for environment in _environments.values():
        environment.close()


def _after_fork() -> None:
    _turnstile.after_fork()
    _registry.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
