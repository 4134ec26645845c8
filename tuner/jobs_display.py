"""A cluster's jobs, for people."""

import time
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tuner.durations import duration
from tuner.jobs.client import Job, JobStatus
from tuner.jobs.fate import Fate

_COLOURS = {
    Fate.WAITING: "blue",
    Fate.RUNNING: "cyan",
    Fate.STOPPING: "yellow",
    Fate.STOPPED: "yellow",
    Fate.FINISHED: "green",
    Fate.FAILED: "red",
    Fate.KILLED: "red",
    Fate.LOST: "red",
}


def show_jobs(console: Console, jobs: Sequence[Job], clock: Callable[[], float] = time.time) -> None:
    """Print a table of them."""
    if not jobs:
        console.print("no job yet; next: spiketune submit SPEC --data DATASET", markup=False)
        return
    table = Table()
    for column in ("job", "kind", "state", "submitted", "for", "attempt", "note"):
        table.add_column(column, justify="right" if column in ("for", "attempt") else "left", overflow="fold")
    for job in jobs:
        record = job.record
        table.add_row(
            escape(job.id),
            record.kind,
            f"[{_COLOURS[job.fate]}]{job.fate.value}[/]",
            time.strftime("%Y-%m-%d %H:%M", time.localtime(record.submitted_s)),
            duration(max((record.ended_s or clock()) - record.submitted_s, 0)),
            str(record.attempt),
            escape(_note(job)),
        )
    console.print(table)


def show_job(console: Console, status: JobStatus) -> None:
    """Print how a job stands, and its work."""
    record, fate = status.job.record, status.job.fate
    told = [f"{status.job.id}: {fate.value}"]
    if record.attempt > 1:
        told.append(f"attempt {record.attempt}")
    if record.node is not None:
        told.append(f"driver on {record.node}")
    note = _note(status.job)
    if note:
        told.append(note)
    console.print(", ".join(told), markup=False, soft_wrap=True)
    if status.why is not None:
        console.print(status.why, markup=False, soft_wrap=True)
    if status.work is not None:
        console.out(status.work.text, end="")


def _note(job: Job) -> str:
    """Why it ended, or what becomes of it."""
    if job.fate in (Fate.KILLED, Fate.LOST):
        return f"its driver is gone; the head's keeper submits it again, or: spiketune resume {job.id}"
    return (job.record.why or "").splitlines()[-1] if job.record.why else ""
