"""Keeps the terminal to ourselves: what Ray, its C++ processes and MLflow print goes into a log file."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO


@dataclass(frozen=True)
class Terminal:
    """The real output streams, while the process's own are turned into a log."""

    stdout: TextIO
    stderr: TextIO


@contextmanager
def terminal_apart(log: Path) -> Iterator[Terminal]:
    """Send everything written to file descriptors 1 and 2, by whatever language, to `log`; yield the real ones.

    Child processes inherit the log too. Python's own sys.stdout and sys.stderr write there as well.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        with os.fdopen(os.dup(saved[0]), "w") as stdout, os.fdopen(os.dup(saved[1]), "w") as stderr:
            yield Terminal(stdout, stderr)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, real in enumerate(saved, start=1):
            os.dup2(real, descriptor)
            os.close(real)
