"""A small process that gives back the memory of a folder some time after its last user has ended, however it ended.

The last user cannot do so itself: between two trials there is none for a moment, and a killed one cleans up nothing.
It needs the standard library alone, so that it takes little memory.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from data.cache.shared_folder import claim, is_held, remove_unused

LINGER_S = 300.0  # longer than from one trial's end to the next one's start
_LOOKS = 20  # at the folder, in this time

_START = """
import sys
sys.path.insert(0, sys.argv[1])
from data.cache.keeper import detach
detach(sys.argv[2], float(sys.argv[3]))
"""


def start_keeper(folder: Path, linger_s: float = LINGER_S) -> None:
    """See that a keeper watches over a folder that was entered just now; one that does already stays the only one.

    Raises:
        OSError, subprocess.SubprocessError: no process can be started.
    """
    lock = claim(folder / "keeper")
    if lock is None:
        return
    os.close(lock)
    root = str(Path(__file__).resolve().parents[2])
    # Isolated and without site-packages: a quick start, and nothing of this process's environment. It detaches at once.
    command = [sys.executable, "-I", "-S", "-c", _START, root, str(folder), str(linger_s)]
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)  # noqa: S603 - our own


def detach(folder: str, linger_s: float) -> None:
    """Leave the process that started this one, its session and its folder, then keep."""
    if os.fork():
        return
    os.setsid()
    os.chdir("/")
    silent = os.open(os.devnull, os.O_RDWR)
    os.dup2(silent, sys.stderr.fileno())
    keep(Path(folder), linger_s)


def keep(folder: Path, linger_s: float) -> None:
    """Remove the folder once nobody has held it for so long; returns when it is gone, or has a keeper already."""
    try:
        lock = claim(folder / "keeper")
    except FileNotFoundError:
        return
    if lock is None:
        return
    try:
        used_s = time.monotonic()
        while folder.exists():
            time.sleep(linger_s / _LOOKS)
            now_s = time.monotonic()
            if is_held(folder):
                used_s = now_s
            elif now_s - used_s >= linger_s:
                remove_unused(folder, linger_s)
    finally:
        os.close(lock)
