import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from model.evaluation.average_precision import SIZES, average_precision, precision_by_size, precision_of
from model.evaluation.coco import CocoBoxes, LabelledBoxes

Row = tuple[int, tuple[float, float, float, float], int, float]  # image, x y w h, class, score


def table(rows: Sequence[Row], crowd: Sequence[bool] | None = None) -> LabelledBoxes:
    return LabelledBoxes(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.float64).reshape(-1, 4),
        np.array([row[2] for row in rows], np.int64),
        np.array([row[3] for row in rows], np.float64),
        None if crowd is None else np.array(crowd, np.bool_),
    )


def by_pycocotools(
    truth: Sequence[Row], found: Sequence[Row], classes: int, agnostic: bool, crowd: Sequence[bool] | None = None
) -> COCOeval:
    """The reference implementation, given only the images with a true box."""
    excused = [False] * len(truth) if crowd is None else crowd
    images = sorted({row[0] for row in truth})
    annotations = [
        {"id": row + 1, "image_id": image, "bbox": [x, y, w, h], "area": w * h, "iscrowd": crowd_, "category_id": kind}
        for row, ((image, (x, y, w, h), kind, _), crowd_) in enumerate(zip(truth, map(int, excused), strict=True))
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


def assert_equal_to_pycocotools(
    truth: Sequence[Row], found: Sequence[Row], classes: int, agnostic: bool, crowd: Sequence[bool] | None = None
) -> None:
    ours = average_precision(table(truth, crowd), table(found), classes, agnostic)
    reference = by_pycocotools(truth, found, classes, agnostic, crowd)
    expected_KTR = undefined_apart(reference.eval["precision"][:, :, :, 0, 2])
    np.testing.assert_allclose(ours.curves, expected_KTR, rtol=0, atol=1e-9)
    np.testing.assert_allclose(ours.by_class, expected_KTR.mean(axis=2), rtol=0, atol=1e-9)
    assert_means_equal([ours.ap, ours.ap50, ours.ap75], reference.stats[:3])


def undefined_apart(precision_TRK: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """pycocotools' -1, for a class without truth, as NaN; the class first."""
    precision_KTR = precision_TRK.transpose(2, 0, 1)
    return np.where(precision_KTR < 0, np.nan, precision_KTR)


def assert_means_equal(ours: list[float], reference: npt.NDArray[np.float64]) -> None:
    """Where no class is defined, pycocotools says -1 and the protocol 0."""
    np.testing.assert_allclose(ours, np.maximum(reference, 0), rtol=0, atol=1e-9)


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


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_ap_equals_pycocotools_where_some_truth_is_a_crowd(seed: int, agnostic: bool) -> None:
    truth, found = random_rows(seed, levels=20)
    crowd = np.random.default_rng(seed).random(len(truth)) < 0.3
    assert_equal_to_pycocotools(truth, found, 4, agnostic, crowd.tolist())


def test_ap_equals_pycocotools_where_all_truth_of_a_class_is_a_crowd() -> None:
    truth, found = random_rows(3)
    crowd = [kind == 1 for _, _, kind, _ in truth]
    assert_equal_to_pycocotools(truth, found, 4, False, crowd)
    assert np.isnan(average_precision(table(truth, crowd), table(found), 4).by_class[1]).all()


def test_ap_equals_pycocotools_on_boxes_that_only_touch_or_are_nested_or_flat() -> None:
    truth: list[Row] = [(0, (10, 10, 20, 20), 0, 0), (0, (30, 10, 20, 20), 0, 0), (1, (0, 0, 50, 50), 1, 0)]
    found: list[Row] = [
        (0, (30, 30, 20, 20), 0, 0.9),  # meets both true boxes in one corner or edge
        (0, (20, 10, 20, 20), 0, 0.9),  # half of each
        (0, (10, 10, 20, 10), 0, 0.8),  # an IoU of exactly .5 with the first
        (0, (30, 10, 20, 15), 0, 0.8),  # of exactly .75 with the second
        (0, (10, 10, 0, 20), 0, 0.7),
        (1, (0, 0, 50, 0), 1, 0.7),
        (1, (10, 10, 10, 10), 1, 0.6),
        (1, (0, 0, 50, 50), 1, 0.6),
    ]
    for agnostic in (False, True):
        assert_equal_to_pycocotools(truth, found, 2, agnostic)


def test_ap_equals_pycocotools_on_more_than_a_hundred_boxes_of_equal_score() -> None:
    # Which hundred are kept decides: the right one comes as the 100th of one image and as the 101st of the other.
    clutter: list[list[Row]] = [[(image, (200, 200, 9, 9), 0, 0.5)] * (99 + image) for image in (0, 1)]
    found = [row for image in (0, 1) for row in (*clutter[image], (image, SQUARE, 0, 0.5))]
    truth: list[Row] = [(0, SQUARE, 0, 0), (1, SQUARE, 0, 0)]
    for agnostic in (False, True):
        assert_equal_to_pycocotools(truth, found, 1, agnostic)
    assert 0 < average_precision(table(truth), table(found), 1).ap < 0.02


@pytest.mark.parametrize("seed", range(12))
def test_ap_by_size_equals_pycocotools(seed: int) -> None:
    truth, found = random_rows(seed, levels=50)
    # Squares of 4 to 180 px, some with an area of exactly 32² or 96², which belongs to both sizes.
    grown, guesses = (
        [(image, (x, y, *sides), kind, score) for (image, (x, y, w, h), kind, score) in rows
         for sides in [(32.0, 32.0) if w < 8 else (96.0, 96.0) if w < 12 else (3 * w, 3 * h)]]
        for rows in (truth, found)
    )  # fmt: skip
    overall, sizes = precision_by_size(CocoBoxes(table(grown), table(guesses), 4))
    reference = by_pycocotools(grown, guesses, 4, False)
    assert_means_equal([overall.ap, overall.ap50, overall.ap75], reference.stats[:3])
    assert list(sizes) == ["small", "medium", "large"]
    assert_means_equal([part.ap for part in sizes.values()], reference.stats[3:6])
    for number, part in enumerate(sizes.values(), start=1):
        expected_KTR = undefined_apart(reference.eval["precision"][:, :, :, number, 2])
        np.testing.assert_allclose(part.curves, expected_KTR, rtol=0, atol=1e-9)


def test_sizes_part_at_areas_of_32_and_96_squared() -> None:
    assert SIZES == {"small": (0, 1024), "medium": (1024, 9216), "large": (9216, 1e10)}


def test_a_found_box_of_another_size_is_not_held_against_it() -> None:
    small: Row = (0, (0, 0, 20, 20), 0, 0.5)
    large: Row = (0, (300, 300, 200, 200), 0, 0.9)
    overall, sizes = precision_by_size(CocoBoxes(table([small]), table([large, small]), 1))
    assert overall.ap == pytest.approx(0.5)  # the large one comes first and is wrong
    assert sizes["small"].ap == 1
    assert not sizes["large"].defined


@pytest.mark.parametrize("seed", range(6))
def test_ap_of_some_images_is_that_of_their_boxes_alone(seed: int) -> None:
    truth, found = random_rows(seed)
    images = np.array([1, 4, 5, 11, 77])
    part = precision_of(CocoBoxes(table(truth), table(found), 4), images=images)
    some_truth, some_found = ([row for row in rows if row[0] in images] for rows in (truth, found))
    reference = by_pycocotools(some_truth, some_found, 4, False)
    assert_means_equal([part.ap, part.ap50, part.ap75], reference.stats[:3])


def test_ap_of_no_image_is_undefined() -> None:
    part = precision_of(CocoBoxes(table([(0, SQUARE, 0, 0)]), table([(0, SQUARE, 0, 0.5)]), 2), images=np.array([7]))
    assert not part.defined
    assert part.ap == 0


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
