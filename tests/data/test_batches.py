import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.batches import Batch, BatchMaker, scaled_corners
from data.boxes import Boxes, label_set
from data.data_config import DataConfig
from data.dataset import Dataset
from data.events import Events, SensorSize
from data.frame_size import content_size, padded
from data.manifest import Split
from data.sampling import BatchPlan, Sample
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


def maker(shards: tuple[Shard, ...], **changes: Any) -> BatchMaker:
    return BatchMaker(shards, DataConfig.parse({"augment": {"flip": 0.0}, **changes}, "test"), None)


def plan(*windows: Window, others: tuple[Window, ...] = (), seed: int = 0) -> BatchPlan:
    samples = tuple(Sample(window, False, (seed, row), others) for row, window in enumerate(windows))
    return BatchPlan(samples, (seed,), mosaic=bool(others))


def filled_pixels(frames_TCHW: torch.Tensor) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the cells with an event."""
    rows, columns = np.nonzero(frames_TCHW.sum(dim=(0, 1)).numpy())
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


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
    assert padded(content_size(size, scale)) == (height, width)


def test_square_frames_hold_the_same_events_and_more_nothing(static_shards: tuple[Shard, ...]) -> None:
    window = causal_window(0, 100_000, 20_000)
    plain = maker(static_shards, window_us=20_000)(plan(window)).frames_TBCHW
    square = maker(static_shards, window_us=20_000, square=True)(plan(window)).frames_TBCHW
    assert square.shape[-2:] == (96, 96)  # the sensor's 96 columns
    assert torch.equal(square[..., :64, :], plain)
    assert not square[..., 64:, :].any()


def test_boxes_become_scaled_corners_and_stay_as_they_were() -> None:
    boxes = Boxes(np.array([5], np.int64), np.array([[10, 20, 30, 40]], np.float32), np.array([0]), np.array([1]))
    assert scaled_corners(boxes, 0.5).tolist() == [[5, 10, 20, 30]]
    assert boxes.xywh.tolist() == [[10, 20, 30, 40]]


def test_a_batch_holds_the_windows_counts_and_the_boxes_of_every_step(static_shards: tuple[Shard, ...]) -> None:
    make = maker(static_shards, window_us=20_000, time_steps=4)
    batch = make(plan(causal_window(0, 100_000, 20_000), causal_window(1, 140_000, 20_000)))
    assert batch.frames_TBCHW.shape == (4, 2, 2, 64, 96)
    assert batch.frames_TBCHW.dtype == torch.uint8
    # (80_000, 100_000]: the box fires at 85, 90, 95 and 100 ms, once in each quarter of the window.
    expected = torch.zeros(4, 2, 2, 64, 96, dtype=torch.uint8)
    expected[:, :, 1, TOP:BOTTOM, LEFT:RIGHT] = 1
    assert torch.equal(batch.frames_TBCHW, expected)
    assert batch.targets.tolist() == [[image, 0, LEFT, TOP, RIGHT, BOTTOM] for image in range(8)]
    assert batch.labelled.all()
    assert not batch.continues.any()


def test_one_track_number_in_two_recordings_means_two_objects(static_shards: tuple[Shard, ...]) -> None:
    windows = [
        causal_window(recording, label, 50_000) for recording, label in ((0, 100_000), (1, 100_000), (0, 140_000))
    ]
    first, second, third = maker(static_shards, time_steps=1)(plan(*windows)).tracks.tolist()
    assert first == third
    assert first != second


@pytest.mark.parametrize("flip", [0.0, 1.0])
@pytest.mark.parametrize("scale", [1.0, 0.5, 0.37])
def test_boxes_enclose_their_pixels_mirrored_or_not_at_any_scale(
    static_shards: tuple[Shard, ...], flip: float, scale: float
) -> None:
    sides = (LEFT, TOP, RIGHT, BOTTOM) if flip == 0 else (90 - RIGHT, TOP, 90 - LEFT, BOTTOM)
    batch = maker(static_shards, scale=scale, time_steps=2, augment={"flip": flip})(
        plan(causal_window(0, 100_000, 50_000))
    )
    for _, _, *corners in batch.targets.tolist():
        # Beyond the content's last column a mirrored pixel is rounded to the other side.
        assert np.abs(np.subtract(corners, np.multiply(sides, scale))).max() < 1
        assert np.abs(np.subtract(filled_pixels(batch.frames_TBCHW[:, 0]), corners)).max() <= 1


@pytest.mark.parametrize(
    "augment",
    [
        {"zoom_in": 1.0, "zoom_in_max": 2.0},
        {"zoom_out": 1.0, "zoom_out_max": 2.0},
        {"translate": 0.4},
        {"multi_scale": 0.5},
    ],
)
def test_boxes_stay_on_their_pixels_through_every_change_of_place(
    static_shards: tuple[Shard, ...], augment: dict[str, float]
) -> None:
    seen = set()
    for seed in range(12):
        batch = maker(static_shards, time_steps=1, augment={"flip": 0.5, **augment})(
            plan(causal_window(0, 100_000, 50_000), seed=seed)
        )
        for _, _, *corners in batch.targets.tolist():
            assert np.abs(np.subtract(filled_pixels(batch.frames_TBCHW[:, 0]), corners)).max() <= 1.01
            seen.add(round(corners[0]))
    assert len(seen) > 3


def moving_box(tmp_path_factory: pytest.TempPathFactory, write: Any, take: Any) -> tuple[Shard, ...]:
    """A box that moves a pixel to the right every millisecond, labelled every 40 ms."""
    times = np.arange(40_000, 400_000, 40_000, dtype=np.int64)
    xywh = np.stack([times / 1000 / 10, *np.tile([[10.0], [12.0], [12.0]], (1, len(times)))], axis=1)
    ids = np.zeros(len(times), np.int64)
    boxes = Boxes(times, xywh.astype(np.float32), ids, ids)
    t = np.arange(0, 400_000, 1_000, dtype=np.int64)
    events = Events(
        t, (t // 10_000).astype(np.uint16), np.full(len(t), 15, np.uint16), (t % 2_000 == 0).astype(np.uint8)
    )
    dataset = write(tmp_path_factory.mktemp("moving"), [take("train_day_0001", Split.TRAIN, events, boxes)], SENSOR,
                    label_set("pedro"))  # fmt: skip
    shards: tuple[Shard, ...] = dataset.shards(Split.TRAIN)
    return shards


def test_each_step_is_labelled_with_the_box_at_its_own_end(
    tmp_path_factory: pytest.TempPathFactory, write_dataset: Any, make_take: Any
) -> None:
    shards = moving_box(tmp_path_factory, write_dataset, make_take)
    batch = maker(shards, window_us=40_000, time_steps=4)(plan(causal_window(0, 120_000, 40_000)))
    # Steps end at 90, 100, 110 and 120 ms; the box is at a tenth of a pixel a millisecond.
    assert batch.targets[:, 2].tolist() == pytest.approx([9.0, 10.0, 11.0, 12.0], abs=1e-4)


def test_a_window_shown_backwards_ends_with_the_box_it_began_with(
    tmp_path_factory: pytest.TempPathFactory, write_dataset: Any, make_take: Any
) -> None:
    shards = moving_box(tmp_path_factory, write_dataset, make_take)
    window = causal_window(0, 120_000, 40_000)
    forwards, backwards = (
        maker(shards, window_us=40_000, time_steps=4, augment={"flip": 0.0, "time_flip": chance})(plan(window))
        for chance in (0.0, 1.0)
    )
    # Backwards, a step ends where it began: at 110, 100, 90 and 80 ms.
    assert backwards.targets[:, 2].tolist() == pytest.approx([11.0, 10.0, 9.0, 8.0], abs=1e-3)
    assert torch.equal(backwards.frames_TBCHW, forwards.frames_TBCHW.flip(0, 2))  # steps and polarities


def test_a_mosaic_shows_four_windows_each_in_its_quarter_with_its_box(
    tmp_path: Path, write_dataset: Callable[..., Dataset], make_take: Callable[..., Any]
) -> None:
    events, boxes = filled_box(range(0, 200_000, 5_000), [100_000], track=7)
    to_the_middle = 30, 16
    events = replace(events, x=events.x + np.uint16(to_the_middle[0]), y=events.y + np.uint16(to_the_middle[1]))
    boxes = replace(boxes, xywh=boxes.xywh + np.array([*to_the_middle, 0, 0], np.float32))
    takes = [make_take(f"train_day_000{number}", Split.TRAIN, events, boxes) for number in (1, 2)]
    shards = write_dataset(tmp_path, takes, SENSOR, label_set("pedro")).shards(Split.TRAIN)
    windows = [causal_window(recording, 100_000, 50_000) for recording in (0, 1, 0, 1)]
    make = maker(shards, time_steps=2, augment={"flip": 0.0, "mosaic": 1.0})
    batch = make(plan(windows[0], others=tuple(windows[1:])))
    there = batch.frames_TBCHW[:, 0, 1] > 0
    assert batch.targets[:, 0].tolist() == [0] * 4 + [1] * 4
    assert sorted(batch.tracks.tolist()) == sorted([7, 7 + (1 << 32)] * 4)  # one object of each recording
    for image, _, *corners in batch.targets.tolist():
        x1, y1, x2, y2 = corners
        assert there[int(image), math.ceil(y1) : int(y2), math.ceil(x1) : int(x2)].all()
        there[int(image), max(int(y1) - 1, 0) : math.ceil(y2) + 1, int(x1) - 1 : math.ceil(x2) + 1] = False
    assert not there.any()  # nothing lies outside the boxes


def test_a_step_far_from_any_label_is_not_labelled(
    tmp_path_factory: pytest.TempPathFactory, write_dataset: Any, make_take: Any
) -> None:
    shards = moving_box(tmp_path_factory, write_dataset, make_take)
    batch = maker(shards, window_us=40_000, time_steps=2)(plan(Window(0, 380_000, 420_000, 419_999)))
    # The last label is at 360 ms; the steps end at 400 and 420 ms, and a window of 40 ms reaches back to 380.
    assert batch.labelled[:, 0].tolist() == [True, False]


def test_signed_frames_come_as_signed_bytes(static_shards: tuple[Shard, ...]) -> None:
    batch = maker(static_shards, representation={"name": "diff3d"})(plan(causal_window(0, 100_000, 50_000)))
    assert batch.frames_TBCHW.dtype == torch.int8
    assert batch.frames_TBCHW.shape[2] == 1


def test_a_batch_moves_as_a_whole(static_shards: tuple[Shard, ...]) -> None:
    batch = maker(static_shards)(plan(causal_window(0, 100_000, 50_000)))
    moved: Batch = batch.to(torch.device("meta"))
    tensors = (moved.frames_TBCHW, moved.targets, moved.tracks, moved.labelled, moved.continues)
    assert [tensor.device.type for tensor in tensors] == ["meta"] * 5
    assert moved.windows == batch.windows
