"""Synthetic recordings for the benchmarks: objects that move over a noisy background, at 1280x720."""

import os
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from data.events import Events, SensorSize

SIZE = SensorSize(1280, 720)
EVENTS_PER_SECOND = 3_050_000  # of eTraM's train_night_0040
OBJECTS = 40
SPREAD_PX = 25.0
NOISE = 0.15  # share of events that belong to no object
PART = 1 << 20
GZIP = {"compression": "gzip", "compression_opts": 4, "chunks": (1 << 16,)}


def events(count: int, seed: int = 0) -> Iterator[Events]:
    """So many events in time order, a million at a time."""
    random = np.random.default_rng(seed)
    start = random.uniform(0, 1, (OBJECTS, 2)) * SIZE
    speed = random.normal(0, 60, (OBJECTS, 2))  # px a second
    share = random.dirichlet(np.ones(OBJECTS))
    clock_us = 0.0
    while count > 0:
        size = min(count, PART)
        t = clock_us + np.cumsum(random.exponential(1e6 / EVENTS_PER_SECOND, size))
        clock_us, count = float(t[-1]), count - size
        which = random.choice(OBJECTS, size, p=share)
        place = start[which] + speed[which] * (t / 1e6)[:, None] + random.normal(0, SPREAD_PX, (size, 2))
        noisy = random.random(size) < NOISE
        place[noisy] = random.uniform(0, 1, (int(noisy.sum()), 2)) * SIZE
        x, y = (np.mod(place, SIZE)).astype(np.uint16).T
        yield Events(t.astype(np.int64), x.copy(), y.copy(), random.integers(0, 2, size, dtype=np.uint8))


def recording(folder: Path, name: str, count: int) -> Path:
    """An eTraM-like recording NAME_td.h5 in the training split of a folder; of one length it is written only once."""
    written = folder.parent / f"written_{count}.h5"
    if not written.exists():
        _write(written, count)
    path = folder / "HDF5" / "train_h5_1" / f"{name}_td.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    os.link(written, path)
    return path


def _write(path: Path, count: int) -> None:
    with h5py.File(path, "w") as file:
        group = file.create_group("events")
        for name, dtype in (("x", "u2"), ("y", "u2"), ("p", "i2"), ("t", "i8")):
            group.create_dataset(name, (count,), dtype, **GZIP)
        first = 0
        for part in events(count):
            for name in ("x", "y", "p", "t"):
                group[name][first : first + len(part)] = getattr(part, name)
            first += len(part)
