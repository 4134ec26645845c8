import numpy as np
import numpy.typing as npt
import pytest

from model.evaluation.coco import CocoBoxes, LabelledBoxes
from model.evaluation.confusion import confusion

Row = tuple[int, tuple[float, float, float, float], int, float]  # image, x y w h, class, score


def table(*rows: Row, crowd: npt.NDArray[np.bool_] | None = None) -> LabelledBoxes:
    return LabelledBoxes(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.float64).reshape(-1, 4),
        np.array([row[2] for row in rows], np.int64),
        np.array([row[3] for row in rows], np.float64),
        crowd,
    )


A, B, C = (0.0, 0.0, 20.0, 20.0), (100.0, 0.0, 20.0, 20.0), (200.0, 0.0, 20.0, 20.0)


def test_right_wrong_missed_and_invented_boxes_have_their_own_places() -> None:
    truth = table((0, A, 0, 0), (0, B, 0, 0), (0, C, 1, 0))
    found = table((0, A, 0, 0.9), (0, B, 1, 0.8), (0, (300, 0, 20, 20), 1, 0.7))
    assert confusion(truth, found, 2).counts.tolist() == [
        [1, 1, 0],  # true 0: one found as 0, one as 1
        [0, 0, 1],  # true 1: missed
        [0, 1, 0],  # nothing: found as 1
    ]


def test_a_box_is_shown_from_a_score_of_a_quarter_and_meets_from_an_overlap_of_a_half() -> None:
    truth = table((0, A, 0, 0), (1, A, 0, 0))
    found = table((0, (0, 0, 20, 10), 0, 0.25), (1, A, 0, 0.2499))
    assert confusion(truth, found, 1).counts.tolist() == [[1, 1], [0, 0]]
    narrower = table((0, (0, 0, 20, 9.9), 0, 0.25))
    assert confusion(truth, narrower, 1).counts.tolist() == [[0, 2], [1, 0]]


def test_the_surer_box_has_the_object_whatever_its_class() -> None:
    truth = table((0, A, 0, 0))
    assert confusion(truth, table((0, A, 0, 0.5), (0, A, 1, 0.9)), 2).counts.tolist() == [
        [0, 1, 0],
        [0, 0, 0],
        [1, 0, 0],
    ]
    assert confusion(truth, table((0, A, 0, 0.9), (0, A, 1, 0.5)), 2).counts.tolist() == [
        [1, 0, 0],
        [0, 0, 0],
        [0, 1, 0],
    ]


def test_what_is_found_in_an_image_without_truth_does_not_count() -> None:
    assert confusion(table((3, A, 0, 0)), table((2, A, 0, 0.9)), 1).counts.tolist() == [[0, 1], [0, 0]]


def test_a_crowd_is_neither_missed_nor_does_it_make_anything_invented() -> None:
    truth = table((0, (0, 0, 100, 100), 0, 0), (0, C, 0, 0), crowd=np.array([True, False]))
    found = table((0, (10, 10, 9, 9), 0, 0.9), (0, (40, 40, 9, 9), 0, 0.8), (0, C, 0, 0.7))
    assert confusion(truth, found, 1).counts.tolist() == [[1, 0], [0, 0]]


@pytest.mark.parametrize("rows", [table(), table((0, A, 0, 0.1))])
def test_nothing_found_is_all_missed(rows: LabelledBoxes) -> None:
    assert confusion(table((0, A, 0, 0), (0, B, 1, 0)), rows, 2).counts.tolist() == [[0, 0, 1], [0, 0, 1], [0, 0, 0]]


def test_nothing_true_is_nothing_at_all() -> None:
    assert confusion(table(), table((0, A, 0, 0.9)), 1).counts.tolist() == [[0, 0], [0, 0]]


def overlap(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    size = np.minimum(a[:2] + a[2:], b[:2] + b[2:]) - np.maximum(a[:2], b[:2])
    common = float(np.maximum(size, 0).prod())
    return common / float(a[2:].prod() + b[2:].prod() - common)


def matched_plainly(truth: LabelledBoxes, found: LabelledBoxes, least: float, agnostic: bool) -> dict[int, int]:
    """Best score first, each takes the free true box it overlaps most."""
    taken: dict[int, int] = {}
    for row in np.argsort(-found.score, kind="stable").tolist():
        near = [
            (overlap(found.xywh[row], truth.xywh[other]), other)
            for other in range(len(truth.image))
            if truth.image[other] == found.image[row]
            and other not in taken.values()
            and (agnostic or truth.class_id[other] == found.class_id[row])
        ]
        if near and max(near)[0] >= least:
            taken[row] = max(near)[1]
    return taken


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_matches_equal_a_plain_loop(seed: int, agnostic: bool) -> None:
    random = np.random.default_rng(seed)
    N, M = 60, 240  # more than a hundred an image, which the AP leaves out and matches do not
    truth = LabelledBoxes(
        random.integers(0, 2, N), random.uniform(1, 60, (N, 4)), random.integers(0, 3, N), np.zeros(N)
    )
    found = LabelledBoxes(
        random.integers(0, 2, M), random.uniform(1, 60, (M, 4)), random.integers(0, 3, M), random.random(M)
    )
    expected = matched_plainly(truth, found, 0.4, agnostic)
    rows, others = CocoBoxes(truth, found, 3).matches(0.4, agnostic)
    assert dict(zip(rows.tolist(), others.tolist(), strict=True)) == expected
    assert len(expected) > 10
