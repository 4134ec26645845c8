import json
from pathlib import Path

import numpy as np
import pytest
import torch

from data.boxes import Boxes, LabelSet
from data.dataset import Dataset
from data.errors import DatasetError
from data.events import SensorSize
from data.windows import Window
from model.checkpoint import Checkpoint, save_checkpoint
from model.decoding import Detections
from model.detector import SpikingDetector
from model.evaluation import evaluate_checkpoint, large_enough, size_limits, summarize, validate
from model.prediction import Validation, WindowResult
from model.trial_config import TrialConfig

HD = SensorSize(1280, 720)
LABELS = LabelSet("test", ("car", "person", "tram"))
CPU = torch.device("cpu")

Box = tuple[float, float, float, float]


def result(
    truth: list[tuple[Box, int]], found: list[tuple[Box, int, float]], night: bool | None = False
) -> WindowResult:
    """Boxes as x, y, w, h in sensor pixels."""
    xywh = np.array([box for box, _ in truth], np.float32).reshape(-1, 4)
    kinds = np.array([kind for _, kind in truth], np.int64)
    corners = np.array([(x, y, x + w, y + h) for (x, y, w, h), _, _ in found], np.float32).reshape(-1, 4)
    return WindowResult(
        Window(0, 550_000, 600_000, 599_999),
        night,
        Boxes(np.full(len(truth), 599_999), xywh, kinds, np.arange(len(truth))),
        Detections(
            corners,
            np.array([score for *_, score in found], np.float32),
            np.array([kind for _, kind, _ in found], np.int64),
        ),
    )


LARGE: Box = (100, 100, 100, 100)
TINY: Box = (400, 400, 15, 15)


@pytest.mark.parametrize(
    ("size", "diagonal", "side"),
    [
        (SensorSize(1280, 720), 60, 20),
        (SensorSize(640, 360), 30, 10),
        (SensorSize(304, 240), 30, 10),
        (SensorSize(320, 180), 15, 5),
    ],
)
def test_the_least_box_of_a_sensor(size: SensorSize, diagonal: float, side: float) -> None:
    assert size_limits(size) == (diagonal, side)


def test_a_box_counts_from_its_limits_on() -> None:
    sizes = [(36, 48), (35.9, 48), (20, 60), (19.9, 60), (60, 19.9), (20, 20)]  # 36, 48 has a diagonal of 60
    boxes = np.array([(0, 0, width, height) for width, height in sizes], np.float64)
    assert large_enough(boxes, HD).tolist() == [True, False, True, False, False, False]


def test_a_tiny_false_detection_does_not_lower_the_filtered_ap() -> None:
    both = [result([(LARGE, 0)], [(LARGE, 0, 0.5), (TINY, 0, 0.99)])]
    evaluation = summarize(both, LABELS, HD)
    assert (evaluation.overall.ap, evaluation.overall.ap50) == (1, 1)
    # Unfiltered it comes first and is wrong: half of what is found at every recall.
    assert evaluation.unfiltered.ap == pytest.approx(0.5)
    assert validate(both, LABELS, HD).ap == 1


def test_a_tiny_true_box_that_was_missed_does_not_count() -> None:
    both = [result([(LARGE, 0), (TINY, 0)], [(LARGE, 0, 0.5)])]
    evaluation = summarize(both, LABELS, HD)
    assert evaluation.overall.ap == 1
    # Unfiltered it reaches half of the recall: 51 of COCO's 101 points.
    assert evaluation.unfiltered.ap == pytest.approx(51 / 101)
    assert validate(both, LABELS, HD).ap == 1


def test_a_window_whose_boxes_are_all_tiny_does_not_count_at_all() -> None:
    results = [result([(LARGE, 0)], [(LARGE, 0, 0.5)]), result([(TINY, 0)], [(LARGE, 0, 0.9)])]
    assert summarize(results, LABELS, HD).overall.ap == 1


def test_the_limits_are_those_of_the_sensor() -> None:
    box: Box = (10, 10, 20, 20)  # a diagonal of 28: enough at 320x180, too small at 1280x720
    both = [result([(LARGE, 0), (box, 0)], [(LARGE, 0, 0.5)])]
    assert validate(both, LABELS, HD).ap == 1
    assert validate(both, LABELS, SensorSize(320, 180)).ap == pytest.approx(51 / 101)


def test_day_and_night_are_measured_apart() -> None:
    results = [
        result([(LARGE, 0)], [(LARGE, 0, 0.5)], night=False),
        result([(LARGE, 0)], [], night=True),
        result([(LARGE, 0)], [], night=None),
    ]
    evaluation = summarize(results, LABELS, HD)
    assert evaluation.day is not None
    assert evaluation.night is not None
    assert (evaluation.day.ap50, evaluation.night.ap50) == (1, 0)
    assert evaluation.overall.ap50 == pytest.approx(34 / 101)  # a recall of a third, at 0 to .33


def test_a_part_the_split_does_not_have_is_null() -> None:
    values = summarize([result([(LARGE, 0)], [(LARGE, 0, 0.5)], night=False)], LABELS, HD).as_dict()
    assert values["night"] is None
    assert values["day"] == {"map": 1, "map50": 1}


def test_windows_do_not_see_each_others_detections() -> None:
    results = [result([(LARGE, 0)], []), result([(LARGE, 0)], [(LARGE, 0, 0.5), (LARGE, 0, 0.4)])]
    assert summarize(results, LABELS, HD).overall.ap50 == pytest.approx(51 / 101)


def test_the_printed_numbers_name_classes_and_leave_undefined_ones_null() -> None:
    person: Box = (500, 300, 40, 80)
    found: list[tuple[Box, int, float]] = [(LARGE, 0, 0.9), (person, 2, 0.8)]  # the person is taken for a tram
    values = summarize([result([(LARGE, 0), (person, 1)], found)], LABELS, HD).as_dict()
    assert values["per_class"] == {"car": {"ap": 1, "ap50": 1}, "person": {"ap": 0, "ap50": 0}, "tram": None}
    assert (values["map"], values["map50"], values["map75"]) == (0.5, 0.5, 0.5)
    assert values["map50_agnostic"] == 1
    assert values["windows"] == 1
    json.dumps(values, allow_nan=False)


def test_nothing_found_is_zero_everywhere() -> None:
    values = summarize([result([(LARGE, 0)], [])], LABELS, HD).as_dict()
    assert (values["map"], values["map50"], values["map75"], values["map50_agnostic"]) == (0, 0, 0, 0)


def saved(folder: Path, labels: LabelSet, size: SensorSize) -> Path:
    torch.manual_seed(0)
    config = TrialConfig()
    detector = SpikingDetector(config.model, config.data.representation, len(labels.classes))
    save_checkpoint(Checkpoint(detector, config, labels, size, 1, {}), folder / "last.safetensors")
    return folder / "last.safetensors"


def test_a_checkpoint_is_measured_on_every_window_of_the_split(tmp_path: Path, tiny_dataset: Dataset) -> None:
    path = saved(tmp_path, tiny_dataset.label_set, tiny_dataset.size)
    evaluation = evaluate_checkpoint(path, tiny_dataset, Validation(), "cpu")
    assert evaluation.windows == 18
    assert evaluation.day is not None
    assert evaluation.night is not None
    assert list(evaluation.as_dict()["per_class"]) == ["car", "pedestrian"]


def test_a_checkpoint_of_another_label_set_is_refused(tmp_path: Path, tiny_dataset: Dataset) -> None:
    path = saved(tmp_path, LabelSet("swapped", ("pedestrian", "car")), tiny_dataset.size)
    with pytest.raises(DatasetError, match=r"last\.safetensors: trained on label set 'swapped'.*'gen1'"):
        evaluate_checkpoint(path, tiny_dataset, Validation(), "cpu")


def test_a_checkpoint_of_another_sensor_is_refused(tmp_path: Path, tiny_dataset: Dataset) -> None:
    path = saved(tmp_path, tiny_dataset.label_set, SensorSize(304, 240))
    with pytest.raises(DatasetError, match=r"last\.safetensors: trained for a sensor of .*304.*240.*96.*64"):
        evaluate_checkpoint(path, tiny_dataset, Validation(), "cpu")
