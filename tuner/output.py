"""Folders to write into, and results printed for machines."""

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from data.errors import InputError


def new_folder(folder: Path) -> Path:
    """Make the folder, or take it if it is empty.

    Raises:
        InputError: there is something in it, or it cannot be made.
    """
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{folder}: is not empty; choose a folder of its own with --out, or remove this one")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); choose another --out") from None
    return folder


def plain_console() -> Console:
    """Standard output: as wide as the terminal, or wide enough for a table's longest line where there is none."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 150)


def print_json(result: Mapping[str, Any]) -> None:
    """The one thing on stdout when `--json` is asked for."""
    sys.stdout.write(json.dumps(_finite(result), indent=2, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    """The value with null for what is no number, which JSON cannot say."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, str | int | bool | None):
        return value
    number = float(value)  # of numpy too
    return number if math.isfinite(number) else None


def print_line(text: str, *, on_stderr: bool = False) -> None:
    """A line for people; on stderr where stdout carries JSON."""
    stream = sys.stderr if on_stderr else sys.stdout
    stream.write(text + "\n")
    stream.flush()
