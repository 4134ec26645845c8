"""Rendered windows, kept for all processes of a machine: each is rendered once, then read from shared memory maps.

What is read is whole: LMDB shows a transaction's writes all at once or, where the writer was killed, not at all.
"""

import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import lmdb
import numpy as np
import numpy.typing as npt

from data.cache.lmdb_environment import Opened, release, shared_environment
from data.cache.shared_folder import locked
from data.cache.sparse import DamagedBufferError, encode, expand
from data.errors import ConfigError

RENDER_VERSION = 1  # raise it whenever the same settings render other frames, or data.cache.sparse writes other buffers

_SMALLEST_MAP = 1 << 18  # bytes in which LMDB can be opened at all
_SPARE = 16  # 1/16 of the room is kept free, since LMDB needs its pages in a row
_LARGEST_BATCH = 64 << 20  # bytes evicted at once at most: LMDB writes its list of free pages with every change
_ATTEMPTS = 5  # to find room; readers of this moment keep what is evicted in place for a moment
_PAUSE_S = 60.0  # without storing, after a write failed
_PAGE_HEAD_BYTES = 16
_log = logging.getLogger("spiketune")

Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What a cache did in this process, and what it holds for all of them."""

    hits: int
    renders: int
    bytes_held: int
    entries: int


def window_key(settings: Mapping[str, object], shard_sha256: str, start_us: int, end_us: int) -> bytes:
    """The name of a rendered window: the same for whatever renders the same frames.

    Args:
        settings: JSON values: everything the frames depend on besides the events, and nothing else.
        shard_sha256: of the file that holds the events.
        start_us: first microsecond of the window.
        end_us: the microsecond after the window.
    """
    parts = [RENDER_VERSION, dict(settings), shard_sha256, int(start_us), int(end_us)]
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=20).digest()


class WindowCache:
    """Rendered windows by key in a folder of bounded size; when it is full, those stored first make room.

    Processes and threads may share a folder. Handles can be pickled, and survive a fork.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder, self._limit_bytes = folder, limit_bytes
        self._hits = self._renders = 0
        self._resume_s = 0.0  # monotonic time before which nothing is stored
        self._said: set[str] = set()
        self._counting = threading.Lock()
        self._environment = shared_environment(folder, max(limit_bytes, _SMALLEST_MAP))

    @classmethod
    def open(cls, folder: Path, limit_bytes: int) -> "WindowCache":
        """Open the cache of a folder, made where it is missing; `close` it when done.

        Raises:
            ConfigError: the folder cannot be written, or is in use by another version of this program.
        """
        cache = cls(folder.resolve(), limit_bytes)
        try:
            with cache._environment.opened():
                pass
        except ConfigError:
            cache.close()
            raise
        return cache

    def close(self) -> None:
        """Let go of the folder; the windows in it stay."""
        release(self._environment)

    def __reduce__(self) -> tuple[type["WindowCache"], tuple[Path, int]]:
        return WindowCache, (self._folder, self._limit_bytes)  # opened when first needed

    def fill(self, key: bytes, frames_out: Frames, render: Callable[[Frames], object]) -> bool:
        """Write a window's frames; tells whether they came from the cache.

        Otherwise `render(frames_out)` wrote them, and they were stored. Of several processes that ask for the same
        window, one renders and the others wait for it. Whatever is wrong with the cache, the frames are right: the
        trouble is logged once.

        Args:
            key: from `window_key`.
            frames_out: uint8, of any shape, without gaps in memory; all of it is overwritten.
            render: must not call `fill`.
        """
        if self._read(key, frames_out):
            return True
        with self._rendering(key):
            if self._read(key, frames_out):  # another process has rendered it while this one waited
                return True
            render(frames_out)
            with self._counting:
                self._renders += 1
            if time.monotonic() >= self._resume_s:
                self._store(key, encode(frames_out))
        return False

    @property
    def stats(self) -> CacheStats:
        """Counts of this process since the handle was opened; bytes and entries are of the whole folder."""
        with self._environment.opened() as opened, opened.env.begin() as transaction:
            held = _pages(transaction, opened) * opened.env.stat()["psize"]
            entries = transaction.stat(opened.windows)["entries"]
        return CacheStats(self._hits, self._renders, held, entries)

    def _read(self, key: bytes, frames_out: Frames) -> bool:
        try:
            with self._environment.opened() as opened, opened.env.begin(opened.windows, buffers=True) as transaction:
                found = transaction.get(key)
                if found is None:
                    return False
                expand(found, frames_out)
        except DamagedBufferError as error:
            self._say("damaged", f"a window in {self._folder} is damaged ({error}); it is rendered and stored again")
            return False
        except lmdb.MapResizedError:
            self._environment.reach_all()
            return False
        except (lmdb.Error, ConfigError, OSError) as error:
            self._say("unread", f"the window cache in {self._folder} cannot be read ({error}); windows are rendered")
            return False
        with self._counting:
            self._hits += 1
        return True

    @contextmanager
    def _rendering(self, key: bytes) -> Iterator[None]:
        """Hold the lock of a window; without it, two processes may render the same one, which does no harm."""
        with ExitStack() as held:
            try:
                held.enter_context(locked(self._folder / f"lock-{key[-1]:02x}"))
            except OSError as error:
                self._say("unlocked", f"the window cache in {self._folder} cannot be locked ({error})")
            yield

    def _store(self, key: bytes, buffer: Frames) -> None:
        try:
            for attempt in range(_ATTEMPTS):
                try:
                    self._put(key, buffer, insist=attempt > 1)
                except lmdb.MapFullError:
                    time.sleep(0.001 * attempt)
                else:
                    return
            raise lmdb.MapFullError("no room was freed")
        except lmdb.MapResizedError:
            self._environment.reach_all()
        except (lmdb.Error, ConfigError, OSError) as error:
            self._resume_s = time.monotonic() + _PAUSE_S
            self._environment.renew()
            self._say("full", f"a window cannot be stored in {self._folder} ({error}); training goes on without")

    def _put(self, key: bytes, buffer: Frames, insist: bool) -> None:
        with self._environment.opened() as opened:
            page_bytes = opened.env.stat()["psize"]
            room = self._limit_bytes // page_bytes * (_SPARE - 1) // _SPARE
            needed = -(-(len(buffer) + _PAGE_HEAD_BYTES) // page_bytes)
            if needed > room:
                self._say(
                    "small",
                    f"a window takes {len(buffer) / 1e6:.2f} MB, but the window cache in {self._folder} may hold "
                    f"{self._limit_bytes / 1e6:.2f} MB; such windows are rendered each time (raise cache.limit_gb)",
                )
                return
            batch = min(max(room // _SPARE, needed), _LARGEST_BATCH // page_bytes)
            self._make_room(opened, room - needed, batch, insist)
            with opened.env.begin(write=True) as transaction:
                transaction.put(key, buffer.data, db=opened.windows)
                with transaction.cursor(opened.order) as cursor:
                    number = int.from_bytes(cursor.key(), "big") + 1 if cursor.last() else 0
                transaction.put(number.to_bytes(8, "big"), key, db=opened.order, append=True)

    def _make_room(self, opened: Opened, most: int, batch: int, insist: bool) -> None:
        """Where more than `most` pages are held, or to insist, remove a batch of those that were stored first."""
        env = opened.env
        if insist:
            env.reader_check()  # a killed reader's slot would keep what is removed in its place
        with env.begin() as transaction:
            if _pages(transaction, opened) <= most and not insist:
                return
        with env.begin(write=True) as transaction:
            most = min(most, _pages(transaction, opened)) if insist else most
            with transaction.cursor(opened.order) as order:
                while _pages(transaction, opened) > most - batch and order.first():
                    transaction.delete(order.value(), db=opened.windows)
                    order.delete()
        # LMDB uses the pages that a transaction frees from the second transaction after it on.
        with env.begin(write=True) as transaction:
            transaction.put(b"aged", b"")

    def _say(self, about: str, sentence: str) -> None:
        if about not in self._said:
            self._said.add(about)
            _log.warning("%s", sentence)


def _pages(transaction: lmdb.Transaction, opened: Opened) -> int:
    found = transaction.stat(opened.windows)
    return found["branch_pages"] + found["leaf_pages"] + found["overflow_pages"]
