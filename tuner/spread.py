"""Many small jobs spread over the nodes of a cluster, each a task; those of a worker that dies are done elsewhere."""

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeVar

import ray
from ray.exceptions import (
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayTaskError,
    WorkerCrashedError,
)

J = TypeVar("J")
R = TypeVar("R")

TRIES = 3  # workers that die under one job; a node that dies is no fault of its jobs
JOB_BYTES = 512 << 20  # of memory that Ray counts for a job, whatever processors a node has
AT_LEAST = 16  # jobs given to Ray beyond what its nodes can do: those that wait make an autoscaler start nodes
TICK_S = 0.5  # between two looks at what is done
ASK_AGAIN_S = 5.0  # how many processors there are
PATIENCE_S = 10.0  # for jobs that are called off to clean up
_WORKER_DIED = (WorkerCrashedError, OutOfMemoryError)
_NODE_DIED = (NodeDiedError, ObjectLostError, LocalRayletDiedError)
_log = logging.getLogger(__name__)


def spread(
    do: Callable[[J], R],
    jobs: Iterable[tuple[str, J]],
    given_up: Callable[[J, str], R],
    *,
    most: int | None = None,
    tick: Callable[[], None] = lambda: None,
) -> Generator[tuple[J, R], None, None]:
    """Do the jobs, a processor each; give what became of each as soon as it is known, in any order.

    Args:
        do: travels to the nodes by its name.
        jobs: with their names, in the order they are begun.
        given_up: what becomes of a job whose worker died again and again, and why it died last.
        most: side by side; None: as many as there is room for.
        tick: called about every half second.

    Raises:
        Exception: what `do` raises, which ends the other jobs.
    """
    task = ray.remote(num_cpus=1, memory=JOB_BYTES, max_retries=0, scheduling_strategy="SPREAD")(do)
    waiting, running, deaths = deque(jobs), dict[Any, tuple[str, J]](), Counter[str]()
    bound, ticked = _Bound(most), time.monotonic()
    try:
        while waiting or running:
            while waiting and len(running) < bound.now():
                name, job = waiting.popleft()
                running[task.remote(job)] = name, job
            ready, _ = ray.wait(list(running), timeout=TICK_S)
            for done in ready:
                name, job = running.pop(done)
                try:
                    result: R = ray.get(done)
                except _NODE_DIED:
                    _log.warning("the node of %s is gone; it is done elsewhere", name)
                    waiting.append((name, job))
                    continue
                except _WORKER_DIED as error:
                    deaths[name] += 1
                    if deaths[name] < TRIES:
                        _log.warning("the worker of %s died; it is done again", name)
                        waiting.append((name, job))
                        continue
                    result = given_up(job, _first_line(error))
                except RayTaskError as error:
                    raise error.cause from None
                yield job, result
            if time.monotonic() - ticked >= TICK_S:
                ticked = time.monotonic()
                tick()
    finally:
        _call_off(list(running))


class _Bound:
    """How many jobs Ray is given at one time: what it holds costs it time, and it need not know all that is to come."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._asked_s, self._processors = float("-inf"), 0

    def now(self) -> int:
        if self._most is not None:
            return self._most
        if time.monotonic() - self._asked_s > ASK_AGAIN_S:
            self._asked_s = time.monotonic()
            self._processors = int(ray.cluster_resources().get("CPU", 0))
        return 2 * self._processors + AT_LEAST


def _call_off(running: list[Any]) -> None:
    """End the jobs: they are interrupted, and killed if they do not clean up soon."""
    for job in running:
        ray.cancel(job)
    _, left = ray.wait(running, num_returns=len(running), timeout=PATIENCE_S) if running else ([], [])
    for job in left:
        ray.cancel(job, force=True)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
