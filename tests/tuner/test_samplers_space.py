"""Axes and encoding: a space as rows of positions."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.domains import Choice, Integer, Real
from tuner.samplers.axes import axis
from tuner.samplers.encoding import OFF_DISTANCE, Encoding
from tuner.space import Branch, Space

CONDITIONAL = Space(
    [
        Branch("optimizer", Choice(("sgd", "adamw", "lion"))),
        Branch("lr", Real(1e-3, 1e-1, log=True), {"optimizer": ("sgd",)}),
        Branch("lr", Real(1e-4, 1e-2, log=True), {"optimizer": ("adamw", "lion")}),
        Branch("layers", Integer(1, 5)),
        Branch("deep", Real(0.0, 1.0), {"layers": (4, 5), "optimizer": ("sgd",)}),
        Branch("width", Choice((16, 32, 64))),
        Branch("bias", Choice((True, False))),
        Branch("drop", Real(0.0, 0.5, step=0.1)),
    ]
)


def test_a_logarithmic_range_has_its_geometric_mean_in_the_middle() -> None:
    line = axis(Real(1e-4, 1e-2, log=True))
    assert line.units(np.array([1e-3])) == pytest.approx([0.5])
    assert line.numbers(np.array([0.5])) == pytest.approx([1e-3])


def test_each_whole_number_owns_an_equal_cell() -> None:
    line = axis(Integer(1, 4))
    assert line.numbers(np.array([0.0, 0.24, 0.26, 0.74, 0.76, 1.0])).tolist() == [1, 1, 2, 3, 4, 4]
    assert line.units(np.array([1.0, 4.0])) == pytest.approx([0.125, 0.875])


def test_a_logarithmic_whole_number_owns_half_a_number_to_either_side() -> None:
    line = axis(Integer(1, 8, log=True))
    edge = (math.log(1.5) - math.log(0.5)) / (math.log(8.5) - math.log(0.5))
    assert line.numbers(np.array([edge - 0.01, edge + 0.01])).tolist() == [1, 2]


@pytest.mark.parametrize(
    "domain",
    [
        Real(0.0, 1.0),
        Real(0.1, 0.7, step=0.2),
        Integer(3, 11, step=4),
        Integer(2, 99, log=True),
        Choice(("a", 1, True)),
    ],
)
def test_every_position_stands_for_a_value_of_the_domain(domain: Real | Integer | Choice) -> None:
    line = axis(domain)
    for unit in np.linspace(0, 1, 41):
        number = float(line.numbers(np.array([unit]))[0])
        value = line.value(number)
        assert domain.contains(value)
        assert line.number(value) == pytest.approx(number)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_random_rows_are_samples_of_the_space_and_return_from_their_values(seed: int) -> None:
    encoding = Encoding(CONDITIONAL)
    points_NB = encoding.drawn(20, np.random.default_rng(seed))
    near_NB = encoding.perturbed(points_NB, 20, np.random.default_rng(seed))
    for row_NB in (points_NB, near_NB):
        configurations = [encoding.decoded(point_B) for point_B in row_NB]
        for values in configurations:
            leaves: dict[str, object] = {}
            for branch in CONDITIONAL.branches:
                assert (branch.name in values) == branch.active(leaves)
                if branch.name in values:
                    leaves[branch.leaf] = values[branch.name]
                    assert branch.domain.contains(values[branch.name])
        np.testing.assert_allclose(encoding.encoded(configurations), row_NB, atol=1e-9)


def test_random_rows_choose_options_evenly() -> None:
    encoding = Encoding(CONDITIONAL)
    points_NB = encoding.drawn(6000, np.random.default_rng(0))
    column = next(i for i, branch in enumerate(encoding.branches) if branch.name == "optimizer")
    shares = np.bincount((points_NB[:, column] * 3).astype(int)) / 6000
    np.testing.assert_allclose(shares, 1 / 3, atol=0.03)  # five standard errors


def test_two_options_are_one_apart_and_branches_off_in_both_are_alike() -> None:
    space = Space([Branch("kind", Choice(("a", "b", "c"))), Branch("x", Real(0.0, 1.0), {"kind": ("a",)})])
    encoding = Encoding(space)
    rows = encoding.features(
        encoding.encoded(
            [{"kind": "b"}, {"kind": "c"}, {"kind": "a", "x[kind=a]": 0.5}, {"kind": "a", "x[kind=a]": 1.0}]
        )
    )
    squares = ((rows[:, None] - rows[None, :]) ** 2).sum(2)
    assert squares[0, 1] == pytest.approx(1.0)
    assert squares[0, 2] == pytest.approx(1.0 + OFF_DISTANCE**2)
    assert squares[2, 3] == pytest.approx(0.25)


def test_numbers_among_options_are_also_compared_by_their_order() -> None:
    encoding = Encoding(Space([Branch("width", Choice((64, 16, 32)))]))
    rows = encoding.features(encoding.encoded([{"width": 16}, {"width": 32}, {"width": 64}]))
    assert encoding.group_count == 2
    assert rows[:, encoding.groups_F == 1].ravel().tolist() == [0.0, 0.5, 1.0]


def test_sobol_points_fill_every_eighth_of_a_range_with_eight_points() -> None:
    encoding = Encoding(Space([Branch("x", Real(0.0, 1.0)), Branch("y", Real(0.0, 1.0))]))
    points = np.array([encoding.spread(number, seed=3) for number in range(8)])
    for column in points.T:
        assert sorted((column * 8).astype(int)) == list(range(8))


def test_small_steps_stay_near_and_change_something() -> None:
    encoding = Encoding(Space([Branch("x", Real(0.0, 1.0)), Branch("y", Real(0.0, 1.0))]))
    parent_NB = np.full((1, 2), 0.5)
    near_NB = encoding.perturbed(parent_NB, 500, np.random.default_rng(0), reach=0.01)
    assert np.abs(near_NB - 0.5).max() < 0.06  # six deviations of the longest step
    assert (near_NB != 0.5).any(axis=1).all()
