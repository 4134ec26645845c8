"""Four trials on one node: what the dataset costs each of them in memory of its own."""

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.reading import WINDOW_US, windows
from benchmarks.table import Row, limit
from data.dataset import Dataset
from data.manifest import Split

TRIALS = 4


def measure(dataset: Path) -> list[Row]:
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    together = context.Barrier(TRIALS)
    processes = [context.Process(target=_trial, args=(dataset, together, results)) for _ in range(TRIALS)]
    for process in processes:
        process.start()
    private = sum(results.get(timeout=300) for _ in processes)
    for process in processes:
        process.join()
    held = sum(entry.file_bytes for entry in Dataset.open(dataset).manifest.recordings)
    return [limit("4 trials on one node: private memory for the dataset, share of it", private / held, 0.05)]


def _trial(dataset: Path, together: Any, results: Any) -> None:
    shards = Dataset.open(dataset).shards(Split.TRAIN)
    _read_all(shards[:1], windows(shards[0], 1))  # what reading takes at all, the checks of a first batch among it
    together.wait()
    before = psutil.Process().memory_full_info().uss
    for shard in shards:
        _read_all([shard], [(start, start + WINDOW_US) for start in range(0, shard.last_us, WINDOW_US)])
    together.wait()  # all of them hold it at once
    results.put(psutil.Process().memory_full_info().uss - before)


def _read_all(shards: Any, spans: list[tuple[int, int]]) -> None:
    for shard in shards:
        for span in spans:
            np.bitwise_or.reduce(shard.packed(*span).words)
