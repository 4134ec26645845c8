import numpy as np
import pytest

from model.evaluation.calibration import BINS, calibration, reliability
from model.evaluation.coco import LabelledBoxes


def test_the_error_is_the_mean_gap_weighted_by_the_boxes_of_each_bin() -> None:
    # Four boxes of .9, three of them right: a gap of .15. One of .3, wrong: a gap of .3. (4 * .15 + .3) / 5 = .18.
    measured = reliability(np.array([0.9, 0.9, 0.9, 0.9, 0.3]), np.array([True, True, False, True, False]))
    assert measured.error == pytest.approx(0.18)
    assert (measured.counts[13], measured.counts[4], measured.counts.sum()) == (
        4,
        1,
        5,
    )  # .9 * 15 = 13.5, .3 * 15 = 4.5
    assert (measured.precision[13], measured.precision[4]) == (0.75, 0)
    assert measured.confidence[[13, 4]].tolist() == pytest.approx([0.9, 0.3])


def test_gaps_of_one_bin_cancel_and_those_of_two_do_not() -> None:
    one = reliability(np.array([0.51, 0.52]), np.array([True, False]))  # mean .515, half right
    two = reliability(np.array([0.45, 0.55]), np.array([True, False]))
    assert one.error == pytest.approx(0.015)
    assert two.error == pytest.approx((0.55 + 0.55) / 2)


def test_scores_that_come_true_have_an_error_near_0() -> None:
    random = np.random.default_rng(0)
    scores = random.random(200_000)
    assert reliability(scores, random.random(200_000) < scores).error < 0.01  # sampling: 15 bins of 13,000
    assert reliability(scores, random.random(200_000) < scores / 2).error == pytest.approx(0.25, abs=0.01)


def test_a_score_of_one_belongs_to_the_last_bin() -> None:
    measured = reliability(np.array([1.0]), np.array([True]))
    assert measured.counts.tolist() == [0] * (BINS - 1) + [1]
    assert measured.error == 0


def test_without_a_box_the_error_is_undefined_and_so_are_the_bins() -> None:
    measured = reliability(np.empty(0), np.empty(0, np.bool_))
    assert np.isnan(measured.error)
    assert measured.as_dict()["precision"] == [None] * BINS


A, B = (0.0, 0.0, 20.0, 20.0), (100.0, 0.0, 20.0, 20.0)


def boxes(*rows: tuple[int, tuple[float, float, float, float], int, float]) -> LabelledBoxes:
    image, xywh, kind, score = zip(*rows, strict=True)
    return LabelledBoxes(np.array(image), np.array(xywh), np.array(kind), np.array(score, np.float64))


def test_right_is_the_surest_box_of_the_true_class_on_a_free_true_box() -> None:
    truth = boxes((0, A, 0, 0), (0, B, 1, 0))
    found = boxes(
        (0, A, 0, 0.95),
        (0, A, 0, 0.85),  # the object is taken
        (0, B, 0, 0.75),  # the wrong class
        (0, (0, 0, 20, 11), 0, 0.65),
        (0, (100, 0, 20, 10), 1, 0.55),  # an IoU of .5
        (0, A, 1, 0.049),  # not judged
        (1, A, 0, 0.45),  # its image has no truth
    )
    measured = calibration(truth, found, 2)
    assert measured.counts.sum() == 5
    shares = {int(place): measured.precision[place] for place in np.flatnonzero(measured.counts)}
    assert shares == {14: 1, 12: 0, 11: 0, 9: 0, 8: 1}


def test_what_is_found_in_a_crowd_is_not_judged() -> None:
    truth = LabelledBoxes(np.zeros(1, np.int64), np.array([[0.0, 0, 90, 90]]), np.zeros(1, np.int64), np.zeros(1),
                          np.array([True]))  # fmt: skip
    measured = calibration(truth, boxes((0, (10, 10, 9, 9), 0, 0.9), (0, (300, 0, 9, 9), 0, 0.5)), 1)
    assert measured.counts.sum() == 1
    assert measured.error == pytest.approx(0.5)
