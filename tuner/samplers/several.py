"""Several objectives: scalarised at random for each proposal (ParEGO, Knowles 2006), fronts and hypervolumes."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tuner.samplers.axes import Floats
from tuner.samplers.observation import Observation

AUGMENTATION = 0.05  # share of the plain weighted sum, so that weakly dominated points lose


def scalarised(history: Sequence[Observation], weights_K: Floats) -> list[Observation]:
    """The history with one objective: augmented Chebyshev, every objective from worst (0) to best (1) of its search.

    The scale is the non-dominated trials', or all trials' where those do not differ in an objective.
    """
    scales = {source: _scale(history, source) for source in {trial.source for trial in history}}
    return [replace(trial, curve=_scalar_curve(trial, *scales[trial.source], weights_K)) for trial in history]


def weights(objectives: int, generator: np.random.Generator) -> Floats:
    """Uniformly random weights of sum 1."""
    return generator.dirichlet(np.ones(objectives))


def front(points_NK: Floats) -> NDArray[np.intp]:
    """Which points no other dominates; all objectives are to be maximised. Of equal points all belong to it."""
    not_worse_NN = (points_NK[:, None, :] >= points_NK[None, :, :]).all(2)
    better_NN = (points_NK[:, None, :] > points_NK[None, :, :]).any(2)
    return np.flatnonzero(~(not_worse_NN & better_NN).any(0))


def hypervolume(points_NK: Floats, reference_K: Floats) -> float:
    """The volume between the points and a reference that is worse in every objective; all are to be maximised."""
    inside_NK = points_NK[(points_NK > reference_K).all(1)]
    if not len(inside_NK):
        return 0.0
    if inside_NK.shape[1] == 1:
        return float(inside_NK.max() - reference_K[0])
    # Slices along the last objective, from its best value down: each is as thick as the step to the next.
    order = np.argsort(-inside_NK[:, -1])
    levels = np.append(inside_NK[order, -1], reference_K[-1])
    total = 0.0
    for index in range(len(order)):
        thickness = levels[index] - levels[index + 1]
        if thickness > 0:
            slab_MK = inside_NK[order[: index + 1], :-1]
            total += thickness * hypervolume(slab_MK[front(slab_MK)], reference_K[:-1])
    return float(total)


def _scale(history: Sequence[Observation], source: str | None) -> tuple[Floats, Floats]:
    """Worst and best of each objective over the last values of a search's trials."""
    lasts = [trial.curve[max(trial.curve)] for trial in history if trial.source == source and trial.curve]
    lasts_NK = np.array([values for values in lasts if np.isfinite(values).all()])
    if not len(lasts_NK):
        return np.zeros(1), np.ones(1)
    best_NK = lasts_NK[front(lasts_NK)]
    low_K, high_K = best_NK.min(0), best_NK.max(0)
    low_K = np.where(high_K > low_K, low_K, lasts_NK.min(0))
    return low_K, np.where(high_K > low_K, high_K, low_K + 1.0)


def _scalar_curve(trial: Observation, low_K: Floats, high_K: Floats, weights_K: Floats) -> dict[int, tuple[float, ...]]:
    curve: dict[int, tuple[float, ...]] = {}
    for epoch, values in trial.curve.items():
        short_K = weights_K * ((np.array(values) - low_K) / (high_K - low_K) - 1.0)
        curve[epoch] = (float(short_K.min() + AUGMENTATION * short_K.sum()),)
    return curve
