"""What an audit shows: its progress on stderr, a table of recordings, and the findings, the most serious first."""

import sys
from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from data.audit.jobs import Done
from data.audit.preflight import Audit
from data.audit.recording import RecordingAudit
from data.audit.rules import Fault, Severity
from data.manifest import Split
from tuner.output import plain_console

TOLD = 5  # recordings told under one finding; --json tells all
ROWS = 40  # recordings in the table: those with findings come first; --json tells all
_COLOURS = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}


class AuditProgress:
    """Told of every recording done: a bar on a terminal, plain lines anywhere else; both on stderr."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())
        columns = (TextColumn("auditing"), BarColumn(), MofNCompleteColumn(), DownloadColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, TextColumn("{task.fields[name]}"), console=self._console, transient=True)
        self._task = self._bar.add_task("", total=None, name="")

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def __call__(self, done: Done) -> None:
        """Show one recording more."""
        if self._console.is_terminal:
            self._bar.update(self._task, completed=done.bytes, total=done.of_bytes, name=done.name)
        else:
            self._console.print(f"{done.recordings}/{done.of_recordings} {done.name}", markup=False)


def as_json(audit: Audit) -> dict[str, Any]:
    """The audit as JSON values."""
    return {
        "summary": _summary(audit),
        "recordings": [_recording(found) for found in audit.recordings],
        "findings": [asdict(finding) for finding in audit.findings],
    }


def show(audit: Audit) -> None:
    """Print the audit for people."""
    console = plain_console()
    _show_recordings(console, audit)
    for note in audit.notes:
        console.print(f"taken for granted: {note}", markup=False, soft_wrap=True)
    for severity, of_severity in groupby(audit.findings, key=lambda finding: finding.severity):
        console.print(f"\n[{_COLOURS[severity]}]{severity}s[/]")
        for _, group in groupby(of_severity, key=lambda finding: (finding.code, finding.remedy)):
            for line in _told(list(group)):
                console.print(line, soft_wrap=True)
    for line in _end(audit):
        console.print(line, markup=False, soft_wrap=True)


def _show_recordings(console: Console, audit: Audit) -> None:
    table = Table(title=f"{audit.location}: {'dataset' if audit.is_dataset else 'recordings'}")
    table.add_column("recording", overflow="fold")
    for column in ("events", "seconds", "mean M/s", "peak M/s", "ON", "boxes", "label Hz", "faults"):
        table.add_column(column, justify="right")
    counts = {found.place: 0 for found in audit.recordings}
    for finding in audit.findings:
        if finding.recording in counts and finding.severity is not Severity.NOTE:
            counts[finding.recording] += 1
    worst = sorted(audit.recordings, key=lambda found: -counts[found.place])[:ROWS]
    for found in (found for found in audit.recordings if found in worst):
        table.add_row(escape(found.place), *_numbers(found), str(counts[found.place] or ""))
    console.print(table)
    if len(worst) < len(audit.recordings):
        console.print(f"and {len(audit.recordings) - len(worst)} more recordings; --json tells all", markup=False)


def _numbers(found: RecordingAudit) -> list[str]:
    if found.events is None:
        return ["unread", *[""] * 6]
    events, boxes = found.events, found.boxes
    rate = boxes.times.rate if boxes is not None else None
    return [
        f"{events.events:,}",
        f"{events.duration_us / 1e6:.2f}",
        f"{events.mean_rate / 1e6:.3f}",
        f"{events.peak_rate / 1e6:.3f}",
        f"{events.on_share:.0%}",
        "unread" if boxes is None else f"{boxes.boxes:,}",
        "" if rate is None else f"{rate:.1f}",
    ]


def _told(findings: list[Fault]) -> Iterator[str]:
    """The findings of one rule: the first few recordings, and once what to do."""
    first = findings[0]
    yield f"  [{_COLOURS[first.severity]}]{first.code}[/]"
    for finding in findings[:TOLD]:
        where = f"{finding.recording}: " if finding.recording else ""
        yield escape(f"    {where}{finding.what}")
    if len(findings) > TOLD:
        yield f"    and {len(findings) - TOLD} more; --json tells all"
    yield escape(f"    -> {first.remedy}")


def _end(audit: Audit) -> Iterator[str]:
    yield ""
    for split in Split:
        if any(found.split is split for found in audit.recordings):
            counts = zip(audit.label_set.classes, audit.class_counts(split), strict=True)
            boxes = ", ".join(f"{name} {count:,}" for name, count in counts)
            number = sum(found.split is split for found in audit.recordings)
            yield f"{split}: {_counted(number, 'recording')}; boxes of '{audit.label_set.name}': {boxes}"
    if audit.cost is not None:
        cost = audit.cost
        yield f"ingested: about {_room(cost.dataset_gib)}, {_minutes(cost.ingest_minutes)} on this machine"
        if cost.epoch_windows:
            yield (
                f"an epoch: {cost.epoch_windows:,} windows, {_minutes(cost.epoch_minutes)} of rendering here; "
                f"{_room(cost.frames_gib)} of frames before a cache compresses them"
            )
    events = sum(found.events.events for found in audit.recordings if found.events is not None)
    faults = ", ".join(_counted(audit.count(severity), severity.value) for severity in Severity)
    yield f"{_counted(len(audit.recordings), 'recording')}, {events:,} events: {faults}"


def _summary(audit: Audit) -> dict[str, Any]:
    read = [found for found in audit.recordings if found.events is not None]
    classes = audit.label_set.classes
    return {
        "location": audit.location,
        "dataset": audit.is_dataset,
        "label_set": audit.label_set.name,
        "recordings": len(audit.recordings),
        "events": sum(found.events.events for found in read if found.events is not None),
        "duration_s": sum(found.events.duration_us for found in read if found.events is not None) / 1e6,
        "boxes": {split.value: dict(zip(classes, audit.class_counts(split), strict=True)) for split in Split},
        "findings": {severity.value: audit.count(severity) for severity in Severity},
        "cost": None if audit.cost is None else asdict(audit.cost),
        "notes": list(audit.notes),
    }


def _recording(found: RecordingAudit) -> dict[str, Any]:
    values = asdict(found)
    del values["faults"]  # they are among the findings
    values["size"] = None if found.size is None else list(found.size)
    return values


def _minutes(minutes: float) -> str:
    if minutes < 2:
        return f"{minutes * 60:.0f} s" if minutes > 1 / 60 else "less than 1 s"
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"


def _room(gib: float) -> str:
    return f"{gib:,.1f} GiB" if gib >= 1 else f"{gib * 1024:,.1f} MiB"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
