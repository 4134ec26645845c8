"""Which trial won, when every epoch's value is noisy: by smoothed curves, not by the luckiest of all values."""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from scipy.linalg import cho_solve, cholesky

from tuner.samplers.axes import Floats
from tuner.samplers.evidence import finite
from tuner.samplers.observation import Observation, Stage
from tuner.samplers.surrogate import matern

CONTENDERS = 30  # trials with the highest values; further down no smoothing finds a winner
NOISES = (1e-10, 1e-6, 1e-4, 1e-3, 0.01, 0.04, 0.2, 1.0)  # variances, in units of the contenders' variance
LENGTHS = (0.2, 0.5, 1.2)  # over the logarithm of the epoch, 1 from the first to the last


def final_choice(history: Sequence[Observation], epochs: int) -> int | None:
    """The number of the trial whose curve, freed from noise, reaches highest; None before any value.

    Noise and smoothness are those under which the contenders' curves are likeliest; without noise this is the plain
    maximum. Trials that break a constraint win only if all do, and then by breaking them least.
    """
    curves = {trial.number: finite(trial.curve, 0) for trial in _eligible(history)}
    curves = {number: curve for number, curve in curves.items() if curve}
    if not curves:
        return None
    numbers = sorted(curves, key=lambda number: max(curves[number].values()), reverse=True)[:CONTENDERS]
    tops = [max(smooth) for smooth in smoothed([curves[number] for number in numbers], epochs)]
    return numbers[int(np.argmax(tops))]


def smoothed(curves: Sequence[Mapping[int, float]], epochs: int) -> list[Floats]:
    """Each curve's values at its own epochs, in their order, without the noise that all of them share."""
    values = [np.array([curve[epoch] for epoch in sorted(curve)]) for curve in curves]
    together = np.concatenate(values)
    centre, scale = float(together.mean()), float(together.std())
    if scale <= 0:
        return values
    alike: dict[tuple[int, ...], list[int]] = {}  # curves over the same epochs are solved for at once
    for row, curve in enumerate(curves):
        alike.setdefault(tuple(sorted(curve)), []).append(row)
    groups = [
        (np.log(np.array(key)) / max(np.log(epochs), 1.0), np.array([(values[row] - centre) / scale for row in rows]).T)
        for key, rows in alike.items()
    ]
    length, noise = max(_GRID, key=lambda cell: sum(_fit(*group, *cell)[0] for group in groups))
    for rows, group in zip(alike.values(), groups, strict=True):
        for row, smooth_N in zip(rows, _fit(*group, length, noise)[1].T, strict=True):
            values[row] = centre + scale * smooth_N
    return values


_GRID = list(product(LENGTHS, NOISES))


def _fit(times_N: Floats, values_NM: Floats, length: float, noise: float) -> tuple[float, Floats]:
    """Log likelihood of curves over the same epochs, and their posterior means."""
    shared_NN = matern(np.abs(times_N[:, None] - times_N[None, :]) / length) + 1.0
    root_NN = cholesky(shared_NN + noise * np.eye(len(times_N)), lower=True, check_finite=False)
    solved_NM = cho_solve((root_NN, True), values_NM, check_finite=False)
    likelihood = -0.5 * (values_NM * solved_NM).sum() - values_NM.shape[1] * np.log(np.diag(root_NN)).sum()
    return float(likelihood), values_NM - noise * solved_NM


def _eligible(history: Sequence[Observation]) -> list[Observation]:
    trials = [trial for trial in history if trial.source is None and trial.stage is not Stage.LOST and trial.curve]
    least = min((trial.violation for trial in trials), default=0.0)
    return [trial for trial in trials if trial.violation <= least]
