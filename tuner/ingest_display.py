"""What an ingestion shows while it runs: a bar on a terminal, plain lines anywhere else."""

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

if TYPE_CHECKING:
    from data.ingest.progress import IngestProgress

QUIET_S = 10.0  # without a terminal: a line at least this often


class IngestDisplay:
    """Shows the progress it is called with; a context manager, for the bar has to be closed."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, highlight=False, soft_wrap=not stream.isatty())
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"))
        self._bar = Progress(*columns, console=self._console, transient=True, disable=not self._console.is_terminal)
        self._task = self._bar.add_task("", total=1, told="")
        self._spoke = time.monotonic()

    def __enter__(self) -> Self:
        """Open the bar, if there is a terminal to draw it on."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the bar; the result follows it."""
        self._bar.stop()

    def __call__(self, progress: "IngestProgress") -> None:
        """Show how far it is."""
        told = _told(progress)
        place = f"{progress.done}/{progress.total}"
        if progress.news is not None:
            self._say(progress.news)
        if progress.finished is not None:
            entry = progress.finished
            self._say(f"{place} {entry.split}/{entry.name}: {entry.events:,} events{told and f' ({told})'}")
        elif not self._console.is_terminal and time.monotonic() - self._spoke >= QUIET_S:
            self._say(f"{place} recordings, {progress.events:,} events read ({told})")
        self._bar.update(self._task, description=f"{place} recordings", completed=progress.share, told=told)

    def _say(self, text: str) -> None:
        self._spoke = time.monotonic()
        self._console.print(text, markup=False)


def _told(progress: "IngestProgress") -> str:
    told = f"{progress.events_per_s / 1e6:.1f} M events/s"
    if progress.seconds_left is None or progress.done == progress.total:
        return told
    return f"{told}, {_time(progress.seconds_left)} left"


def _time(seconds: float) -> str:
    """As a person says it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
