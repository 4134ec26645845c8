"""What a job is to do: all that is sent beside the code."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.errors import InputError

ORDER_FILE = "order.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}")
_JOB = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}-[0-9a-f]{10}")


@dataclass(frozen=True)
class Order:
    """A job to be done; nothing in it is secret.

    Args:
        kind: which of tuner.jobs.kinds does it.
        name: what people call it; the job's id begins with it.
        settings: what its kind needs to know, as JSON has it.
        files: further small files of the working directory, by name.
    """

    kind: str
    name: str
    settings: Mapping[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InputError(
                f"--name {self.name}: must be letters, digits, - and _, 60 at most, and begin with a letter or a digit"
            )

    def as_bytes(self) -> bytes:
        """The order file."""
        return json.dumps({"kind": self.kind, "name": self.name, "settings": dict(self.settings)}, indent=2).encode()

    @classmethod
    def read(cls, folder: Path) -> "Order":
        """The order in a job's working directory; its files are left where they lie.

        Raises:
            InputError: there is none.
        """
        try:
            given = json.loads((folder / ORDER_FILE).read_text(encoding="utf-8"))
            return cls(given["kind"], given["name"], given["settings"])
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(f"{folder}: holds no {ORDER_FILE} that can be read; submit the job again") from None


def is_job(text: str) -> bool:
    """Whether it could be a job's id."""
    return _JOB.fullmatch(text) is not None
