"""Who wrote a window cache: of use is only what this version wrote, since this machine started, in this container."""

import json
import uuid
from pathlib import Path

LAYOUT = 1  # of what a cache's files hold
_ANY_BOOT = uuid.uuid4().hex


def identify(folder: Path, limit_bytes: int) -> None:
    """Write down who makes the cache of a folder, and how many bytes it may hold."""
    content = json.dumps(_identity() | {"limit_bytes": limit_bytes})
    (folder / "identity.json").write_text(content, "utf-8")  # one cut short is a stranger's


def stranger(folder: Path) -> str | None:
    """Why what a folder holds is of no use to this process, if so."""
    try:
        found = json.loads((folder / "identity.json").read_text("utf-8"))
        differing = [name for name, value in _identity().items() if found.get(name) != value]
    except (FileNotFoundError, NotADirectoryError):
        return "does not say what it holds" if (folder / "data.mdb").exists() else None
    except (ValueError, AttributeError):
        return "does not say what it holds"
    if "layout" in differing:
        return "is of another version"
    if "boot" in differing:
        return "is from before this machine started"
    return "belongs to another container" if differing else None


def recorded_limit(folder: Path) -> int:
    """How many bytes the cache in a folder may hold by who made it; 0 without a cache that is of use."""
    if stranger(folder) is not None:
        return 0
    try:
        return int(json.loads((folder / "identity.json").read_text("utf-8"))["limit_bytes"])
    except (OSError, ValueError, KeyError):
        return 0


def _identity() -> dict[str, str | int]:
    return {"layout": LAYOUT, "boot": _boot_id(), "processes": _process_space()}


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("utf-8").strip()
    except FileNotFoundError:  # not Linux: what an earlier process wrote cannot be trusted
        return _ANY_BOOT


def _process_space() -> str:
    """Process numbers, by which LMDB knows its readers, mean the same only within one container."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
