"""The work of an audit: every recording measured, in parallel; one that ends its process is a finding too."""

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import TypeAlias

from data.audit.recording import RecordingAudit, audit_raw, audit_shard
from data.audit.rules import fault
from data.formats.finding import Finding
from data.formats.label_scheme import LabelScheme
from data.manifest import Manifest, Split, shard_name
from data.parallel import end_with_parent, process_count
from data.storage import Storage


@dataclass(frozen=True, slots=True)
class Done:
    """One recording more is measured."""

    name: str
    recordings: int  # done
    of_recordings: int
    bytes: int  # of those done
    of_bytes: int


Progress = Callable[[Done], None]


@dataclass(frozen=True)
class Job:
    """One recording to audit."""

    storage: Storage
    bytes: int
    recording: Finding | Manifest  # a manifest names one recording
    scheme: LabelScheme | None = None  # of a Finding

    @property
    def place(self) -> tuple[str, Split, str]:
        """Its name, split and file."""
        if isinstance(self.recording, Finding):
            return self.recording.name, self.recording.split, str(self.recording.events)
        (entry,) = self.recording.recordings
        return entry.name, entry.split, str(shard_name(entry.split, entry.name))


Measure: TypeAlias = Callable[[Sequence[Job]], Iterator[RecordingAudit]]  # audits of the jobs, in any order


def on_this_machine(processes: int | None) -> Measure:
    """Measure in so many processes side by side, or as many as pay."""

    def measure(jobs: Sequence[Job]) -> Iterator[RecordingAudit]:
        workers = process_count(processes, len(jobs), sum(job.bytes for job in jobs))
        return map(do, jobs) if workers == 1 else _in_parallel(jobs, workers)

    return measure


def audit_all(jobs: Sequence[Job], progress: Progress | None, measure: Measure) -> list[RecordingAudit]:
    """Measure every recording, the largest first, in any order."""
    queue = sorted(jobs, key=lambda job: -job.bytes)  # a large one begun last would keep the others waiting
    audits: list[RecordingAudit] = []
    done_bytes, of_bytes = 0, sum(job.bytes for job in jobs)
    for found in measure(queue):
        audits.append(found)
        done_bytes += found.bytes
        if progress is not None:
            progress(Done(found.place, len(audits), len(jobs), done_bytes, of_bytes))
    return audits


def do(job: Job) -> RecordingAudit:
    """Measure one recording."""
    if isinstance(job.recording, Finding):
        assert job.scheme is not None
        return audit_raw(job.storage, job.recording, job.scheme)
    return audit_shard(job.storage, job.recording)


def _in_parallel(jobs: Sequence[Job], workers: int) -> Iterator[RecordingAudit]:
    waiting = list(jobs)
    with _pool(workers) as pool:
        futures = {pool.submit(do, job): job for job in jobs}
        try:
            for future in as_completed(futures):
                found = future.result()
                waiting.remove(futures[future])
                yield found
        except BrokenProcessPool:
            pass
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    yield from map(_alone, waiting)


def _alone(job: Job) -> RecordingAudit:
    """Measure a recording in a process of its own, after one of several has ended the others."""
    with _pool(1) as pool:
        try:
            return pool.submit(do, job).result()
        except BrokenProcessPool:
            return deadly(job)


def deadly(job: Job) -> RecordingAudit:
    """What is found of a recording that ends the process that reads it."""
    name, split, file = job.place
    what = f"{file}: reading it ended the process, most likely for lack of memory or a damaged file"
    return RecordingAudit(name, split, file, job.bytes, faults=(fault("unreadable", f"{split}/{name}", what),))


def _pool(workers: int) -> ProcessPoolExecutor:
    # Spawned, not forked: a fork of a process that has used threads may hang.
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin)


def _begin() -> None:
    """Prepare a worker process: it ends at once with the one that began it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # at Ctrl-C without a traceback of its own
    threading.Thread(target=end_with_parent, daemon=True).start()
