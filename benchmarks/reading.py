"""A random window of 100 ms: from a shard, and from gzip-4 HDF5 by h5py with an index of its milliseconds."""

from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from benchmarks.table import Row, row
from benchmarks.timing import medians
from data.dataset import Dataset
from data.events import Events
from data.manifest import Split
from data.shards import Shard

WINDOW_US = 100_000


def windows(shard: Shard, count: int) -> list[tuple[int, int]]:
    """So many windows at random places of a recording."""
    random = np.random.default_rng(0)
    starts = random.integers(shard.first_us, shard.last_us - WINDOW_US, count)
    return [(int(start), int(start) + WINDOW_US) for start in starts]


def hdf5_index(path: Path) -> npt.NDArray[np.int64]:
    """Row of each millisecond's first event, which the peer is given for free."""
    with h5py.File(path) as file:
        t = file["events/t"][:]
    return np.searchsorted(t, np.arange(0, int(t[-1]) + 2_000, 1000)).astype(np.int64)


def from_hdf5(path: Path, index: npt.NDArray[np.int64], start_us: int, end_us: int) -> Events:
    """The events of a window, by h5py."""
    rows = slice(int(index[start_us // 1000]), int(index[-(-end_us // 1000)]))
    with h5py.File(path) as file:
        t, x, y, p = (file["events"][name][rows] for name in ("t", "x", "y", "p"))
    first, last = np.searchsorted(t, [start_us, end_us])
    kept = slice(int(first), int(last))
    return Events(t[kept], x[kept], y[kept], p[kept].astype(np.uint8))


def measure(dataset: Path, folder: Path) -> list[Row]:
    shard = Dataset.open(dataset).shards(Split.TRAIN)[0]
    recording = folder / "recordings" / "HDF5" / "train_h5_1" / f"{shard.name}_td.h5"
    index = hdf5_index(recording)
    chosen = windows(shard, 20)
    ours, theirs = shard.events(*chosen[0]), from_hdf5(recording, index, *chosen[0])
    if not all(np.array_equal(getattr(ours, name), getattr(theirs, name)) for name in ("t", "x", "y", "p")):
        raise RuntimeError("shard and HDF5 file hold different events: the comparison means nothing")

    taken = medians(
        {
            # Rendering takes packed words as they are; adding them up touches every one.
            "packed": lambda: [int(shard.packed(*window).words.sum()) for window in chosen],
            "columns": lambda: [shard.events(*window) for window in chosen],
            "gzip": lambda: [from_hdf5(recording, index, *window) for window in chosen],
        },
        7,
    )
    per_window = {name: seconds / len(chosen) * 1e3 for name, seconds in taken.items()}
    figure = "random 100 ms window from shards, ms,"
    return [
        row(f"{figure} as rendering reads it, against gzip-4 HDF5", per_window["packed"], per_window["gzip"], 15,
            smaller_is_better=True),
        row(f"{figure} unpacked into columns, against gzip-4 HDF5", per_window["columns"], per_window["gzip"], 1,
            smaller_is_better=True),
    ]  # fmt: skip
