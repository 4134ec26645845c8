"""How far an ingestion is, as a small file of JSON that others can read while it runs."""

import json
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.storage import whole_text

if TYPE_CHECKING:
    from data.audit.jobs import Done
    from data.ingest.progress import IngestProgress

WRITE_S = 1.0  # between two writes at least
NEWS = 10  # of the last news


class ProgressFile:
    """Keeps the file up to date with what it is told, by the ingestion first and then by the audit."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written_s = float("-inf")
        self._news = deque[str](maxlen=NEWS)
        self._told: dict[str, Any] = {"result": []}

    def ingested(self, progress: "IngestProgress") -> None:
        """Shards are made."""
        if progress.news is not None:
            self._news.append(progress.news)
        self._told |= {
            "phase": "ingest",
            "done": progress.done,
            "total": progress.total,
            "events": progress.events,
            "events_per_s": progress.events_per_s,
            "share": progress.share,
            "seconds_left": progress.seconds_left,
        }
        self._write()

    def has_made(self, result: Sequence[str]) -> None:
        """The dataset is there; so many lines tell of it."""
        self._told |= {"result": list(result)}
        self._write(now=True)

    def audited(self, done: "Done") -> None:
        """Recordings of the dataset are audited."""
        self._told |= {"phase": "audit", "done": done.recordings, "total": done.of_recordings}
        self._write()

    def done(self) -> None:
        """Nothing more comes."""
        self._told |= {"phase": "done"}
        self._write(now=True)

    def _write(self, *, now: bool = False) -> None:
        if not now and time.monotonic() - self._written_s < WRITE_S:
            return
        self._written_s = time.monotonic()
        whole_text(self._path, json.dumps({**self._told, "news": list(self._news), "at_s": time.time()}))


def read_progress(path: Path) -> dict[str, Any] | None:
    """What the file tells; None before there is one."""
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
