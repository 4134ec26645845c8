"""How long a detector takes to answer."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from data.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Latency:
    """Times of single calls."""

    p50_ms: float
    p99_ms: float
    frames_per_second: float  # 1 / mean
    runs: int
    device: str
    threads: int  # of PyTorch, on a CPU


def measure_latency(detector: nn.Module, frames_TBCHW: torch.Tensor, runs: int, warm_up: int) -> Latency:
    """Time the detector alone, without decoding, on the first of these windows: batch 1, on the detector's device."""
    device = next(detector.parameters()).device
    window = frames_TBCHW[:, :1].to(device)
    synchronize = torch.cuda.synchronize if device.type == "cuda" else _nothing_to_wait_for
    training = detector.training
    detector.eval()
    try:
        with torch.no_grad():
            times_ms = call_times_ms(lambda: detector(window), runs, warm_up, synchronize)
    finally:
        detector.train(training)
    return Latency(
        p50_ms=percentile(times_ms, 50),
        p99_ms=percentile(times_ms, 99),
        frames_per_second=1000 / statistics.fmean(times_ms),
        runs=runs,
        device=str(device),
        threads=torch.get_num_threads(),
    )


def call_times_ms(
    call: Callable[[], object],
    runs: int,
    warm_up: int,
    synchronize: Callable[[], None],
    clock_ns: Callable[[], int] = time.perf_counter_ns,
) -> list[float]:
    """Milliseconds of each of `runs` calls, after `warm_up` calls that are not counted.

    Before the clock is read, the device has finished: a GPU's calls return before their work is done.

    Raises:
        ConfigError: there is nothing to time.
    """
    if runs < 1:
        raise ConfigError(f"{runs} runs tell no latency; time at least 1")
    for _ in range(warm_up):
        call()
    times_ms = []
    for _ in range(runs):
        synchronize()
        start = clock_ns()
        call()
        synchronize()
        times_ms.append((clock_ns() - start) / 1e6)
    return times_ms


def percentile(values: list[float], percent: float) -> float:
    """The smallest value that at least `percent` of the values do not exceed (nearest rank)."""
    rank = -(-len(values) * percent // 100)
    return sorted(values)[max(0, int(rank) - 1)]


def _nothing_to_wait_for() -> None:
    """A CPU's call returns when its work is done."""
