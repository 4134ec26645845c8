"""How likely a configuration is to train to the end and to keep the constraints."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import log_ndtr

from tuner.samplers.axes import Floats
from tuner.samplers.encoding import Encoding
from tuner.samplers.observation import Observation, Stage
from tuner.samplers.surrogate import Kernel, Points, Surrogate, fitted

MOST_TRIALS = 200
FIT_STEPS = 20

LogChance = Callable[[Floats], Floats]  # of rows of positions


def feasible(trial: Observation) -> bool:
    """Whether the trial is not lost and breaks no constraint."""
    return trial.stage is not Stage.LOST and trial.violation <= 0


def log_chance(encoding: Encoding, history: Sequence[Observation]) -> LogChance | None:
    """The logarithm of the chance, by a process on +1 and -1; None while no trial was lost or broke a constraint."""
    own = [trial for trial in history if trial.source is None and (trial.curve or not feasible(trial))][-MOST_TRIALS:]
    if all(feasible(trial) for trial in own):
        return None
    signs_N = np.array([1.0 if feasible(trial) else -1.0 for trial in own])
    points = _points(encoding, encoding.encoded([trial.values for trial in own]), known=True)
    ones_N = np.ones(len(own))
    kernel = Kernel.prior(encoding.groups_F, encoding.group_count, 0)
    surrogate = Surrogate(fitted(kernel, points, signs_N, ones_N, FIT_STEPS), points, signs_N, ones_N)

    def chance(points_NB: Floats) -> Floats:
        means_N, deviations_N = surrogate.predicted(_points(encoding, points_NB, known=False))
        logs: Floats = log_ndtr(means_N / deviations_N)
        return logs

    return chance


def _points(encoding: Encoding, points_NB: Floats, *, known: bool) -> Points:
    count = len(points_NB)
    nobody_N = np.full(count, -1, dtype=np.intp)
    trials_N = np.arange(count, dtype=np.intp) if known else nobody_N
    return Points(encoding.features(points_NB), np.zeros(count), trials_N, np.zeros(count, dtype=np.intp))
