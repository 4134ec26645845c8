"""Configurations as rows of positions, and as the features a model compares them by."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from tuner.domains import Choice, Scalar
from tuner.samplers.axes import Axis, Bools, Floats, Options, axis
from tuner.samplers.observation import Values
from tuner.space import Branch, Space

# Half the distance between the two ends of a range: how far a branch that is off lies from where it is on.
OFF_DISTANCE = 0.5


class Encoding:
    """A space as rows of positions: `points_NB` in [0, 1], one for each branch, NaN where the branch does not hold.

    `groups_F` tells which of `group_count` length scales each feature goes by.
    """

    def __init__(self, space: Space) -> None:
        self.branches: Sequence[Branch] = space.branches
        self._axes = [axis(branch.domain) for branch in self.branches]
        self._rules = [self._rule(branch) for branch in self.branches]
        self.groups_F, self.group_count = self._grouped()

    def encoded(self, configurations: Sequence[Mapping[str, Scalar]]) -> Floats:
        """Rows of these values by branch name; a branch without a value is off."""
        points_NB = np.full((len(configurations), len(self.branches)), np.nan)
        for column, (branch, line) in enumerate(zip(self.branches, self._axes, strict=True)):
            name = branch.name
            rows = [row for row, values in enumerate(configurations) if name in values]
            numbers_N = np.array([line.number(configurations[row][name]) for row in rows], dtype=float)
            points_NB[rows, column] = line.units(numbers_N)
        return points_NB

    def decoded(self, point_B: Floats) -> Values:
        """The values of one row, by branch name."""
        return {
            branch.name: line.value(float(line.numbers(np.array([unit]))[0]))
            for branch, line, unit in zip(self.branches, self._axes, point_B, strict=True)
            if not np.isnan(unit)
        }

    def settled(self, units_NB: Floats) -> Floats:
        """Rows for any positions in [0, 1]: moved to values the domains have, NaN in branches that do not hold."""
        points_NB = np.empty_like(units_NB)
        numbers: list[Floats] = []
        for column, (line, rule) in enumerate(zip(self._axes, self._rules, strict=True)):
            holds_N = np.ones(len(units_NB), dtype=bool)
            for alternatives in rule:
                met_N = np.zeros(len(units_NB), dtype=bool)
                for other, accepted in alternatives:
                    met_N |= ~np.isnan(points_NB[:, other]) & np.isin(numbers[other], accepted)
                holds_N &= met_N
            numbers.append(line.numbers(units_NB[:, column]))
            points_NB[:, column] = np.where(holds_N, line.snapped(units_NB[:, column]), np.nan)
        return points_NB

    def drawn(self, count: int, generator: np.random.Generator) -> Floats:
        """Random rows, as the domains would give them."""
        return self.settled(generator.random((count, len(self.branches))))

    def spread(self, number: int, seed: int) -> Floats:
        """Row `number` of a scrambled Sobol sequence."""
        sequence = qmc.Sobol(len(self.branches), scramble=True, rng=np.random.default_rng(seed))
        if number:  # scipy cannot skip nothing
            sequence.fast_forward(number)
        point_B: Floats = self.settled(sequence.random(1))[0]
        return point_B

    def perturbed(self, points_NB: Floats, count: int, generator: np.random.Generator, reach: float = 0.3) -> Floats:
        """`count` rows near these, in few coordinates or in all, by steps of up to about `reach` and mostly less."""
        width = len(self.branches)
        parents_NB = points_NB[generator.integers(len(points_NB), size=count)]
        units_NB = np.where(np.isnan(parents_NB), generator.random(parents_NB.shape), parents_NB)
        share_N = np.where(generator.random(count) < 0.5, min(1.0, 1.5 / width), generator.uniform(0.3, 1.0, count))
        moved_NB = generator.random((count, width)) < share_N[:, None]
        moved_NB[np.arange(count), generator.integers(width, size=count)] = True
        steps_N = reach * np.exp(generator.uniform(np.log(0.05), 0.0, count))
        nudged_NB = units_NB + steps_N[:, None] * generator.standard_normal((count, width))
        nudged_NB = np.abs(nudged_NB)
        nudged_NB = np.clip(np.where(nudged_NB > 1, 2 - nudged_NB, nudged_NB), 0.0, 1.0)
        chosen_B = np.array([isinstance(line, Options) for line in self._axes])
        # An option has no neighbours: it stays or is drawn anew.
        redrawn_NB = np.where(generator.random((count, width)) < 0.5, generator.random((count, width)), units_NB)
        return self.settled(np.where(moved_NB, np.where(chosen_B, redrawn_NB, nudged_NB), units_NB))

    def features(self, points_NB: Floats) -> Floats:
        """What rows are compared by: positions, options as corners one apart, and whether conditional branches hold.

        A branch that is off in both of two rows keeps them together; one that is on in one alone keeps them apart as
        far as the branch matters at all, since its features share a length scale.
        """
        columns: list[Floats] = []
        for column, (branch, line) in enumerate(zip(self.branches, self._axes, strict=True)):
            units_N = points_NB[:, column]
            columns.extend(_columns(units_N, line))
            if branch.when:
                columns.append(np.where(np.isnan(units_N), 0.0, OFF_DISTANCE))
        return np.stack(columns, axis=1)

    def _grouped(self) -> tuple[NDArray[np.intp], int]:
        groups: list[int] = []
        count = 0
        for branch, line in zip(self.branches, self._axes, strict=True):
            width = len(_columns(np.zeros(1), line))
            groups.extend([count] * (width - _ordinal(line)))
            if branch.when and not _ordinal(line):
                groups.append(count)
            count += 1
            if _ordinal(line):
                groups.append(count)
                if branch.when:
                    groups.append(count)
                count += 1
        return np.array(groups, dtype=np.intp), count

    def _rule(self, branch: Branch) -> list[list[tuple[int, list[float]]]]:
        """For each leaf the condition names: the branches that can hold it, and the numbers accepted of each."""
        rule = []
        for leaf, values in branch.when.items():
            alternatives = []
            for index, other in enumerate(self.branches):
                if other.leaf == leaf:
                    line = self._axes[index]
                    alternatives.append((index, [line.number(v) for v in values if other.domain.contains(v)]))
            rule.append(alternatives)
        return rule


def _ordinal(line: Axis) -> bool:
    """Whether options are numbers, so that their order may matter besides their difference."""
    if not isinstance(line.domain, Choice) or len(line.domain.options) < 3:
        return False
    return all(isinstance(option, int | float) and not isinstance(option, bool) for option in line.domain.options)


def _columns(units_N: Floats, line: Axis) -> list[Floats]:
    off_N: Bools = np.isnan(units_N)
    if not isinstance(line, Options):
        return [np.where(off_N, 0.5, units_N)]
    indices_N = np.where(off_N, -1, line.numbers(np.where(off_N, 0.0, units_N)))
    options = line.domain.options
    if len(options) == 2:
        columns = [np.where(off_N, 0.5, indices_N)]
    else:
        columns = [np.where(indices_N == index, np.sqrt(0.5), 0.0) for index in range(len(options))]
    if _ordinal(line):
        ranks = np.argsort(np.argsort(np.array(options, dtype=float))) / (len(options) - 1)
        columns.append(np.where(off_N, 0.5, ranks[indices_N.astype(int)]))
    return columns
