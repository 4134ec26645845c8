import json
from pathlib import Path

import numpy as np
import pytest
import torch

from data.augment import AugmentConfig
from data.boxes import Boxes, LabelSet
from data.data_config import DataConfig
from data.dataset import Dataset
from data.errors import DatasetError
from data.events import SensorSize
from data.manifest import Split
from data.windows import Window
from model.checkpoint import Checkpoint, save_checkpoint
from model.decoding import Detections
from model.detector import DetectorConfig, SpikingDetector
from model.evaluation.protocol import evaluate_checkpoint, large_enough, size_limits, summarize, validate
from model.prediction import EvaluationWindows, Validation, WindowResult
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
            np.zeros((len(found), 4), np.float32),
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


def test_the_filter_is_that_of_a_case_by_hand_at_gen1_and_hd() -> None:
    # On the limit, and below it by a hair: diagonal 60 and side 20 at 1280x720, 30 and 10 at 304x240.
    on_hd: list[Box] = [(0, 0, 36, 48), (100, 0, 20, 57), (200, 0, 57, 20)]
    below_hd: list[Box] = [(300, 0, 35.9, 48), (400, 0, 19.9, 90), (500, 0, 90, 19.9), (600, 0, 42, 42)]
    on_gen1: list[Box] = [(0, 0, 18, 24), (50, 0, 10, 28.5), (100, 0, 28.5, 10)]
    below_gen1: list[Box] = [(150, 0, 17.9, 24), (180, 0, 9.9, 90), (200, 0, 90, 9.9), (0, 100, 21, 21)]
    for on, below, size in ((on_hd, below_hd, HD), (on_gen1, below_gen1, SensorSize(304, 240))):
        # What is below the limits is true but not found, or found but not true: neither counts.
        missed = result([(box, 0) for box in (*on, *below)], [(box, 0, 0.5) for box in on])
        invented = result([(box, 0) for box in on], [(box, 0, 0.9) for box in below] + [(box, 0, 0.5) for box in on])
        values = summarize([missed, invented], LABELS, size).as_dict()
        assert values["map"] == 1
        assert values["confusion"]["matrix"][0] == [6, 0, 0, 0]
        assert values["unfiltered"]["map"] < 0.6


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
    assert values["night_agnostic"] is None
    assert values["day"] == values["day_agnostic"] == {"map": 1, "map50": 1}


def test_a_part_whose_boxes_are_all_filtered_away_is_null_too() -> None:
    results = [result([(LARGE, 0)], [(LARGE, 0, 0.5)], night=False), result([(TINY, 0)], [(LARGE, 0, 0.5)], night=True)]
    assert summarize(results, LABELS, HD).as_dict()["night"] is None


def test_windows_do_not_see_each_others_detections() -> None:
    results = [result([(LARGE, 0)], []), result([(LARGE, 0)], [(LARGE, 0, 0.5), (LARGE, 0, 0.4)])]
    assert summarize(results, LABELS, HD).overall.ap50 == pytest.approx(51 / 101)


def test_the_printed_numbers_name_classes_and_leave_undefined_ones_null() -> None:
    person: Box = (500, 300, 40, 80)
    found: list[tuple[Box, int, float]] = [(LARGE, 0, 0.9), (person, 2, 0.8)]  # the person is taken for a tram
    values = summarize([result([(LARGE, 0), (person, 1)], found)], LABELS, HD).as_dict()
    assert values["per_class"] == {
        "car": {"ap": 1, "ap50": 1, "ap75": 1},
        "person": {"ap": 0, "ap50": 0, "ap75": 0},
        "tram": None,
    }
    assert (values["map"], values["map50"], values["map75"]) == (0.5, 0.5, 0.5)
    assert (values["map_agnostic"], values["map50_agnostic"]) == (1, 1)
    assert values["confusion"]["classes"] == ["car", "person", "tram", "background"]
    assert values["confusion"]["matrix"] == [[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert values["ece"] == pytest.approx((0.1 + 0.8) / 2)  # .9 was right, .8 wrong
    assert values["windows"] == 1
    assert "precision_recall" not in values
    json.dumps(values, allow_nan=False)


def test_nothing_found_is_zero_everywhere() -> None:
    values = summarize([result([(LARGE, 0)], [])], LABELS, HD).as_dict()
    assert (values["map"], values["map50"], values["map75"], values["map50_agnostic"]) == (0, 0, 0, 0)
    assert values["large"] == {"map": 0, "map50": 0}
    assert values["ece"] is None
    assert values["confusion"]["matrix"][0] == [0, 0, 0, 1]


def test_each_threshold_has_its_own_number() -> None:
    # 100x100 true, 100x61 found: an IoU of .61, at or above three of the ten thresholds.
    values = summarize([result([(LARGE, 0)], [((100, 100, 100, 61), 0, 0.5)])], LABELS, HD).as_dict()
    assert values["per_class"]["car"] == {"ap": pytest.approx(0.3), "ap50": 1, "ap75": 0}
    assert (values["map"], values["map50"], values["map75"]) == (pytest.approx(0.3), 1, 0)


def test_sizes_are_coco_areas_in_sensor_pixels() -> None:
    # At 320x180 the filter leaves boxes from 5 px on. 20² is small, 40² and 90² are medium, 100² is large.
    boxes: list[Box] = [(0, 0, 20, 20), (30, 0, 40, 40), (80, 0, 90, 90), (200, 0, 100, 100)]
    found: list[tuple[Box, int, float]] = [(boxes[0], 0, 0.9), (boxes[1], 0, 0.8)]
    values = summarize([result([(box, 0) for box in boxes], found)], LABELS, SensorSize(320, 180)).as_dict()
    assert values["small"]["map"] == 1
    assert values["medium"]["map"] == pytest.approx(51 / 101)
    assert values["large"] == {"map": 0, "map50": 0}
    assert values["unfiltered_small"]["map"] == 1


def test_at_1280x720_only_the_unfiltered_truth_has_small_boxes() -> None:
    # The least box that counts, 20 px by 56.6, has an area of 1,131 px²; small ends at 1,024.
    values = summarize([result([(LARGE, 0), (TINY, 0)], [(TINY, 0, 0.5)])], LABELS, HD).as_dict()
    assert values["small"] is None
    assert values["unfiltered_small"]["map"] == 1


def test_curves_come_when_asked_for() -> None:
    # Two true cars: the first is found, then a false box, then the second: precision 1 up to a recall of .5, then 2/3.
    other: Box = (500, 300, 80, 80)
    found: list[tuple[Box, int, float]] = [(LARGE, 0, 0.9), ((900, 500, 80, 80), 1, 0.8), (other, 0, 0.7)]
    values = summarize([result([(LARGE, 0), (other, 0)], found)], LABELS, HD).as_dict(curves=True)
    curves = values["precision_recall"]
    assert curves["recall"] == pytest.approx([number / 100 for number in range(101)])
    assert curves["per_class"] == {"car": {"ap50": [1] * 101, "ap75": [1] * 101}, "person": None, "tram": None}
    assert curves["agnostic"]["ap50"] == pytest.approx([1] * 51 + [2 / 3] * 50)
    assert sum(values["reliability"]["counts"]) == 3
    json.dumps(values, allow_nan=False)


def saved(folder: Path, labels: LabelSet, size: SensorSize) -> Path:
    torch.manual_seed(0)
    config = TrialConfig()
    detector = SpikingDetector(config.model, config.data.representation, config.data.time_steps, len(labels.classes))
    save_checkpoint(Checkpoint(detector, config, labels, size, 1, {}), folder / "last.safetensors")
    return folder / "last.safetensors"


def test_a_checkpoint_is_measured_on_every_window_of_the_split(tmp_path: Path, tiny_dataset: Dataset) -> None:
    path = saved(tmp_path, tiny_dataset.label_set, tiny_dataset.size)
    evaluation = evaluate_checkpoint(path, tiny_dataset, Validation(), "cpu")
    assert evaluation.windows == 18
    assert evaluation.day is not None
    assert evaluation.night is not None
    assert list(evaluation.as_dict()["per_class"]) == ["car", "pedestrian"]


def test_augmentation_buffer_and_sampling_change_nothing_that_is_evaluated(tiny_dataset: Dataset) -> None:
    extremes = DataConfig(
        temporal_buffer=1.0,
        max_windows_per_recording=1,
        label_gap_us=0,
        augment=AugmentConfig(
            flip=1, zoom_in=1, zoom_in_max=4, translate=0.5, multi_scale=0.5, mosaic=1, close_mosaic=0,
            event_drop=0.9, polarity_flip=1, time_flip=1,
        ),
    )  # fmt: skip
    plain = DataConfig(augment=AugmentConfig(flip=0))
    shards = tiny_dataset.shards(Split.VAL)
    detector = SpikingDetector(DetectorConfig(), plain.representation, plain.time_steps, 2)
    ours, reference = (
        EvaluationWindows(shards, config, Validation()).predict(detector, CPU) for config in (extremes, plain)
    )
    assert len(ours) == len(reference) == 18
    for one, other in zip(ours, reference, strict=True):
        boxes = shards[one.window.recording].boxes
        labelled = boxes.t == one.window.label_us
        assert one.window == other.window
        assert one.window.end_us == one.window.label_us + 1  # it ends with its label's own microsecond
        np.testing.assert_array_equal(one.truth.xywh, boxes.xywh[labelled])
        np.testing.assert_array_equal(one.truth.class_id, boxes.class_id[labelled])
        np.testing.assert_array_equal(one.found.corners, other.found.corners)
        np.testing.assert_array_equal(one.found.scores, other.found.scores)
        assert len(one.found.scores)


def test_a_checkpoint_of_another_label_set_is_refused(tmp_path: Path, tiny_dataset: Dataset) -> None:
    path = saved(tmp_path, LabelSet("swapped", ("pedestrian", "car")), tiny_dataset.size)
    with pytest.raises(DatasetError, match=r"last\.safetensors: trained on label set 'swapped'.*'gen1'"):
        evaluate_checkpoint(path, tiny_dataset, Validation(), "cpu")


def test_a_checkpoint_of_another_sensor_is_refused(tmp_path: Path, tiny_dataset: Dataset) -> None:
    path = saved(tmp_path, tiny_dataset.label_set, SensorSize(304, 240))
    with pytest.raises(DatasetError, match=r"last\.safetensors: trained for a sensor of .*304.*240.*96.*64"):
        evaluate_checkpoint(path, tiny_dataset, Validation(), "cpu")
