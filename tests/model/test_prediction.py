from collections.abc import Callable
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
from model.detector import SpikingDetector
from model.head import BINS, EMBEDDING, Predictions
from model.prediction import EvaluationWindows, Validation

CPU = torch.device("cpu")


class OneBox(nn.Module):
    """Finds the same box in every window: sides of 1, 1, 2, 1 strides of 8 around one point."""

    def __init__(self, x: float, y: float) -> None:
        super().__init__()
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
