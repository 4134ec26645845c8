"""Events of a 100 ms window to frames [8, 2, 360, 640], and a cached epoch of such windows."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.reading import from_hdf5, hdf5_index, windows
from benchmarks.table import Row, row
from benchmarks.timing import medians
from data.cache.window_cache import WindowCache, window_key
from data.dataset import Dataset
from data.manifest import Split
from data.representation import RepresentationConfig, render

ROUNDS = 15
FRAMES = (peers.T, 2, peers.H, peers.W)
SCALE = 0.5
HISTO3D = RepresentationConfig()


def measure(dataset: Path, folder: Path) -> list[Row]:
    return _one_window(dataset, folder) + _epoch(dataset, folder)


def _one_window(dataset: Path, folder: Path) -> list[Row]:
    shard = Dataset.open(dataset).shards(Split.TRAIN)[0]
    start_us, end_us = windows(shard, 3)[1]
    events, packed = shard.events(start_us, end_us), shard.packed(start_us, end_us)
    frames = np.empty(FRAMES, np.uint8)
    ours: dict[str, Callable[[], Any]] = {
        "ours": lambda: render(HISTO3D, packed, start_us, end_us, SCALE, frames),
        "np.bincount": lambda: peers.bincount(events, start_us, end_us),
        "tonic to_frame": peers.tonic(events, start_us, end_us),
        "evlib rust dense histogram": peers.evlib(events, start_us, end_us),
    }
    if not np.array_equal(ours["ours"](), ours["np.bincount"]()):
        raise RuntimeError("ours and np.bincount count differently: the comparison means nothing")
    scatter = peers.scatter(events, start_us, end_us, folder)
    if scatter is not None:
        ours["C scatter, index precomputed"] = scatter
    rates = {name: len(events) / seconds / 1e6 for name, seconds in medians(ours, ROUNDS).items()}
    least = {"np.bincount": 4, "tonic to_frame": 30, "evlib rust dense histogram": 3}
    return [
        row(f"{len(events):,} events to frames, Mev/s, against {name}", rates["ours"], rate, least.get(name, 0.5))
        for name, rate in rates.items()
        if name != "ours"
    ]


def _epoch(dataset: Path, folder: Path) -> list[Row]:
    shard = Dataset.open(dataset).shards(Split.TRAIN)[0]
    chosen = windows(shard, 40)
    cache = WindowCache.open(folder / "windows", 1 << 30)
    frames = np.empty(FRAMES, np.uint8)
    recording = folder / "recordings" / "HDF5" / "train_h5_1" / f"{shard.name}_td.h5"
    index = hdf5_index(recording)

    def rendered(span: tuple[int, int], out: Any) -> Any:
        return render(HISTO3D, shard.packed(*span), *span, SCALE, out)

    def cached() -> None:
        for span in chosen:
            key = window_key({"scale": SCALE, "steps": peers.T}, shard.sha256, *span)
            cache.fill(key, frames, partial(rendered, span))

    def from_shards() -> None:
        for span in chosen:
            rendered(span, frames)

    def from_gzip() -> None:
        for span in chosen:
            peers.bincount(from_hdf5(recording, index, *span), *span)

    cached()  # fills the cache
    taken = medians({"cached": cached, "shards": from_shards, "gzip": from_gzip}, 5)
    per_window = {name: seconds / len(chosen) * 1e3 for name, seconds in taken.items()}
    cache.close()
    figure = "cached epoch, ms a window, against"
    return [
        row(f"{figure} gzip + bincount", per_window["cached"], per_window["gzip"], 100, smaller_is_better=True),
        row(f"{figure} rendering from shards", per_window["cached"], per_window["shards"], 5, smaller_is_better=True),
    ]
