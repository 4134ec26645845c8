import pytest
import torch

from model.assignment import Assignment, Pairs
from model.assignment import assign as assign_pairs

# Two boxes, four points. With alpha = .5 and beta = 1 the alignment is sqrt(score) * IoU:
#            point 0        point 1        point 2        point 3
#   box 0    .9 * .5 = .45  .8 * .8 = .64  .5 * .4 = .20  outside
#   box 1    outside        .5 * .9 = .45  .6 * .5 = .30  .9 * .6 = .54
SCORES = [[0.81, 0.64, 0.25, 0.99], [0.99, 0.25, 0.36, 0.81]]
OVERLAPS = [[0.5, 0.8, 0.4, 0.0], [0.0, 0.9, 0.5, 0.6]]
INSIDE = [[True, True, True, False], [False, True, True, True]]


def assign(
    scores: torch.Tensor, overlaps: torch.Tensor, inside: torch.Tensor, top_k: int, alpha: float, beta: float
) -> Assignment:
    """The pairs of tables that say something for every box and point."""
    return assign_pairs(Pairs.of(inside), scores[inside], overlaps[inside], top_k, alpha, beta)


def assigned(top_k: int, scores: list[list[float]] = SCORES, padding: int = 0) -> Assignment:
    pad = [[1.0] * 4] * padding
    return assign(
        torch.tensor([scores + pad]),
        torch.tensor([OVERLAPS + pad]),
        torch.tensor([INSIDE + [[False] * 4] * padding]),
        top_k,
        alpha=0.5,
        beta=1.0,
    )


def check(found: Assignment, box: list[int | None], quality: list[float]) -> None:
    answers = [
        int(row) if positive else None
        for positive, row in zip(found.positive[0].tolist(), found.box[0].tolist(), strict=True)
    ]
    assert answers == box
    torch.testing.assert_close(found.quality[0], torch.tensor(quality))


def test_each_box_gets_its_best_point() -> None:
    # Box 0 wants point 1, box 1 wants point 3; the target is the box's best IoU among its points.
    check(assigned(top_k=1), [None, 0, None, 1], [0, 0.8, 0, 0.6])


def test_a_contested_point_answers_for_the_box_it_overlaps_most() -> None:
    # Box 0 wants 0 and 1, box 1 wants 1 and 3. Point 1 overlaps box 1 more (.9 to .8), though it is aligned less.
    # Box 0 keeps point 0 at its IoU .5. Box 1: its best IoU is .9, which its best-aligned point 3 gets;
    # point 1 gets .45 / .54 of it.
    check(assigned(top_k=2), [0, 1, None, 1], [0.5, 0.75, 0, 0.9])


def test_more_wanted_than_there_are_points_takes_all_points_inside() -> None:
    # Point 2 is contested too: IoU .4 with box 0, .5 with box 1.
    check(assigned(top_k=64), [0, 1, 1, 1], [0.5, 0.75, 0.5, 0.9])


def test_rows_that_only_pad_get_nothing() -> None:
    check(assigned(top_k=2, padding=3), [0, 1, None, 1], [0.5, 0.75, 0, 0.9])


def test_a_point_outside_is_never_taken_though_nothing_inside_is_aligned() -> None:
    found = assigned(top_k=1, scores=[[0.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.81]])
    assert found.positive[0, :3].sum() == 1  # box 0 takes one of its own three, all equally bad
    assert found.box[0, found.positive[0]].tolist() == [0, 1]
    assert found.quality[0].tolist() == [0, 0, 0, pytest.approx(0.6)]


def test_images_do_not_mix() -> None:
    scores, overlaps = torch.tensor([SCORES, SCORES]), torch.tensor([OVERLAPS, OVERLAPS])
    inside = torch.tensor([INSIDE, [[False] * 4, INSIDE[1]]])
    found = assign(scores, overlaps, inside, top_k=1, alpha=0.5, beta=1.0)
    assert found.positive.tolist() == [[False, True, False, True], [False, False, False, True]]
    assert found.box[:, 3].tolist() == [1, 1]


def test_an_image_without_boxes_gives_background_alone() -> None:
    found = assign(torch.ones(1, 1, 4), torch.ones(1, 1, 4), torch.zeros(1, 1, 4, dtype=torch.bool), 10, 0.5, 6.0)
    assert not found.positive.any()
    assert not found.quality.any()


def test_the_exponents_weigh_score_against_overlap() -> None:
    inside = torch.ones(1, 1, 2, dtype=torch.bool)
    scores, overlaps = torch.tensor([[[0.9, 0.1]]]), torch.tensor([[[0.5, 0.6]]])
    by_score = assign(scores, overlaps, inside, top_k=1, alpha=1.0, beta=1.0)  # .45 against .06
    by_overlap = assign(scores, overlaps, inside, top_k=1, alpha=0.1, beta=9.0)  # .0019 against .0080
    assert by_score.positive.tolist() == [[True, False]]
    assert by_overlap.positive.tolist() == [[False, True]]
