"""How much this machine has left, of memory and in a folder."""

import os
from pathlib import Path

_NETWORK = {"9p", "afs", "beegfs", "ceph", "cifs", "fuse.sshfs", "fuse.glusterfs", "glusterfs", "gpfs", "lustre"}
_NETWORK |= {"ncpfs", "nfs", "nfs4", "panfs", "pvfs2", "smb3", "smbfs", "wekafs"}
_UNLIMITED = 1 << 60  # bytes: a control group says "max", or some number beyond any machine


def available_memory(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that processes can still take without pushing others out, within the control groups of this one."""
    fields = dict(line.split(":", 1) for line in (proc / "meminfo").read_text("utf-8").splitlines())
    machine = int(fields["MemAvailable"].split()[0]) * 1024
    return min([machine, *_left_in_groups(proc, groups)])


def free_bytes(folder: Path) -> int:
    """Bytes that can still be written to the file system a folder is or will be on."""
    found = os.statvfs(_nearest(folder))
    return found.f_bavail * found.f_frsize


def held_bytes(folder: Path) -> int:
    """Bytes that the files directly in a folder take."""
    try:
        return sum(entry.stat().st_blocks * 512 for entry in os.scandir(folder))
    except FileNotFoundError:
        return 0


def is_remote(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> bool:
    """Whether a folder lies on another machine, where memory maps of one file differ from process to process."""
    try:
        lines = mounts.read_text("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return False
    place = _nearest(folder.absolute()).resolve()
    found = (Path("/"), "")
    for line in lines:
        left, _, right = line.partition(" - ")
        point = Path(left.split()[4].replace("\\040", " "))
        if place.is_relative_to(point) and len(point.parts) >= len(found[0].parts):
            found = (point, right.split()[0])
    return found[1] in _NETWORK


def _nearest(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def _left_in_groups(proc: Path, groups: Path) -> list[int]:
    """What is left in each memory control group this process is in, of version 2 or 1."""
    try:
        lines = (proc / "self/cgroup").read_text("utf-8").splitlines()
    except FileNotFoundError:
        return []
    left = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            left += _left_upwards(groups, path, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            files = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            left += _left_upwards(groups / "memory", path, *files)
    return left


def _left_upwards(root: Path, path: str, limit: str, used: str, reclaimable: str) -> list[int]:
    """The group's own limit and those of the groups around it; in a container, only the root may be there."""
    inner = root / path.lstrip("/")
    return [
        most - taken
        for group in (inner, *inner.parents)
        if group.is_relative_to(root)
        for most in [_number(group / limit)]
        for taken in [_number(group / used) - _statistic(group / "memory.stat", reclaimable)]
        if most < _UNLIMITED
    ]


def _number(path: Path) -> int:
    try:
        return int(path.read_text("utf-8"))
    except (OSError, ValueError):  # not there, or "max"
        return _UNLIMITED


def _statistic(path: Path, name: str) -> int:
    try:
        rows = dict(line.split() for line in path.read_text("utf-8").splitlines())
    except OSError:
        return 0
    return int(rows.get(name, 0))
