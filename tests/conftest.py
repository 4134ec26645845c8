"""Fixtures for all floors: one thread, and small datasets written by the real shard writer."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from data.boxes import Boxes, LabelSet, label_set
from data.cache import place as cache_place
from data.dataset import Dataset
from data.events import Events, Repairs, SensorSize
from data.manifest import SCHEMA_VERSION, Manifest, ShardEntry, Split, shard_path
from data.packing import Words
from data.shard_writer import ShardWriter
from data.storage import open_storage


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(1)  # the same sums in the same order on every machine


@pytest.fixture(scope="session", autouse=True)
def caches_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Windows rendered by an earlier version of the code must not be found, and the user's caches stay as they are."""
    folder = tmp_path_factory.mktemp("caches")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache_place, "MEMORY", folder)
        patch.setattr(cache_place, "start_keeper", lambda _: None)
        patch.setenv("SPIKETUNE_CACHE", str(folder / "disk"))
        yield


@dataclass(frozen=True)
class Take:
    """One recording to write."""

    name: str
    split: Split
    events: Events
    boxes: Boxes
    night: bool | None = None


def _write_shard(folder: Path, take: Take, size: SensorSize) -> ShardEntry:
    path = shard_path(folder, take.split, take.name)
    words = Words.of(size)
    with ShardWriter(path, words) as writer:
        writer.write(take.events)
        writer.write_boxes(take.boxes)
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
        boxes_left_out=0,
        source=f"{take.name}.synthetic",
        source_bytes=0,
        source_sha256=sha256(b"").hexdigest(),
        box_source=None,
        other_sources=(),
        words=words,
        file_bytes=writer.file_bytes,
        sha256=writer.sha256,
    )


def _write_dataset(folder: Path, takes: Sequence[Take], size: SensorSize, labels: LabelSet) -> Dataset:
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        label_set=labels,
        source_labels=labels,
        label_mapping=tuple(range(len(labels.classes))),
        split_rule=None,
        size=size,
        recordings=tuple(_write_shard(folder, take, size) for take in takes),
        left_out=(),
    )
    manifest.write(open_storage(folder))
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
