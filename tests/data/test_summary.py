"""A dataset in numbers and as histograms."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from data.boxes import Boxes, LabelSet, label_set
from data.dataset import Dataset
from data.events import Events, SensorSize
from data.histograms import MOST_RECORDINGS, write_histograms
from data.manifest import Split
from data.summary import summarize

SIZE = SensorSize(96, 64)

Write = Callable[[Path, Sequence[Any], SensorSize, LabelSet], Dataset]


def events(count: int, duration_us: int) -> Events:
    """So many events, the first at 1 s, the last in the duration's last microsecond."""
    t = np.linspace(0, duration_us - 1, count).astype(np.int64) + 1_000_000
    x = np.arange(count) % SIZE.width
    return Events(t, x.astype(np.uint16), np.zeros(count, np.uint16), np.zeros(count, np.uint8))


def boxes(*rows: tuple[int, int]) -> Boxes:
    """Boxes of 16x9 px by their time since 1 s and class."""
    t = np.array([time for time, _ in rows], np.int64) + 1_000_000
    xywh = np.tile(np.array([1, 2, 16, 9], np.float32), (len(rows), 1))
    return Boxes(t, xywh, np.array([k for _, k in rows], np.int64), np.arange(len(rows)))


def test_numbers_are_those_of_the_recordings(tmp_path: Path, make_take: Any, write_dataset: Write) -> None:
    takes = [
        make_take("a", Split.TRAIN, events(1000, 2_000_000), boxes((100_000, 0), (100_000, 1), (200_000, 1)), False),
        make_take("b", Split.TRAIN, events(500, 1_000_000), boxes((50_000, 1), (450_000, 1)), True),
        make_take("c", Split.VAL, events(300, 500_000), boxes(), None),
    ]
    dataset = write_dataset(tmp_path, takes, SIZE, label_set("gen1"))
    seen: list[tuple[int, int]] = []
    numbers = summarize(dataset, lambda done, total: seen.append((done, total))).numbers()
    assert seen == [(1, 3), (2, 3), (3, 3)]
    head = {name: numbers[name] for name in ("dataset", "label_set", "classes", "width", "height")}
    assert head == {
        "dataset": str(tmp_path), "label_set": "gen1", "classes": ["car", "pedestrian"], "width": 96, "height": 64
    }  # fmt: skip
    assert list(numbers["splits"]) == ["train", "val"]
    train, val, whole = numbers["splits"]["train"], numbers["splits"]["val"], numbers["all"]
    assert train.pop("gib") == sum(path.stat().st_size for path in (tmp_path / "train").iterdir()) / 2**30
    assert train == {
        "recordings": 2, "day": 1, "night": 1, "unknown": 0, "events": 1500, "duration_s": 3.0, "events_per_s": 500.0,
        "label_times": 4, "label_times_per_s": 4 / 3, "label_interval_ms": 250.0,  # middle of 100 and 400 ms
        "boxes": {"car": 1, "pedestrian": 4},
    }  # fmt: skip
    assert (val["unknown"], val["label_times"], val["label_interval_ms"]) == (1, 0, None)
    assert val["boxes"] == {"car": 0, "pedestrian": 0}
    assert (whole["recordings"], whole["events"], whole["duration_s"], whole["label_times"]) == (3, 1800, 3.5, 4)


def test_the_side_of_a_box_is_the_root_of_its_area(tmp_path: Path, make_take: Any, write_dataset: Write) -> None:
    take = make_take("a", Split.TEST, events(10, 1000), boxes((500, 0)))
    summary = summarize(write_dataset(tmp_path, [take], SIZE, label_set("gen1")))
    assert summary.total.recordings[0].sides.tolist() == [12.0]
    assert [split.name for split in summary.splits] == ["test"]


@pytest.mark.parametrize(
    ("recordings", "labels"),
    [(1, []), (1, [(500, 0)]), (3, [(k * 33_333, k % 2) for k in range(3000)]), (MOST_RECORDINGS + 5, [(1, 1)])],
    ids=["no labels", "one box", "many boxes", "many recordings"],
)
def test_histograms_are_drawn_of_little_and_of_much(
    tmp_path: Path, make_take: Any, write_dataset: Write, recordings: int, labels: list[tuple[int, int]]
) -> None:
    takes = [
        make_take(f"r{k:03d}", list(Split)[k % 3], events(10 * (k + 1), 1_000_000), boxes(*labels))
        for k in range(recordings)
    ]
    summary = summarize(write_dataset(tmp_path / "dataset", takes, SIZE, label_set("gen1")))
    write_histograms(summary, tmp_path / "out" / "histograms.png")
    image = cv2.imread(str(tmp_path / "out" / "histograms.png"))
    assert image is not None
    assert image.shape[1] > 1000
    assert (image.max(axis=2) < 250).mean() > 0.01  # something is drawn on it
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["histograms.png"]
