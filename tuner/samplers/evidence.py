"""What curves tell a model: few points a trial, each the mean of neighbouring epochs, with its share of their noise."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuner.samplers.axes import Floats
from tuner.samplers.observation import Observation, Stage

SPACING = 1.5  # ratio of the last epochs of neighbouring bins: a curve bends little within one


@dataclass(frozen=True)
class Point:
    """The mean of some neighbouring epochs of a curve."""

    bin: int
    time: float  # log epoch, 0 at the first and 1 at the last
    value: float
    count: int


class Bins:
    """Epochs in groups of geometrically growing size; a group's mean lies at the mean of its log epochs."""

    def __init__(self, epochs: int) -> None:
        edges = np.unique(np.round(SPACING ** np.arange(1 + np.log(epochs) / np.log(SPACING))).astype(int))
        self._bin_of = np.searchsorted(edges, np.arange(epochs + 1))
        self._scale = np.log(epochs) if epochs > 1 else 1.0
        self.end = 1.0 if epochs > 1 else 0.0  # the last epoch's time

    def count(self, epoch: int) -> int:
        """How many points a curve has that ends at this epoch."""
        return int(self._bin_of[min(epoch, len(self._bin_of) - 1)]) + 1

    def points(self, curve: Mapping[int, float]) -> list[Point]:
        """The points of a curve."""
        groups: dict[int, list[int]] = {}
        for epoch in sorted(curve):
            groups.setdefault(int(self._bin_of[min(epoch, len(self._bin_of) - 1)]), []).append(epoch)
        return [
            Point(
                index,
                sum(map(math.log, members)) / len(members) / self._scale,
                sum(curve[epoch] for epoch in members) / len(members),
                len(members),
            )
            for index, members in groups.items()
        ]


@dataclass(frozen=True)
class Evidence:
    """The points of some trials of one search, as columns."""

    trials: Sequence[Observation]
    rows_N: NDArray[np.intp]  # which of the trials
    bins_N: NDArray[np.intp]
    times_N: Floats
    values_N: Floats
    counts_N: Floats


def finite(curve: Mapping[int, tuple[float, ...]], objective: int) -> dict[int, float]:
    """One objective's curve, without values that are no numbers."""
    return {epoch: values[objective] for epoch, values in curve.items() if math.isfinite(values[objective])}


def gathered(trials: Sequence[Observation], bins: Bins) -> Evidence:
    """The points of these trials' curves."""
    found = [(row, point) for row, trial in enumerate(trials) for point in bins.points(finite(trial.curve, 0))]
    return Evidence(
        trials,
        np.array([row for row, _ in found], dtype=np.intp),
        np.array([point.bin for _, point in found], dtype=np.intp),
        np.array([point.time for _, point in found]),
        np.array([point.value for _, point in found]),
        np.array([float(point.count) for _, point in found]),
    )


def telling(trials: Sequence[Observation], bins: Bins, limit: int, seed: int) -> list[Observation]:
    """As many trials as give `limit` points: half of them the furthest and best, half at random from all the others."""
    sizes = [bins.count(max(trial.curve)) for trial in trials]
    if sum(sizes) <= limit:
        return list(trials)
    order = sorted(range(len(trials)), key=lambda row: merit(trials[row]), reverse=True)
    chosen = _up_to(order, sizes, limit // 2)
    rest = order[len(chosen) :]
    np.random.default_rng((seed, len(trials) // 100)).shuffle(rest)
    chosen += _up_to(rest, sizes, limit - sum(sizes[row] for row in chosen))
    return [trials[row] for row in sorted(chosen)]


def merit(trial: Observation) -> tuple[bool, int, float]:
    """What trials are ordered by where there are too many: lost ones last, then how far they went, then how well."""
    last = max(trial.curve, default=0)
    return trial.stage is not Stage.LOST, last, trial.curve[last][0] if last else -np.inf


def _up_to(order: Sequence[int], sizes: Sequence[int], limit: int) -> list[int]:
    totals = np.cumsum([sizes[row] for row in order])
    return list(order[: int(np.searchsorted(totals, limit, side="right"))])
