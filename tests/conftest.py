"""Fixtures for all floors: one thread, and small datasets written by the real shard writer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from data.boxes import Boxes, LabelSet, label_set
from data.dataset import Dataset
from data.events import Events, Repairs, SensorSize
from data.manifest import MANIFEST, SCHEMA_VERSION, Manifest, ShardEntry, Split, shard_path
from data.shard_writer import ShardWriter


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(1)  # the same sums in the same order on every machine


@dataclass(frozen=True)
class Take:
    """One recording to write."""

    name: str
    split: Split
    events: Events
    boxes: Boxes
    night: bool | None = None


def _write_shard(folder: Path, take: Take) -> ShardEntry:
    path = shard_path(folder, take.split, take.name)
    with ShardWriter(path, take.boxes) as writer:
        writer.write(take.events)
    return ShardEntry(
        name=take.name,
        split=take.split,
        night=take.night,
        events=writer.events,
        first_us=writer.first_us,
        last_us=writer.last_us,
        boxes=len(take.boxes),
        repairs=Repairs(),
        boxes_clipped=0,
        boxes_dropped=0,
        source=f"{take.name}.synthetic",
        file_bytes=path.stat().st_size,
        sha256="0" * 64,
    )


def _write_dataset(folder: Path, takes: Sequence[Take], size: SensorSize, labels: LabelSet) -> Dataset:
    entries = tuple(_write_shard(folder, take) for take in takes)
    manifest = Manifest(schema_version=SCHEMA_VERSION, label_set=labels, size=size, recordings=entries)
    (folder / MANIFEST).write_text(manifest.model_dump_json(), "utf-8")
    return Dataset.open(folder)


@pytest.fixture(scope="session")
def make_take() -> type[Take]:
    return Take


@pytest.fixture(scope="session")
def write_dataset() -> Callable[[Path, Sequence[Take], SensorSize, LabelSet], Dataset]:
    return _write_dataset


def _table(rows: list[tuple[int, npt.NDArray[np.float64], int, int]]) -> Boxes:
    return Boxes(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[2] for row in rows], np.int64),
        np.array([row[3] for row in rows], np.int64),
    )


def _moving_squares(seed: int, size: SensorSize, duration_us: int) -> tuple[Events, Boxes]:
    """Two objects that drift apart: a wide one of ON events (class 0), a tall one of OFF events (class 1).

    Every event lies in the box of its object at its own time, and objects move at most one pixel in 50 ms.
    """
    random = np.random.default_rng(seed)
    sides = np.array([[28, 16], [14, 30]])
    starts = random.uniform(0, np.array(size) - sides - 20)
    speeds = random.uniform(0, 20, (2, 2)) / 1_000_000  # pixels a µs
    columns: list[npt.NDArray[np.int64]] = []
    for which in range(2):
        t = np.sort(random.integers(0, duration_us, duration_us // 120))
        spot = starts[which] + speeds[which] * t[:, None] + random.uniform(0, sides[which], (len(t), 2))
        x, y = np.floor(spot).astype(np.int64).T
        columns.append(np.stack([t, x, y, np.full(len(t), 1 - which)]))
    t, x, y, p = np.concatenate(columns, axis=1)
    order = np.argsort(t, kind="stable")
    events = Events(t[order], x[order].astype(np.uint16), y[order].astype(np.uint16), p[order].astype(np.uint8))
    boxes = [
        (time, np.concatenate([starts[which] + speeds[which] * time, sides[which]]), which, which + 1)
        for time in range(100_000, duration_us, 50_000)
        for which in range(2)
    ]
    return events, _table(boxes)


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Four recordings of 1 s at 96x64: two to train on, two (a day, a night) to validate on."""
    size = SensorSize(96, 64)
    plan = [
        ("train_day_0001", Split.TRAIN, False),
        ("train_night_0001", Split.TRAIN, True),
        ("val_day_0001", Split.VAL, False),
        ("val_night_0001", Split.VAL, True),
    ]
    takes = [
        Take(name, split, *_moving_squares(seed, size, 1_000_000), night)
        for seed, (name, split, night) in enumerate(plan)
    ]
    return _write_dataset(tmp_path_factory.mktemp("tiny"), takes, size, label_set("gen1"))
