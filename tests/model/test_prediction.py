from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

from data.boxes import Boxes, label_set
from data.data_config import DataConfig
from data.dataset import Dataset
from data.events import Events, SensorSize
from data.manifest import Split
from data.sampling import Order
from data.shards import Shard
from data.windows import Sampling
from model.decoding import decode
from model.detector import DetectorConfig, SpikingDetector
from model.head import BINS, EMBEDDING, Predictions
from model.prediction import EvaluationWindows, Validation

CPU = torch.device("cpu")


class OneBox(nn.Module):
    """Finds the same box in every window: sides of 1, 1, 2, 1 strides of 8 around one point."""

    def __init__(self, x: float, y: float) -> None:
        super().__init__()
        self.config = DetectorConfig()
        self.point = torch.tensor([[x, y]])

    def forward(self, frames_TBCHW: torch.Tensor) -> Predictions:
        T, B = frames_TBCHW.shape[:2]
        sides = torch.zeros(T, B, 1, 4, BINS)
        for side, strides in enumerate((1, 1, 2, 1)):
            sides[..., side, strides] = 200.0
        classes = torch.tensor([2.0, -9.0]).expand(T, B, 1, 2)
        return Predictions(sides, classes, torch.zeros(T, B, 1, EMBEDDING), self.point, torch.tensor([8.0]))


@pytest.mark.parametrize(
    ("scale", "point", "corners"),
    [
        (1.0, (40, 16), [32, 8, 56, 24]),
        (0.5, (24, 16), [32, 16, 80, 48]),
        (0.5, (40, 4), [64, 0, 96, 24]),  # -8 above and 112 to the right of a frame of 96x64
    ],
)
def test_what_is_found_comes_back_in_sensor_pixels_inside_the_frame(
    tiny_dataset: Dataset, scale: float, point: tuple[float, float], corners: list[float]
) -> None:
    detector = cast(SpikingDetector, OneBox(*point))
    results = EvaluationWindows(tiny_dataset.shards(Split.VAL), DataConfig(scale=scale), Validation()).predict(
        detector, CPU
    )
    assert len(results) == 18
    for found in results:
        assert found.found.corners.tolist() == [corners]
        assert found.found.classes.tolist() == [0]


def test_each_window_is_given_the_truth_of_its_own_label_time(tiny_dataset: Dataset) -> None:
    shards = tiny_dataset.shards(Split.VAL)
    detector = cast(SpikingDetector, OneBox(40, 16))
    results = EvaluationWindows(shards, DataConfig(), Validation(windows=5)).predict(detector, CPU)
    assert len(results) == 5
    for found in results:
        boxes = shards[found.window.recording].boxes
        np.testing.assert_array_equal(found.truth.xywh, boxes.xywh[boxes.t == found.window.label_us])
        assert found.night is (found.window.recording == 1)


def test_labels_at_or_before_half_a_second_are_left_out(
    tmp_path: Path, write_dataset: Callable[..., Dataset], make_take: Callable[..., Any]
) -> None:
    t = np.arange(0, 600_000, 1_000)
    pixels = np.zeros(len(t), np.uint16)
    times = np.array([400_000, 500_000, 500_001, 590_000], np.int64)
    ids = np.zeros(4, np.int64)
    boxes = Boxes(times, np.tile(np.array([[4, 4, 40, 40]], np.float32), (4, 1)), ids, ids)
    take = make_take("val_day_0001", Split.VAL, Events(t, pixels, pixels, pixels.astype(np.uint8)), boxes)
    shards = write_dataset(tmp_path, [take], SensorSize(96, 64), label_set("gen1")).shards(Split.VAL)
    results = EvaluationWindows(shards, DataConfig(), Validation()).predict(cast(SpikingDetector, OneBox(40, 16)), CPU)
    assert [found.window.label_us for found in results] == [500_001, 590_000]


class Counting(OneBox):
    """As sure of its box as steps have gone by since the membranes rested: one in a thousand for each."""

    def __init__(self) -> None:
        super().__init__(40, 16)
        self.steps = torch.zeros(0)
        self.flags: list[list[bool]] = []

    def forward(self, frames_TBCHW: torch.Tensor, continues: torch.Tensor | None = None) -> Predictions:
        assert continues is not None
        self.flags.append(continues.tolist())
        before = torch.where(continues, self.steps, 0.0) if len(self.steps) else torch.zeros(len(continues))
        steps_TB = before + torch.arange(1, len(frames_TBCHW) + 1)[:, None]
        self.steps = steps_TB[-1]
        classes = torch.stack([torch.logit(steps_TB / 1000), torch.full(steps_TB.shape, -9.0)], dim=-1)
        return replace(super().forward(frames_TBCHW), classes=classes[:, :, None])


def test_streaming_a_label_is_answered_by_the_last_step_that_has_ended(tiny_dataset: Dataset) -> None:
    # Steps of 12.5 ms from each recording's first event on.
    shards = tiny_dataset.shards(Split.VAL)
    detector = Counting()
    streamed = EvaluationWindows(shards, DataConfig(), Validation(streaming=True))
    results = streamed.predict(cast(SpikingDetector, detector), CPU)
    assert len(results) == 18
    for result in results:
        gone_us = result.window.label_us + 1 - shards[result.window.recording].first_us
        assert result.found.scores.tolist() == pytest.approx([gone_us // 12_500 / 1000], rel=1e-4)
        np.testing.assert_array_equal(
            result.truth.xywh, shards[result.window.recording].boxes.at(result.window.label_us).xywh
        )


def test_streaming_membranes_rest_at_a_recordings_first_step_only(tiny_dataset: Dataset) -> None:
    detector = Counting()
    config = DataConfig(order=Order.STREAMING, sampling=Sampling.STRIDE)  # and so it is measured, unless told otherwise
    EvaluationWindows(tiny_dataset.shards(Split.VAL), config, Validation()).predict(
        cast(SpikingDetector, detector), CPU
    )
    first, *others = detector.flags
    assert first == [False, False]
    assert others
    assert all(flags == [True, True] for flags in others)


def test_a_streamed_label_equals_the_last_step_of_one_long_run(tiny_dataset: Dataset) -> None:
    shards = tiny_dataset.shards(Split.VAL)[:1]
    torch.manual_seed(0)
    config = DataConfig()
    detector = SpikingDetector(DetectorConfig(), config.representation, config.time_steps, 2).double()
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.3)
            nn.init.normal_(module.bias, 0.3, 0.3)
    results = EvaluationWindows(shards, config, Validation(streaming=True, windows=3)).predict(detector, CPU)
    for result in results:
        steps = (result.window.label_us + 1 - shards[0].first_us) // 12_500
        frames = [_frame(shards[0], step, config) for step in range(steps)]
        with torch.no_grad():
            (whole,) = decode(detector(torch.stack(frames)[:, None]).part(slice(-1, None), slice(None)))
        np.testing.assert_allclose(result.found.scores, whole.scores, rtol=1e-6)
        assert len(whole.scores) > 0


def _frame(shard: Shard, step: int, config: DataConfig) -> torch.Tensor:
    """The counts `[2, H, W]` of one step of 12.5 ms, added up plainly."""
    first_us = shard.first_us + step * 12_500
    events = shard.events(first_us, first_us + 12_500)
    counts = torch.zeros(2, 64, 96, dtype=torch.uint8)
    for x, y, p in zip(events.x, events.y, events.p, strict=True):
        counts[int(p), int(y), int(x)] += 1
    return counts
