"""Work on many recordings side by side: how many processes it is worth, and how they end with the one they work for."""

import multiprocessing
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

PARALLEL_BYTES = 64 << 20  # below this, starting processes takes longer than they save
QUESTIONS = 16  # to a store at one time: each waits for the network, not for this machine
MOST_PROCESSES = 8  # unless more are asked for; some 500 MB each, and one disk for all


def processors() -> int:
    """The processors that this process may use, which may be fewer than there are."""
    return len(os.sched_getaffinity(0))


def process_count(asked: int | None, jobs: int, source_bytes: int) -> int:
    """How many processes to share jobs between that read so many bytes: at most as asked; None leaves the choice."""
    if asked is None and source_bytes < PARALLEL_BYTES:
        return 1
    return max(1, min(jobs, asked or min(processors(), MOST_PROCESSES)))


def ask_each(ask: Callable[[T], R], things: Iterable[T], *, far: bool) -> list[R]:
    """The answers about many things, in their order; where they come from far away, many are asked for at one time."""
    if not far:
        return [ask(thing) for thing in things]
    with ThreadPoolExecutor(QUESTIONS, "questions") as pool:
        return list(pool.map(ask, things))


def end_with_parent() -> None:
    """Wait for the process that began this one, and end this one at once when it has: nobody takes what it makes."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
