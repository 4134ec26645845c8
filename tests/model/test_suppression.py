import numpy as np
import numpy.typing as npt
import pytest
from cv2.dnn import NMSBoxes

from model.suppression import unsuppressed

Corners = npt.NDArray[np.float32]


def by_opencv(corners: Corners, scores: npt.NDArray[np.float32], classes: npt.NDArray[np.int64]) -> list[int]:
    """Rows that OpenCV keeps, class by class, best first."""
    kept: list[int] = []
    for kind in np.unique(classes):
        rows = np.flatnonzero(classes == kind)
        xywh = np.concatenate([corners[rows, :2], corners[rows, 2:] - corners[rows, :2]], axis=1).astype(np.float64)
        kept += rows[np.asarray(NMSBoxes(xywh.tolist(), scores[rows].tolist(), 0.0, 0.45), np.int64).ravel()].tolist()
    return sorted(kept, key=lambda row: -scores[row])


def random_boxes(seed: int, count: int, side: float) -> tuple[Corners, npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    start = random.uniform(-50, 600, (count, 2))
    corners = np.concatenate([start, start + random.uniform(side / 2, 2 * side, (count, 2))], axis=1)
    scores = (random.permutation(count) + 1) / count  # none is 0, which OpenCV leaves out
    return corners.astype(np.float32), scores.astype(np.float32), random.integers(0, 4, count)


@pytest.mark.parametrize("side", [5, 40, 200, 700])
@pytest.mark.parametrize("seed", range(3))
def test_kept_boxes_are_those_opencv_keeps(seed: int, side: float) -> None:
    corners, scores, classes = random_boxes(seed, 800, side)
    expected = by_opencv(corners, scores, classes)
    assert unsuppressed(corners, scores, classes, 0.45, 800).tolist() == expected
    assert unsuppressed(corners, scores, classes, 0.45, 30).tolist() == expected[:30]


def test_a_suppressed_box_suppresses_nobody() -> None:
    # Each overlaps its neighbour by 10 / 20 and the one after by nothing more than an edge.
    corners = np.array([[0, 0, 15, 10], [5, 0, 20, 10], [10, 0, 25, 10], [15, 0, 30, 10]], np.float32)
    scores = np.array([0.9, 0.8, 0.7, 0.6], np.float32)
    assert unsuppressed(corners, scores, np.zeros(4, np.int64), 0.45, 9).tolist() == [0, 2]


def test_an_overlap_of_exactly_the_threshold_is_kept() -> None:
    corners = np.array([[0, 0, 10, 10], [0, 0, 10, 5]], np.float32)
    scores = np.array([0.9, 0.8], np.float32)
    assert len(unsuppressed(corners, scores, np.zeros(2, np.int64), 0.5, 9)) == 2
    assert len(unsuppressed(corners, scores, np.zeros(2, np.int64), 0.4999, 9)) == 1


def test_of_equal_scores_the_earlier_row_is_the_better() -> None:
    corners = np.tile(np.array([[0, 0, 10, 10]], np.float32), (3, 1))
    rows = unsuppressed(corners, np.array([0.5, 0.7, 0.7], np.float32), np.array([0, 1, 1]), 0.45, 9)
    assert rows.tolist() == [1, 0]


def test_boxes_without_area_or_candidates_do_no_harm() -> None:
    flat = np.array([[5, 5, 5, 5], [5, 5, 5, 5], [0, 0, 10, 10]], np.float32)
    scores = np.array([0.9, 0.8, 0.7], np.float32)
    assert unsuppressed(flat, scores, np.zeros(3, np.int64), 0.45, 9).tolist() == [0, 1, 2]
    nothing = unsuppressed(flat[:0], scores[:0], np.zeros(0, np.int64), 0.45, 9)
    assert nothing.shape == (0,)
