"""What it costs to hand many recordings to a cluster and to hear of them, whatever is done with each."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import ray

from benchmarks.stopwatch import peak_bytes
from tuner.spread import spread

OBJECT_STORE_BYTES = 100 << 20
RESULT = "x" * 1000  # a shard's entry of the manifest has about so many bytes


@dataclass(frozen=True)
class Handed:
    """What it took."""

    seconds: float
    mib: float  # that the driver grew by


def handed(recordings: int) -> Handed:
    """Hand out so many recordings that take no time, on this machine's own Ray."""
    ray.init(address="local", include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES, log_to_driver=False)
    try:
        if sum(1 for _ in _spread(100)) != 100:  # the workers have started
            raise RuntimeError("not every recording was done")
        before, begun = peak_bytes(), time.perf_counter()
        done = sum(1 for _ in _spread(recordings))
        seconds = time.perf_counter() - begun
    finally:
        ray.shutdown()
    if done != recordings:
        raise RuntimeError("not every recording was done")
    return Handed(seconds, (peak_bytes() - before) / 2**20)


def _spread(recordings: int) -> Iterator[tuple[int, str]]:
    jobs = ((f"r{number}", number) for number in range(recordings))
    return (result for _, result in spread(_stand_in, jobs, lambda job, why: (job, why)))


def _stand_in(number: int) -> tuple[int, str]:
    return number, RESULT
