import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from model.average_precision import LabelledBoxes, average_precision

Row = tuple[int, tuple[float, float, float, float], int, float]  # image, x y w h, class, score


def table(rows: Sequence[Row]) -> LabelledBoxes:
    return LabelledBoxes(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.float64).reshape(-1, 4),
        np.array([row[2] for row in rows], np.int64),
        np.array([row[3] for row in rows], np.float64),
    )


def by_pycocotools(truth: Sequence[Row], found: Sequence[Row], classes: int, agnostic: bool) -> COCOeval:
    """The reference implementation, given only the images with a true box."""
    images = sorted({row[0] for row in truth})
    annotations = [
        {"id": number, "image_id": image, "bbox": [x, y, w, h], "area": w * h, "iscrowd": 0, "category_id": kind}
        for number, (image, (x, y, w, h), kind, _) in enumerate(truth, start=1)
    ]
    results = [
        {"image_id": image, "bbox": list(xywh), "category_id": kind, "score": score}
        for image, xywh, kind, score in found
        if image in images
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": image} for image in images],
            "annotations": annotations,
            "categories": [{"id": kind, "name": str(kind)} for kind in range(classes)],
            "info": {},
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.params.useCats = 0 if agnostic else 1
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def assert_equal_to_pycocotools(truth: Sequence[Row], found: Sequence[Row], classes: int, agnostic: bool) -> None:
    ours = average_precision(table(truth), table(found), classes, agnostic)
    reference = by_pycocotools(truth, found, classes, agnostic)
    precision_TRK = reference.eval["precision"][:, :, :, 0, 2]
    expected = np.where(precision_TRK[:, 0] < 0, np.nan, precision_TRK.mean(axis=1)).T
    np.testing.assert_allclose(ours.by_class, expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose([ours.ap, ours.ap50, ours.ap75], reference.stats[:3], rtol=0, atol=1e-9)


def random_rows(seed: int, images: int = 12, classes: int = 4, levels: int = 1_000, crowd: int = 9) -> tuple[Any, Any]:
    """True boxes, and finds that are true boxes jittered, of a wrong class at times, or invented."""
    random = np.random.default_rng(seed)
    truth: list[Row] = []
    found: list[Row] = []

    def score() -> float:
        return float(random.integers(1, levels + 1)) / levels

    def invented() -> npt.NDArray[np.float64]:
        return np.concatenate([random.uniform(0, 100, 2), random.uniform(4, 60, 2)])

    for image in range(images):
        for _ in range(random.integers(0, crowd)):
            box, kind = invented(), int(random.integers(classes - 1))  # the last class has no true box
            truth.append((image, tuple(box), kind, 0.0))
            for _ in range(random.integers(0, 3)):
                guess = int(random.integers(classes)) if random.random() < 0.2 else kind
                jittered = np.abs(box + random.normal(0, 3, 4))
                found.append((image, tuple(jittered), guess, score()))
        found += [(image, tuple(invented()), int(random.integers(classes)), score()) for _ in range(2)]
    return truth, found


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("seed", range(24))
def test_ap_equals_pycocotools_on_random_boxes(seed: int, agnostic: bool) -> None:
    truth, found = random_rows(seed)
    assert_equal_to_pycocotools(truth, found, 4, agnostic)


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize(
    "shape",
    [
        {"levels": 1},  # every score the same
        {"levels": 3},
        {"images": 150, "crowd": 4},
        {"images": 2, "crowd": 90},  # more than the hundred finds an image that COCO counts
        {"classes": 9, "images": 3},
        {"images": 1, "classes": 2},
    ],
    ids=str,
)
def test_ap_equals_pycocotools_on_sets_made_to_trip_it(shape: dict[str, int], agnostic: bool) -> None:
    for seed in range(100, 103):
        truth, found = random_rows(seed, **shape)
        if truth and found:
            assert_equal_to_pycocotools(truth, found, shape.get("classes", 4), agnostic)


def test_ap_equals_pycocotools_when_boxes_come_twice() -> None:
    truth, found = random_rows(7, levels=5)
    for agnostic in (False, True):
        assert_equal_to_pycocotools([*truth, *truth], [*found, *found], 4, agnostic)


def test_ap_equals_pycocotools_when_images_stand_in_no_order() -> None:
    truth, found = random_rows(8)
    random = np.random.default_rng(8)
    mixed_truth, mixed_found = (
        [(row[0] * 1_000 + 5, *row[1:]) for row in (rows[i] for i in random.permutation(len(rows)))]
        for rows in (truth, found)
    )
    assert_equal_to_pycocotools(mixed_truth, mixed_found, 4, False)


SQUARE = (10.0, 10.0, 20.0, 20.0)


def test_a_perfect_answer_has_an_ap_of_one() -> None:
    result = average_precision(table([(0, SQUARE, 0, 0)]), table([(0, SQUARE, 0, 0.01)]), 1)
    assert (result.ap, result.ap50, result.ap75) == (1, 1, 1)


def test_a_box_of_iou_above_six_tenths_counts_at_three_of_the_ten_thresholds() -> None:
    # 20x20 true, 20x12.2 found inside it: IoU .61 reaches .50, .55 and .60.
    result = average_precision(table([(0, SQUARE, 0, 0)]), table([(0, (10, 10, 20, 12.2), 0, 0.5)]), 1)
    assert result.by_class[0].tolist() == pytest.approx([1, 1, 1, 0, 0, 0, 0, 0, 0, 0])
    assert result.ap == pytest.approx(0.3)


def test_boxes_found_in_an_image_without_truth_do_not_count() -> None:
    truth = table([(3, SQUARE, 0, 0)])
    found = [(3, SQUARE, 0, 0.5)]
    elsewhere: list[Row] = [(image, SQUARE, 0, 0.9) for image in (0, 1, 2, 4, 99)]
    assert average_precision(truth, table([*elsewhere, *found]), 1).ap == 1
    # The same finds in the image with the true box would halve its precision or worse.
    assert average_precision(truth, table([*[(3, (60.0, 60, 9, 9), 0, 0.9)], *found]), 1).ap == pytest.approx(0.5)


def test_the_ap_of_a_class_without_truth_is_undefined_not_zero() -> None:
    result = average_precision(table([(0, SQUARE, 1, 0)]), table([(0, SQUARE, 1, 0.5), (0, SQUARE, 2, 0.9)]), 3)
    assert np.isnan(result.by_class[0]).all()
    assert np.isnan(result.by_class[2]).all()
    assert result.by_class[1].tolist() == [1] * 10
    assert result.ap == 1  # the mean is over the defined class alone


def test_a_class_that_was_never_found_is_zero_and_lowers_the_mean() -> None:
    result = average_precision(table([(0, SQUARE, 0, 0), (0, SQUARE, 1, 0)]), table([(0, SQUARE, 1, 0.5)]), 3)
    assert result.by_class[0].tolist() == [0] * 10
    assert result.ap == pytest.approx(0.5)


@pytest.mark.parametrize("agnostic", [False, True])
def test_no_detection_at_all_is_zero(agnostic: bool) -> None:
    result = average_precision(table([(0, SQUARE, 1, 0)]), table([]), 3, agnostic)
    assert (result.ap, result.ap50, result.ap75) == (0, 0, 0)


@pytest.mark.parametrize("agnostic", [False, True])
def test_no_truth_at_all_is_undefined_by_class_and_zero_in_the_mean(agnostic: bool) -> None:
    result = average_precision(table([]), table([(0, SQUARE, 1, 0.5)]), 3, agnostic)
    assert np.isnan(result.by_class).all()
    assert result.ap == 0


def test_agnostic_ap_forgives_the_wrong_class() -> None:
    truth, found = table([(0, SQUARE, 0, 0)]), table([(0, SQUARE, 2, 0.5)])
    assert average_precision(truth, found, 3).ap50 == 0
    assert average_precision(truth, found, 3, agnostic=True).ap50 == 1
