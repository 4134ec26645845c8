"""How far an ingestion is."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from data.ingest.work import Counters
from data.manifest import ShardEntry


@dataclass(frozen=True, slots=True)
class IngestProgress:
    """How far an ingestion is, and what has just happened."""

    done: int  # recordings that are in the dataset, or left out of it
    total: int  # recordings
    events: int  # read by this ingestion, repairs not counted off
    events_per_s: float
    share: float  # of the bytes to read, those read; 0 to 1
    seconds_left: float | None  # None while nothing tells
    finished: ShardEntry | None = None  # the recording that has just been done
    news: str | None = None  # something else for the user to know


class Meter:
    """Turns what the workers count into progress; time is shared out by the bytes of the sources."""

    def __init__(self, done: int, bytes_of: Sequence[int], tell: Callable[[IngestProgress], None] | None) -> None:
        """Args:
        done: recordings that need no work.
        bytes_of: the source bytes of each that does.
        tell: who wants to know.
        """
        self._done, self._total = done, done + len(bytes_of)
        self._bytes_of = bytes_of
        self._over = [False] * len(bytes_of)
        self._tell = tell
        self._counters = Counters.of_jobs(len(bytes_of))
        self._start = time.monotonic()

    def watch(self, counters: Counters) -> None:
        """Look at how far the jobs are."""
        self._counters = counters
        self._say()

    def over(self, job: int, finished: ShardEntry | None, news: str | None = None) -> None:
        """A job is over, well or not."""
        self._over[job] = True
        self._done += 1
        self._say(finished, news)

    def say(self, news: str) -> None:
        """Something for the user to know."""
        self._say(news=news)

    def _say(self, finished: ShardEntry | None = None, news: str | None = None) -> None:
        if self._tell is None:
            return
        seconds = max(time.monotonic() - self._start, 1e-9)
        events = sum(self._counters.read)
        share = self._share()
        left = seconds * (1 - share) / share if share else None
        self._tell(IngestProgress(self._done, self._total, events, events / seconds, share, left, finished, news))

    def _share(self) -> float:
        read = zip(self._bytes_of, self._over, self._counters.read, self._counters.of, strict=True)
        return sum(
            bytes_ * (1.0 if over else min(rows / of, 1.0) if of > 0 else 0.0) for bytes_, over, rows, of in read
        ) / max(sum(self._bytes_of), 1)
