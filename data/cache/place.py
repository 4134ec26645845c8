"""Where rendered windows are kept: in memory where they fit, else on this machine's disk, else nowhere.

In memory they are files of /dev/shm, in a folder of the user alone, which every process that uses it holds by a lock.
That memory comes back without anybody's doing: a keeper (data.cache.keeper) removes the folder a few minutes after its
last user has ended or was killed, so that the trials between share it. Only where the keeper is killed too, as by a
batch system that ends a whole job, it stays until the user's next run, which uses it on, or until `clear`.
On disk they stay for the next search, in bounded room; what another boot of the machine wrote is discarded.
"""

import logging
import os
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import Field, model_validator

from data.cache.identity import recorded_limit, stranger
from data.cache.keeper import start_keeper
from data.cache.machine_room import available_memory, free_bytes, held_bytes, is_remote
from data.cache.shared_folder import entering, is_held, remove_unused
from data.config import Config
from data.errors import ConfigError
from data.node_cache import cache_folder

MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of the user alone is made in it
SOME_WINDOWS = 64 << 20  # bytes: less than this is not worth a cache that was asked for by name
_log = logging.getLogger("spiketune")


class CacheMode(StrEnum):
    """Where rendered windows are kept."""

    AUTO = "auto"  # in memory if they fit, else on disk if they fit, else nowhere
    RAM = "ram"
    DISK = "disk"
    OFF = "off"


class CacheConfig(Config):
    """The cache of rendered windows that all processes of a machine share."""

    mode: CacheMode = CacheMode.AUTO
    limit_gb: float | None = Field(None, gt=0)  # 10^9 bytes it may hold; None: half of what is free at its place

    @model_validator(mode="after")
    def _limit_is_read(self) -> "CacheConfig":
        if self.mode is CacheMode.OFF and self.limit_gb is not None:
            raise ValueError(f"limit_gb={self.limit_gb} but there is no cache; leave it out, or set mode=auto")
        return self


@dataclass(frozen=True, slots=True)
class Place:
    """A folder for the window cache of this machine, and how much it may hold."""

    mode: CacheMode  # ram or disk
    folder: Path
    limit_bytes: int


@dataclass(frozen=True, slots=True)
class _Candidate:
    mode: CacheMode
    folder: Path
    room_bytes: int = 0  # free, and what the cache there holds already
    obstacle: str | None = None


def place(config: CacheConfig, expected_bytes: int) -> Place | None:
    """Choose the place for so many bytes of windows on this machine, and make it ready; the log says where and why.

    Ask for it in every process that opens the cache: a cache that others use and that is large enough is joined.

    Raises:
        ConfigError: memory or disk was asked for by name and has no room, or cannot hold a cache.
    """
    if config.mode is CacheMode.OFF:
        return None
    limit = None if config.limit_gb is None else int(config.limit_gb * 1e9)
    needed = expected_bytes if limit is None else min(expected_bytes, limit)
    candidates = list(_candidates(config.mode))
    found = _joined(candidates, needed) or _chosen(config.mode, candidates, needed, limit)
    if found is None:
        places = "; ".join(_sentence(candidate) for candidate in candidates)
        _log.info("windows are rendered each time, as %s of them fit nowhere: %s", _gb(needed), places)
        return None
    if found.mode is CacheMode.RAM:
        _keep(found.folder)
    _log.info("rendered windows are kept in %s, up to %s", found.folder, _gb(found.limit_bytes))
    return found


def clear() -> tuple[list[Path], list[Path]]:
    """Remove this machine's window caches; returns the folders that went, and those that are in use."""
    folders = [folder for folder in (memory_folder(), disk_folder()) if folder.exists()]
    gone = [folder for folder in folders if remove_unused(folder)]
    return gone, [folder for folder in folders if folder not in gone]


def memory_folder() -> Path:
    """The user's own folder in memory."""
    return MEMORY / f"spiketune-{os.getuid()}"


def disk_folder() -> Path:
    """The folder on disk."""
    return cache_folder() / "windows"


def _candidates(mode: CacheMode) -> Iterator[_Candidate]:
    if mode in (CacheMode.AUTO, CacheMode.RAM):
        yield _in_memory(memory_folder())
    if mode in (CacheMode.AUTO, CacheMode.DISK):
        yield _on_disk(disk_folder())


def _in_memory(folder: Path) -> _Candidate:
    if not MEMORY.is_dir():
        return _Candidate(CacheMode.RAM, folder, obstacle="this machine has no such folder")
    if folder.is_symlink() or folder.exists():
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            return _Candidate(CacheMode.RAM, folder, obstacle="is not a folder of this user alone; remove it")
    free = min(available_memory(), free_bytes(MEMORY))
    return _Candidate(CacheMode.RAM, folder, free + held_bytes(folder), _in_the_way(folder))


def _on_disk(folder: Path) -> _Candidate:
    if is_remote(folder):
        remedy = "memory maps need a disk of this machine; set SPIKETUNE_CACHE to a folder on one"
        return _Candidate(CacheMode.DISK, folder, obstacle=f"lies on another machine; {remedy}")
    return _Candidate(CacheMode.DISK, folder, free_bytes(folder) + held_bytes(folder), _in_the_way(folder))


def _in_the_way(folder: Path) -> str | None:
    complaint = stranger(folder)
    return f"the cache there {complaint}, and is in use" if complaint and is_held(folder) else None


def _joined(candidates: list[_Candidate], needed: int) -> Place | None:
    """The place where this machine's processes keep such windows at the moment.

    Trials come and go, and what they take of the memory would make some choose the disk, and render anew for it.
    """
    for candidate in candidates:
        limit = 0 if candidate.obstacle else recorded_limit(candidate.folder)
        if 0 < limit <= candidate.room_bytes and needed <= limit and is_held(candidate.folder):
            return Place(candidate.mode, candidate.folder, limit)
    return None


def _chosen(mode: CacheMode, candidates: list[_Candidate], needed: int, limit: int | None) -> Place | None:
    for candidate in candidates:
        half = candidate.room_bytes // 2
        enough = needed if mode is CacheMode.AUTO else min(needed, SOME_WINDOWS)
        if candidate.obstacle is None and enough <= half:
            return Place(candidate.mode, candidate.folder, half if limit is None else min(limit, candidate.room_bytes))
    if mode is CacheMode.AUTO:
        return None
    raise ConfigError(
        f"cache.mode={mode.value}: no room for rendered windows: {_sentence(candidates[0])}; set cache.mode=auto or off"
    )


def _keep(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    with entering(folder) as (holder, _):
        pass
    os.close(holder)  # the keeper leaves alone what was entered just now
    try:
        start_keeper(folder)
    except (OSError, subprocess.SubprocessError) as error:
        _log.warning("%s: nothing will remove it after the last run (%s); remove it then", folder, error)


def _sentence(candidate: _Candidate) -> str:
    reason = candidate.obstacle or f"may take {_gb(candidate.room_bytes // 2)}, half of what is free"
    return f"{candidate.folder} {reason}"


def _gb(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
