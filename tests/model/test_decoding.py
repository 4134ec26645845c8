import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from model.decoding import Detections, Readout, decode, suppress
from model.head import BINS, EMBEDDING, Predictions

Corners = npt.NDArray[np.float32]


def overlap(a: list[float], b: list[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0) * max(height, 0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def suppressed_plainly(found: Detections, threshold: float) -> list[int]:
    """Best first; of equals the first; each is kept unless a kept one of its class covers it."""
    boxes, scores, classes = found.corners.tolist(), found.scores.tolist(), found.classes.tolist()
    kept: list[int] = []
    for row in sorted(range(len(scores)), key=lambda row: (-scores[row], row)):
        if all(classes[row] != classes[best] or overlap(boxes[row], boxes[best]) <= threshold for best in kept):
            kept.append(row)
    return kept


def random_detections(seed: int, count: int, classes: int, levels: int) -> Detections:
    """Boxes of whole pixels that crowd, partly left of and above the frame; few levels make equal scores."""
    random = np.random.default_rng(seed)
    corner, size = random.integers(-60, 60, (count, 2)), random.integers(5, 60, (count, 2))
    return Detections(
        np.concatenate([corner, corner + size], axis=1).astype(np.float32),
        (random.integers(1, levels + 1, count) / np.float32(levels)).astype(np.float32),
        random.integers(0, classes, count),
        np.empty((count, 0), np.float32),
    )


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 4), st.sampled_from([2, 5, 10_000]))
def test_suppression_equals_a_plain_loop_over_all_pairs(seed: int, count: int, classes: int, levels: int) -> None:
    found = random_detections(seed, count, classes, levels)
    boxes = found.corners.tolist()
    pairs = [overlap(boxes[i], boxes[j]) for i in range(count) for j in range(i)]
    assume(all(abs(pair - 0.45) > 1e-5 for pair in pairs))  # at the threshold itself rounding decides
    expected = suppressed_plainly(found, 0.45)
    kept = suppress(found, 0.45)
    np.testing.assert_array_equal(kept.corners, found.corners[expected])
    np.testing.assert_array_equal(kept.scores, found.scores[expected])
    np.testing.assert_array_equal(kept.classes, found.classes[expected])


def test_boxes_of_two_classes_never_suppress_each_other() -> None:
    # Left of and above the frame in one class, at its right bottom in the other: no trick of coordinates may mix them.
    corners = np.array([[50, 50, 100, 100], [-51, -51, -1, -1], [50, 50, 100, 100]], np.float32)
    found = Detections(
        corners, np.array([0.9, 0.8, 0.7], np.float32), np.array([0, 1, 2]), np.empty((3, 0), np.float32)
    )
    assert len(suppress(found, 0.45).scores) == 3


def test_nothing_found_stays_nothing() -> None:
    rows = np.empty((0, 4), np.float32)
    nothing = Detections(rows, np.empty(0, np.float32), np.empty(0, np.int64), rows)
    kept = suppress(nothing, 0.45)
    assert (kept.corners.shape, kept.scores.shape, kept.classes.shape) == ((0, 4), (0,), (0,))


def logit(score: float) -> float:
    return math.log(score / (1 - score))


def grid(scores_NK: list[list[float]], spacing: float = 40.0, T: int = 1) -> Predictions:
    """Points `spacing` apart in a row, each with a box of 16x16 around it; the same at every step."""
    N = len(scores_NK)
    sides = torch.zeros(T, 1, N, 4, BINS)
    sides[..., 1] = 200.0
    points = torch.stack([torch.arange(N) * spacing + 20, torch.full((N,), 20.0)], dim=-1)
    logits = torch.tensor([[logit(score) for score in row] for row in scores_NK])
    return Predictions(
        sides, logits.expand(T, 1, N, -1).clone(), torch.zeros(T, 1, N, EMBEDDING), points, torch.full((N,), 8.0)
    )


def test_boxes_come_best_first_with_their_class_and_place() -> None:
    (found,) = decode(grid([[0.3, 0.0001], [0.0001, 0.9], [0.6, 0.0001]]))
    assert found.scores.tolist() == pytest.approx([0.9, 0.6, 0.3])
    assert found.classes.tolist() == [1, 0, 0]
    assert found.corners.tolist() == [[52, 12, 68, 28], [92, 12, 108, 28], [12, 12, 28, 28]]


def test_one_point_may_answer_for_two_classes() -> None:
    (found,) = decode(grid([[0.3, 0.8]]))
    assert found.classes.tolist() == [1, 0]


def test_a_score_below_a_thousandth_is_nothing() -> None:
    (found,) = decode(grid([[0.00099], [0.00101]]))
    assert found.scores.tolist() == pytest.approx([0.00101])


def test_no_score_reaching_a_thousandth_gives_an_empty_answer() -> None:
    (found,) = decode(grid([[0.0005], [0.0005]]))
    assert (found.corners.shape, found.scores.shape, found.classes.shape) == ((0, 4), (0,), (0,))


def test_the_last_step_answers() -> None:
    parts = grid([[0.8], [0.0001]], T=3)
    parts.classes[:2, 0, 1] = 9.0  # the second box is sure at first, and gone at the end
    parts.sides[:2, 0, 0, :, 5] = 400.0  # the first is larger at first
    (found,) = decode(parts)
    assert found.corners.tolist() == [[12, 12, 28, 28]]


def test_the_mean_of_all_steps_answers_where_it_is_asked_for() -> None:
    parts = grid([[0.8]], T=2)
    parts.classes[0] = logit(0.2)
    parts.sides[0, ..., 3] = 400.0  # sides of 3 strides at first, of 1 at the end: 24 and 8 px, 16 in the mean
    parts.embeddings[0, ..., 0], parts.embeddings[1, ..., 1] = 3.0, 4.0
    (found,) = decode(parts, Readout.MEAN)
    assert found.scores.tolist() == pytest.approx([0.5])
    assert found.corners.tolist() == [[4, 4, 36, 36]]
    assert found.embeddings[0, :3].tolist() == pytest.approx([0.6, 0.8, 0])


def test_at_each_point_the_most_confident_step_answers_where_it_is_asked_for() -> None:
    parts = grid([[0.8, 0.1], [0.2, 0.3]], T=2)
    parts.classes[0, 0, 0] = torch.tensor([logit(0.3), logit(0.4)])  # at the first point the last step is surer
    parts.classes[0, 0, 1] = torch.tensor([logit(0.1), logit(0.9)])  # at the second the first step is, of class 1
    parts.sides[0, ..., 3] = 400.0
    (found,) = decode(parts, Readout.MAX)
    assert found.scores[:2].tolist() == pytest.approx([0.9, 0.8])
    assert found.classes[:2].tolist() == [1, 0]
    assert found.corners[:2].tolist() == [[36, -4, 84, 44], [12, 12, 28, 28]]


def test_objectness_takes_its_share_of_the_score() -> None:
    parts = replace(grid([[0.8]]), objectness=torch.full((1, 1, 1), logit(0.5)))
    (found,) = decode(parts)
    assert found.scores.tolist() == pytest.approx([0.4])


def test_embeddings_belong_to_their_boxes_and_have_length_1() -> None:
    parts = grid([[0.3], [0.9]])
    parts.embeddings[0, 0, 0, :2] = torch.tensor([6.0, 8.0])
    parts.embeddings[0, 0, 1, 2] = 0.5
    (found,) = decode(parts)
    assert found.embeddings[0, :3].tolist() == [0, 0, 1]
    assert found.embeddings[1, :3].tolist() == pytest.approx([0.6, 0.8, 0])


def test_boxes_that_overlap_by_more_than_45_hundredths_are_one_object() -> None:
    # 16 px boxes 6 apart overlap by 10 / 22 = .4545, 7 apart by 9 / 23 = .391.
    (near,) = decode(grid([[0.9], [0.8]], spacing=6))
    (far,) = decode(grid([[0.9], [0.8]], spacing=7))
    assert (len(near.scores), len(far.scores)) == (1, 2)
    assert near.scores.tolist() == pytest.approx([0.9])


def test_the_best_300_of_many_are_kept() -> None:
    scores = np.random.default_rng(0).permutation(np.linspace(0.1, 0.9, 400))
    (found,) = decode(grid([[float(score)] for score in scores]))
    assert found.scores.tolist() == pytest.approx(np.linspace(0.9, 0.1, 400)[:300].tolist(), rel=1e-4)


def test_each_window_has_its_own_answer() -> None:
    both = grid([[0.8], [0.6]])
    parts = Predictions(
        both.sides.repeat(1, 2, 1, 1, 1),
        torch.tensor([[[[9.0], [-9.0]], [[-9.0], [9.0]]]]),
        both.embeddings.repeat(1, 2, 1, 1),
        both.points,
        both.strides,
    )
    first, second = decode(parts)
    assert first.corners.tolist() == [[12, 12, 28, 28]]
    assert second.corners.tolist() == [[52, 12, 68, 28]]
