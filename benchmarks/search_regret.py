"""Regrets of searches, their means with intervals, and how two strategies compare on the same tasks and seeds."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.search_job import SAMPLE, Job, Runs

RESAMPLES = 4000
Cells = dict[tuple[str, int], NDArray[np.float64]]  # by task and seed: the regret at each reading


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean or a ratio of means, with the interval that holds 95 % of the bootstrap's."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def regrets(runs: Runs, jobs: Iterable[Job]) -> Cells:
    """Normalised regrets: 0 is the best anyone found on the task, 1 what random search without stopping finds.

    The best anyone found is of a large random sample and of all searches in the file. What random search finds is the
    median over its luck, of 20 full trainings.
    """
    best: dict[str, float] = {}
    for job in runs.searches():
        best[job.task] = max(best.get(job.task, 0.0), *runs[job]["scores"])
    cells: Cells = {}
    for job in jobs:
        sample = runs[Job(SAMPLE, job.task)]
        top = max(best[job.task], sample["best"])
        cells[job.task, job.seed] = (top - np.array(runs[job]["scores"])) / (top - sample["median"])
    return cells


def mean(cells: Cells, reading: int) -> Estimate:
    """Over tasks and seeds, which the bootstrap draws together."""
    values = np.array([regret[reading] for regret in cells.values()])
    drawn = values[_draws(len(values))].mean(axis=1)
    return _estimate(float(values.mean()), drawn)


def ratio(ours: Cells, peer: Cells, reading: int) -> Estimate:
    """Our mean over the peer's, on the tasks and seeds that both have, which the bootstrap draws in pairs."""
    pairs = np.array([(ours[key][reading], peer[key][reading]) for key in shared(ours, peer)])
    drawn = pairs[_draws(len(pairs))].mean(axis=1)
    return _estimate(float(pairs[:, 0].mean() / pairs[:, 1].mean()), drawn[:, 0] / drawn[:, 1])


def shared(ours: Cells, peer: Cells) -> list[tuple[str, int]]:
    """The tasks and seeds that both have."""
    return [key for key in ours if key in peer]


def part(cells: Cells, other: Cells) -> Cells:
    """The cells that the other has, too."""
    return {key: cells[key] for key in shared(cells, other)}


def _draws(count: int) -> NDArray[np.int64]:
    return np.random.default_rng(0).integers(count, size=(RESAMPLES, count))


def _estimate(value: float, drawn: NDArray[np.float64]) -> Estimate:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(value, float(low), float(high))
