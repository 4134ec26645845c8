"""Ingesting and auditing on a cluster: one recording a task, on whichever node has room."""

import logging
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from data.audit import jobs as audit
from data.audit.recording import RecordingAudit
from data.errors import InputError, SpiketuneError
from data.ingest import work as ingest
from data.ingest.place import is_seen, own_scratch
from data.storage import Storage
from tuner.spread import spread

TELL_S = 2.0  # between two words of a task about how far it is


@contextmanager
def on_the_cluster() -> Iterator[None]:
    """Connected to the cluster that RAY_ADDRESS names, or to the one this machine belongs to.

    Raises:
        InputError: there is none.
    """
    address = os.environ.get("RAY_ADDRESS", "auto")
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    except (ConnectionError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"--on-cluster: no cluster answers at {address} ({reason}); run this on a node of one, name one by "
            "RAY_ADDRESS, or send the work there with spiketune submit-ingest"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def ingest_on_cluster(most: int | None = None) -> ingest.Work:
    """Make shards on the nodes of the cluster this process is connected to, at most so many side by side."""

    def work(jobs: Sequence[ingest.Job], watch: ingest.Watch) -> ingest.Outcomes:
        counters = ingest.Counters.of_jobs(len(jobs))
        tally = _tally()
        named = [(_place(job), (index, job, tally)) for index, job in ingest.largest_first(jobs)]

        def tick() -> None:
            for index, (read, of) in ray.get(tally.take.remote()).items():
                counters.count(index, read, of)
            watch(counters)

        for _, outcome in spread(_ingest_one, named, _no_shard, most=most, tick=tick):
            yield outcome

    return work


def audit_on_cluster(jobs: Sequence[audit.Job]) -> Iterator[RecordingAudit]:
    """Audit recordings on the nodes of the cluster this process is connected to."""
    named = [("/".join(job.place[1::-1]), job) for job in jobs]
    for _, found in spread(_audit_one, named, lambda job, _: audit.deadly(job)):
        yield found


def _ingest_one(numbered: tuple[int, ingest.Job, Any]) -> ingest.Outcome:
    """The work of a task."""
    index, job, tally = numbered
    _check_seen(job.source, job.finding.events)
    if not is_seen(job.target):
        raise _is_not_seen(job.target.location)
    told_s = float("-inf")

    def told(read: int, of: int | None) -> None:
        nonlocal told_s
        if time.monotonic() - told_s > TELL_S:
            told_s = time.monotonic()
            tally.count.remote(index, read, of)

    with own_scratch(job.scratch) as scratch:
        return ingest.attempt(index, replace(job, scratch=scratch), told)


def _audit_one(job: audit.Job) -> RecordingAudit:
    """The work of a task."""
    _check_seen(job.storage, PurePosixPath(job.place[2]))
    return audit.do(job)


def _no_shard(numbered: tuple[int, ingest.Job, Any], why: str) -> ingest.Outcome:
    index, job, _ = numbered
    return ingest.Outcome(
        index,
        SpiketuneError(
            f"{job.source.url(job.finding.events)}: the workers that made its shard died again and again ({why}), most "
            "likely for lack of memory; ingest it on a machine that has more"
        ),
    )


def _check_seen(source: Storage, name: PurePosixPath) -> None:
    """A folder that only some nodes have must not look like damaged recordings."""
    if source.size(name) is None:
        raise _is_not_seen(source.url(name))


def _is_not_seen(what: str) -> InputError:
    return InputError(
        f"{what}: is not there on node {socket.gethostname()}; mount the folder on every node, or keep recordings and "
        "dataset in an object store"
    )


def _place(job: ingest.Job) -> str:
    return f"{job.finding.split}/{job.finding.name}"


class _Tally:
    """Hears from the tasks how far they are."""

    def __init__(self) -> None:
        self._news: dict[int, tuple[int, int | None]] = {}

    def count(self, job: int, read: int, of: int | None) -> None:
        """A job has read so many events, of so many."""
        self._news[job] = read, of

    def take(self) -> dict[int, tuple[int, int | None]]:
        """What was heard since this was last asked."""
        news, self._news = self._news, {}
        return news


def _tally() -> Any:
    """On this node, which the work needs anyway."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0)(_Tally).options(scheduling_strategy=here).remote()
