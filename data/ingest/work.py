"""The work of an ingestion: many recordings become shards, by default each in one of this machine's processes."""

import multiprocessing
import shutil
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, MutableSequence, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from data.errors import SpiketuneError
from data.formats.finding import Finding
from data.formats.label_scheme import LabelScheme
from data.ingest.conversion import Sensor, Told, convert
from data.ingest.journal import Finished, Journal
from data.manifest import shard_name, shard_path
from data.parallel import end_with_parent, process_count
from data.storage import Storage, sync_folder

TICK_S = 0.25  # between two looks at how far the workers are
UNKNOWN = -1  # a recording's number of events before any is read, where its file does not tell


@dataclass(frozen=True, slots=True)
class Job:
    """One recording to ingest."""

    finding: Finding
    scheme: LabelScheme
    made_of: str  # for the journal
    source: Storage
    target: Storage
    scratch: Path  # a folder of this machine for what is fetched and what is yet to be put
    sensor: Sensor | None  # of the dataset, where it is known


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job: a shard, or the reason why there is none."""

    job: int  # its place among the jobs
    result: Finished | SpiketuneError


@dataclass(frozen=True, slots=True)
class Counters:
    """How far every job is; shared by the processes."""

    read: MutableSequence[int]  # events of each job
    of: MutableSequence[int]  # events that a job has; UNKNOWN where its file does not tell
    stop: MutableSequence[int] = field(default_factory=lambda: [0])  # [1], not 0: the work is to end

    @classmethod
    def of_jobs(cls, jobs: int) -> "Counters":
        """Of this process alone, with nothing done."""
        return cls([0] * jobs, [UNKNOWN] * jobs)

    def count(self, job: int, read: int, of: int | None) -> None:
        """Note how far a job is."""
        self.read[job] = read
        self.of[job] = UNKNOWN if of is None else of


class Stopped(Exception):  # noqa: N818 - an order, not an error
    """The work was told to end."""


Watch: TypeAlias = Callable[[Counters], None]  # called several times a second
Outcomes: TypeAlias = Generator[Outcome, None, None]
# Does the jobs in any order, and gives the outcome of each as soon as it is known. It raises OSError where the target
# cannot be written; when it is closed, running jobs are ended, and nothing half-written stays.
Work: TypeAlias = Callable[[Sequence[Job], Watch], Outcomes]


def on_this_machine(processes: int | None) -> Work:
    """Work in so many processes side by side, or as many as pay; it raises SpiketuneError where one of them dies."""

    def work(jobs: Sequence[Job], watch: Watch) -> Outcomes:
        count = process_count(processes, len(jobs), sum(job.finding.bytes for job in jobs))
        return _in_parallel(jobs, count, watch) if count > 1 else _alone(jobs, watch)

    return work


def largest_first(jobs: Sequence[Job]) -> list[tuple[int, Job]]:
    """The jobs with their places: a long recording that is begun last is waited for by all the others."""
    return sorted(enumerate(jobs), key=lambda numbered: -numbered[1].finding.bytes)


def do(job: Job, told: Told) -> Finished:
    """Make a recording's shard, put it in its place, and note it in the journal."""
    finding = job.finding
    with scratch_folder(job) as scratch, source_folder(job, scratch) as root:
        shard = shard_path(scratch, finding.split, finding.name)
        entry, size = convert(finding, job.scheme, root, shard, job.sensor, told)
        put_in_place(shard, job)
    finished = Finished(made_of=job.made_of, size=size, entry=entry)
    Journal(job.target).record(finished)
    return finished


def put_in_place(shard: Path, job: Job) -> None:
    """Bring a shard from the scratch folder, which two may have made at one time, to where it belongs."""
    finding, target = job.finding, job.target
    if target.local is None:
        target.put(shard, shard_name(finding.split, finding.name))
        return
    place = shard_path(target.local, finding.split, finding.name)
    place.parent.mkdir(exist_ok=True)
    shard.replace(place)
    sync_folder(place.parent)


@contextmanager
def scratch_folder(job: Job) -> Iterator[Path]:
    """A folder for this job alone, which is gone afterwards."""
    folder = job.scratch / job.finding.split / job.finding.name
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def source_folder(job: Job, scratch: Path) -> Iterator[Path]:
    """The folder of this machine below which a recording's files lie; they are fetched if need be."""
    if job.source.local is not None:
        yield job.source.local
        return
    root = scratch / "source"
    for path in job.finding.files:
        job.source.fetch(path, root / path)
    try:
        yield root
    except SpiketuneError as error:  # the user knows the files by where they come from
        raise type(error)(str(error).replace(str(root), job.source.location.rstrip("/"))) from None


def attempt(index: int, job: Job, told: Told) -> Outcome:
    """Do a job; one that cannot be done has an outcome as well."""
    try:
        return Outcome(index, do(job, told))
    except SpiketuneError as error:
        return Outcome(index, type(error)(str(error)))  # without the frames it came through, which hold files open


def _alone(jobs: Sequence[Job], watch: Watch) -> Outcomes:
    counters = Counters.of_jobs(len(jobs))
    seen = time.monotonic()

    def told(read: int, of: int | None) -> None:
        nonlocal seen
        counters.count(index, read, of)
        if time.monotonic() - seen >= TICK_S:
            seen = time.monotonic()
            watch(counters)

    for index, job in enumerate(jobs):
        outcome = attempt(index, job, told)
        watch(counters)
        yield outcome


def _in_parallel(jobs: Sequence[Job], processes: int, watch: Watch) -> Outcomes:
    # Spawned, not forked: a fork of a process that has used threads may hang.
    context = multiprocessing.get_context("spawn")
    counters = Counters(*(context.RawArray("q", count) for count in (len(jobs), len(jobs), 1)))
    counters.of[:] = [UNKNOWN] * len(jobs)
    with ProcessPoolExecutor(processes, context, _begin, (counters,)) as pool:
        try:
            waiting: set[Future[Outcome]] = {pool.submit(_do_counted, *numbered) for numbered in largest_first(jobs)}
            while waiting:
                ready, waiting = wait(waiting, TICK_S, FIRST_COMPLETED)
                watch(counters)
                yield from (future.result() for future in ready)
        except BrokenProcessPool:
            raise SpiketuneError(
                "a worker process died while ingesting, most likely for lack of memory; what is done is kept: "
                "run the same command again, with fewer --processes"
            ) from None
        finally:
            counters.stop[0] = 1
            pool.shutdown(cancel_futures=True)


_shared: Counters  # of this worker process


def _begin(counters: Counters) -> None:
    """Prepare a worker process."""
    global _shared
    _shared = counters
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that was interrupted ends this one
    threading.Thread(target=end_with_parent, daemon=True).start()


def _do_counted(index: int, job: Job) -> Outcome:
    def told(read: int, of: int | None) -> None:
        _shared.count(index, read, of)
        if _shared.stop[0]:
            raise Stopped

    return attempt(index, job, told)
