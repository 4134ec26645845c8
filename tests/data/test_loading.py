import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from data.boxes import Boxes, label_set
from data.dataset import Dataset
from data.errors import DatasetError
from data.events import Events, SensorSize
from data.loading import Batch, DataConfig, EvaluationLoader, TrainingLoader, WindowRenderer, frame_size, scaled_corners
from data.manifest import Split
from data.shards import Shard
from data.windows import Window, causal_window

SENSOR = SensorSize(90, 60)
LEFT, TOP, RIGHT, BOTTOM = 5, 8, 25, 20  # of the filled box; far left, so that a mirrored one is far right


def filled_box(times_us: range, label_times: list[int], track: int) -> tuple[Events, Boxes]:
    """A box of which every pixel fires, once for each of these times."""
    rows, columns = (grid.ravel() for grid in np.mgrid[TOP:BOTTOM, LEFT:RIGHT])
    t = np.repeat(np.array(times_us, np.int64), len(rows))
    x, y = (np.tile(side, len(times_us)).astype(np.uint16) for side in (columns, rows))
    xywh = np.tile(np.array([[LEFT, TOP, RIGHT - LEFT, BOTTOM - TOP]], np.float32), (len(label_times), 1))
    ids = np.zeros(len(label_times), np.int64)
    return Events(t, x, y, np.ones(len(t), np.uint8)), Boxes(np.array(label_times, np.int64), xywh, ids, ids + track)


@pytest.fixture(scope="module")
def static_shards(
    tmp_path_factory: pytest.TempPathFactory, write_dataset: Callable[..., Dataset], make_take: Callable[..., Any]
) -> tuple[Shard, ...]:
    labels = list(range(60_000, 1_000_000, 40_000))
    events, boxes = filled_box(range(0, 1_000_000, 5_000), labels, track=7)
    takes = [make_take(f"train_day_000{number}", Split.TRAIN, events, boxes) for number in (1, 2)]
    folder = tmp_path_factory.mktemp("static")
    return write_dataset(folder, takes, SENSOR, label_set("pedro")).shards(Split.TRAIN)


def training_loader(shards: tuple[Shard, ...], **changes: Any) -> TrainingLoader:
    given = {"batch_size": 4, "windows_per_epoch": None, "seed": 0}
    plan = {name: changes.pop(name, value) for name, value in given.items()}
    return TrainingLoader(shards, DataConfig(**changes), **plan)


def filled_pixels(frames_TCHW: torch.Tensor) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the cells with an event."""
    rows, columns = np.nonzero(frames_TCHW.sum(dim=(0, 1)).numpy())
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def same(a: Batch, b: Batch) -> bool:
    return (
        torch.equal(a.frames_TBCHW, b.frames_TBCHW)
        and torch.equal(a.targets, b.targets)
        and torch.equal(a.tracks, b.tracks)
        and a.windows == b.windows
    )


@pytest.mark.parametrize(
    ("size", "scale", "height", "width"),
    [
        (SensorSize(320, 180), 1.0, 192, 320),
        (SensorSize(320, 180), 0.5, 96, 160),
        (SensorSize(346, 260), 1.0, 288, 352),
        (SensorSize(1280, 720), 0.5, 384, 640),
        (SensorSize(1280, 720), 0.37, 288, 480),  # 473.6 x 266.4
        (SensorSize(32, 32), 1.0, 32, 32),
        (SensorSize(33, 32), 1.0, 32, 64),
    ],
)
def test_frames_are_the_scaled_sensor_padded_to_multiples_of_32(
    size: SensorSize, scale: float, height: int, width: int
) -> None:
    assert frame_size(size, scale) == (height, width)


def test_boxes_become_scaled_corners_and_stay_as_they_were() -> None:
    boxes = Boxes(np.array([5], np.int64), np.array([[10, 20, 30, 40]], np.float32), np.array([0]), np.array([1]))
    assert scaled_corners(boxes, 0.5).tolist() == [[5, 10, 20, 30]]
    assert boxes.xywh.tolist() == [[10, 20, 30, 40]]


def test_a_batch_holds_the_windows_counts_and_boxes(static_shards: tuple[Shard, ...]) -> None:
    renderer = WindowRenderer(static_shards, DataConfig(window_us=20_000, time_steps=4, scale=1.0))
    batch = renderer.batch([causal_window(0, 100_000, 20_000), causal_window(1, 140_000, 20_000)])
    assert batch.frames_TBCHW.shape == (4, 2, 2, 64, 96)
    assert batch.frames_TBCHW.dtype == torch.uint8
    # (80_000, 100_000]: the box fires at 85, 90, 95 and 100 ms, once in each quarter of the window.
    expected = torch.zeros(4, 2, 2, 64, 96, dtype=torch.uint8)
    expected[:, :, 1, TOP:BOTTOM, LEFT:RIGHT] = 1
    assert torch.equal(batch.frames_TBCHW, expected)
    assert batch.targets.tolist() == [[0, 0, LEFT, TOP, RIGHT, BOTTOM], [1, 0, LEFT, TOP, RIGHT, BOTTOM]]


def test_one_track_number_in_two_recordings_means_two_objects(static_shards: tuple[Shard, ...]) -> None:
    renderer = WindowRenderer(static_shards, DataConfig())
    windows = [
        causal_window(recording, label, 50_000) for recording, label in ((0, 100_000), (1, 100_000), (0, 140_000))
    ]
    first, second, third = renderer.batch(windows).tracks.tolist()
    assert first == third
    assert first != second


def test_a_window_counts_every_event_the_recording_has_in_it(tiny_dataset: Dataset) -> None:
    shards = tiny_dataset.shards(Split.VAL)
    for batch in EvaluationLoader(shards, DataConfig(window_us=33_333, time_steps=3), 4, None):
        for row, window in enumerate(batch.windows):
            events = shards[window.recording].events(window.start_us, window.end_us)
            on = int(events.p.sum())
            counts = batch.frames_TBCHW[:, row].sum(dim=(0, 2, 3), dtype=torch.int64).tolist()
            assert counts == [len(events) - on, on]
            assert on > 50


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_boxes_enclose_their_pixels_exactly_mirrored_or_not(static_shards: tuple[Shard, ...], flip: float) -> None:
    corners = (LEFT, TOP, RIGHT, BOTTOM) if flip == 0 else (90 - RIGHT, TOP, 90 - LEFT, BOTTOM)
    for batch in training_loader(static_shards, flip=flip).epoch(1):
        for row, target in enumerate(batch.targets.tolist()):
            assert target == [row, 0, *corners]
            assert filled_pixels(batch.frames_TBCHW[:, row]) == corners


@pytest.mark.parametrize("scale", [0.5, 0.37])
def test_boxes_and_pixels_are_mirrored_together_at_any_scale(static_shards: tuple[Shard, ...], scale: float) -> None:
    mirrored = set()
    for batch in training_loader(static_shards, flip=0.5, scale=scale).epoch(1):
        for row, (_, _, *corners) in enumerate(batch.targets.tolist()):
            pixels = filled_pixels(batch.frames_TBCHW[:, row])
            assert np.abs(np.subtract(pixels, corners)).max() < 1  # a pixel is rounded, a box is not
            mirrored.add(corners[0] > 45 * scale)
    assert mirrored == {True, False}


def test_the_same_seed_and_epoch_give_the_same_batches(tiny_dataset: Dataset) -> None:
    shards = tiny_dataset.shards(Split.TRAIN)
    first, second = (list(training_loader(shards, temporal_buffer=0.5, seed=5).epoch(2)) for _ in range(2))
    assert len(first) == 9
    assert all(same(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(("seed", "epoch"), [(5, 3), (6, 2)])
def test_another_epoch_or_seed_gives_other_batches(tiny_dataset: Dataset, seed: int, epoch: int) -> None:
    shards = tiny_dataset.shards(Split.TRAIN)
    first = list(training_loader(shards, seed=5).epoch(2))
    second = list(training_loader(shards, seed=seed).epoch(epoch))
    assert [batch.windows for batch in first] != [batch.windows for batch in second]


def test_an_epoch_does_not_depend_on_those_before_it(tiny_dataset: Dataset) -> None:
    shards = tiny_dataset.shards(Split.TRAIN)
    loader = training_loader(shards, temporal_buffer=0.5)
    list(loader.epoch(1))
    after, fresh = list(loader.epoch(2)), list(training_loader(shards, temporal_buffer=0.5).epoch(2))
    assert all(same(a, b) for a, b in zip(after, fresh, strict=True))


@pytest.mark.parametrize(
    ("batch_size", "windows_per_epoch", "batches"),
    [
        (4, None, 9),  # 18 label times in each of 2 recordings
        (8, None, 4),  # 4 windows are left out
        (4, 10, 2),
        (4, 1_000, 9),
        (100, None, 1),
    ],
)
def test_each_label_is_used_at_most_once_an_epoch(
    tiny_dataset: Dataset, batch_size: int, windows_per_epoch: int | None, batches: int
) -> None:
    loader = training_loader(
        tiny_dataset.shards(Split.TRAIN), batch_size=batch_size, windows_per_epoch=windows_per_epoch
    )
    seen = [batch.windows for batch in loader.epoch(1)]
    assert [len(windows) for windows in seen] == [min(batch_size, 36)] * batches
    assert len(loader) == batches
    labels = [(window.recording, window.label_us) for window in itertools.chain(*seen)]
    assert len(set(labels)) == len(labels)


def test_several_epochs_reach_every_label(tiny_dataset: Dataset) -> None:
    loader = training_loader(tiny_dataset.shards(Split.TRAIN), windows_per_epoch=12)
    seen = {
        (window.recording, window.label_us)
        for epoch in range(1, 16)
        for batch in loader.epoch(epoch)
        for window in batch.windows
    }
    assert len(seen) == 36


def test_targets_stand_in_the_order_of_their_rows(tiny_dataset: Dataset) -> None:
    for batch in training_loader(tiny_dataset.shards(Split.TRAIN), batch_size=6).epoch(1):
        assert batch.targets[:, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]  # two boxes a window
        assert len(batch.tracks) == 12


def test_a_training_window_moves_within_its_buffer_and_an_unbuffered_one_does_not(tiny_dataset: Dataset) -> None:
    shards = tiny_dataset.shards(Split.TRAIN)

    def shifts(temporal_buffer: float) -> npt.NDArray[np.int64]:
        batches = training_loader(shards, temporal_buffer=temporal_buffer, window_us=10_000).epoch(1)
        return np.array([window.end_us - 1 - window.label_us for batch in batches for window in batch.windows])

    assert not shifts(0.0).any()
    moved = shifts(0.4)
    assert np.abs(moved).max() <= 4_000
    assert moved.min() < -1_000
    assert moved.max() > 1_000


def test_evaluation_windows_are_causal_in_order_and_after_the_first_half_second(tiny_dataset: Dataset) -> None:
    loader = EvaluationLoader(tiny_dataset.shards(Split.VAL), DataConfig(window_us=50_000), 4, None)
    expected = [
        Window(recording, label - 49_999, label + 1, label)
        for recording in (0, 1)
        for label in range(550_000, 1_000_000, 50_000)
    ]
    assert [window for batch in loader for window in batch.windows] == expected
    assert len(loader) == 5  # 18 windows in batches of 4


def test_evaluation_windows_are_the_same_whatever_the_buffer_and_the_flip(tiny_dataset: Dataset) -> None:
    shards = tiny_dataset.shards(Split.VAL)
    plain, other = (
        list(EvaluationLoader(shards, config, 8, None))
        for config in (DataConfig(temporal_buffer=0.0, flip=0.0), DataConfig(temporal_buffer=1.0, flip=1.0))
    )
    assert all(same(a, b) for a, b in zip(plain, other, strict=True))


def test_fewer_evaluation_windows_are_spread_from_the_first_to_the_last(tiny_dataset: Dataset) -> None:
    loader = EvaluationLoader(tiny_dataset.shards(Split.VAL), DataConfig(), 8, 2)
    windows = [window for batch in loader for window in batch.windows]
    assert [(window.recording, window.label_us) for window in windows] == [(0, 550_000), (1, 950_000)]


@pytest.fixture
def unlabelled(tmp_path: Path, write_dataset: Callable[..., Dataset], make_take: Callable[..., Any]) -> Dataset:
    events, boxes = filled_box(range(0, 600_000, 50_000), [100_000, 500_000], track=1)
    takes = [
        make_take("train_day_0001", Split.TRAIN, events, Boxes.empty()),
        make_take("val_day_0001", Split.VAL, events, boxes),
    ]
    return write_dataset(tmp_path, takes, SENSOR, label_set("pedro"))


def test_a_training_split_without_labels_is_refused(unlabelled: Dataset) -> None:
    with pytest.raises(DatasetError, match="training split has no labels; ingest"):
        training_loader(unlabelled.shards(Split.TRAIN))


def test_a_split_labelled_in_its_first_half_second_alone_cannot_be_evaluated(unlabelled: Dataset) -> None:
    with pytest.raises(DatasetError, match=r"no label after its first 0\.5 s"):
        EvaluationLoader(unlabelled.shards(Split.VAL), DataConfig(), 8, None)
