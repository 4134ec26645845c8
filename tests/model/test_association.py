from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.tracking.association import cheapest, cosine_distance, explained_by_motion, overlaps
from model.tracking.kalman import begun


def test_overlap_is_that_of_paper_and_pencil() -> None:
    a = np.array([[0, 0, 10, 10], [100, 100, 110, 110]])
    b = np.array([[5, 0, 15, 10], [0, 0, 10, 10], [0, 0, 10, 20.0]])
    np.testing.assert_allclose(overlaps(a, b), np.array([[1 / 3, 1, 0.5], [0, 0, 0]]))
    assert overlaps(a, b[:0]).shape == (2, 0)


def test_distance_of_appearance_is_one_less_the_cosine_and_at_most_one() -> None:
    a = np.array([[1, 0]], np.float32)
    b = np.array([[1, 0], [0, 1], [-1, 0], [0.6, 0.8]], np.float32)
    np.testing.assert_allclose(cosine_distance(a, b), np.array([[0, 1, 1, 0.4]]), atol=1e-7)


def test_motion_allows_the_ellipsis_that_holds_95_in_100() -> None:
    # Of a new box of 40x40 each variance is 16, and 4 of the measurement: a shift of d in x alone is d² / 20.
    motion = begun(np.array([[50.0, 50.0, 40.0, 40.0]]))
    shifts = np.sqrt(20 * np.array([9.48, 9.50]))
    corners = np.array([[30, 30, 70, 70]]) + shifts[:, None] * np.array([[1, 0, 1, 0]])
    assert explained_by_motion(motion, corners).tolist() == [[True, False]]


def test_one_good_pair_beats_two_poor_ones() -> None:
    cost = np.array([[0.1, 0.7], [0.7, 0.0]])
    allowed = np.array([[True, True], [True, False]])
    rows, columns = cheapest(cost, allowed)
    assert (rows.tolist(), columns.tolist()) == ([0], [0])  # 0.1 + 1 of the row left alone, against 0.7 + 0.7


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 10_000))
def test_the_assignment_is_the_best_of_all(n: int, m: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    cost, allowed = random.uniform(size=(n, m)), random.uniform(size=(n, m)) < 0.6
    price = np.where(allowed, cost, 1.0)
    if n > m:
        price = price.T
    best = min(
        sum(price[row, column] for row, column in enumerate(chosen))
        for chosen in permutations(range(price.shape[1]), price.shape[0])
    )
    rows, columns = cheapest(cost, allowed)
    assert allowed[rows, columns].all()
    assert cost[rows, columns].sum() + min(n, m) - len(rows) == pytest.approx(best)


def test_nothing_is_assigned_where_there_is_nothing() -> None:
    rows, columns = cheapest(np.zeros((0, 3)), np.zeros((0, 3), np.bool_))
    assert len(rows) == len(columns) == 0
