"""What an ingestion shows while it runs, a bar on a terminal and plain lines anywhere else; and what it came to."""

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

if TYPE_CHECKING:
    from data.ingest.progress import IngestProgress
    from data.manifest import Manifest, ShardEntry

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


def summary(manifest: "Manifest", dataset: str) -> list[str]:
    """What a dataset holds, and what had to be mended or left out of it."""
    counts = {split: sum(entry.split == split for entry in manifest.recordings) for split in ("train", "val", "test")}
    events = sum(entry.events for entry in manifest.recordings)
    boxes = sum(entry.boxes for entry in manifest.recordings)
    splits = ", ".join(f"{count} {split}" for split, count in counts.items() if count)
    lines = [
        f"{len(manifest.recordings)} recordings ({splits}), {events:,} events, {boxes:,} boxes in {dataset}; "
        f"classes: {', '.join(manifest.label_set.classes)}"
    ]
    for entry in manifest.recordings:
        lines += [f"  {entry.name}: {repair}" for repair in _repairs(entry)]
    unmerged = sum(entry.boxes_left_out for entry in manifest.recordings)
    if unmerged:
        lines.append(f"{unmerged:,} boxes of classes that the dataset has not were left out")
    lines += [f"left out {out.split}/{out.name}: {out.reason}" for out in manifest.left_out]
    return lines


def _repairs(entry: "ShardEntry") -> list[str]:
    repairs = entry.repairs
    flipped = f" ({repairs.bit15:,} by a flipped bit 15)" if repairs.bit15 else ""
    told = {
        f"events outside the sensor dropped{flipped}": repairs.out_of_frame,
        "events whose time ran backwards raised to the time before": repairs.backward_times,
        "boxes cut to the frame": entry.boxes_clipped,
        "boxes outside the frame dropped": entry.boxes_dropped,
    }
    return [f"{count:,} {what}" for what, count in told.items() if count]


def _told(progress: "IngestProgress") -> str:
    return pace(progress.events_per_s, None if progress.done == progress.total else progress.seconds_left)


def pace(events_per_s: float, seconds_left: float | None) -> str:
    """How fast it goes, and how long it will take where that is known."""
    told = f"{events_per_s / 1e6:.1f} M events/s"
    return told if seconds_left is None else f"{told}, {_time(seconds_left)} left"


def _time(seconds: float) -> str:
    """As a person says it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
