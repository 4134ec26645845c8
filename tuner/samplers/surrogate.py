"""A Gaussian process over configurations and epochs, with fitted length scales and noise, for one search and others."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

from tuner.samplers.axes import Floats

Integers = NDArray[np.intp]

OFFSET_VARIANCE = 1.0  # of a constant and of a trend over the epoch, free in each task, in standardised units
SLACK = 1e-6  # added to variances, so that rows that repeat keep the matrix regular
# Scales of log-normal priors, wide enough that some dozens of trials overrule them.
LENGTH_SPREAD, VARIANCE_SPREAD, NOISE_SPREAD = 1.0, 1.0, 1.5
FRESH_START_POINTS = 150


@dataclass(frozen=True)
class Points:
    """What is known or asked: features of configurations, epochs, and whose they are."""

    features_NF: Floats
    times_N: Floats  # log epoch, 0 at the first and 1 at the last
    trials_N: Integers  # equal in points of one trial, whose deviation from its neighbours they share; -1 is nobody's
    tasks_N: Integers  # 0 is the search itself

    def taken(self, rows: Integers) -> "Points":
        """These rows."""
        return Points(self.features_NF[rows], self.times_N[rows], self.trials_N[rows], self.tasks_N[rows])

    def joined(self, other: "Points") -> "Points":
        """These rows and the other's."""
        return Points(
            np.concatenate([self.features_NF, other.features_NF]),
            np.concatenate([self.times_N, other.times_N]),
            np.concatenate([self.trials_N, other.trials_N]),
            np.concatenate([self.tasks_N, other.tasks_N]),
        )

    def __len__(self) -> int:
        return len(self.times_N)


@dataclass(frozen=True)
class Kernel:
    """How alike two points are; everything is a logarithm but `ties`."""

    groups_F: Integers  # which length scale a feature goes by
    lengths_G: Floats
    time_length: float
    signal: float  # variance that neighbours share
    own: float  # variance a configuration shares with nobody, over all its epochs: roughness, the seed of a training
    noise: float  # variance of one epoch's value
    ties_S: Floats  # of each other task to the search's, as logits: 0.5 is half the standard deviation shared

    @classmethod
    def prior(cls, groups_F: Integers, groups: int, tasks: int) -> Self:
        """Before any data: length scales grow with the root of the dimensions, so that distances keep their meaning."""
        length = np.log(0.5 * np.sqrt(groups + 1))
        return cls(groups_F, np.full(groups, length), 0.0, 0.0, np.log(0.003), np.log(0.01), np.full(tasks, 1.0))

    @property
    def vector(self) -> Floats:
        """What is fitted, in one row."""
        return np.concatenate(
            [self.lengths_G, [self.time_length, self.signal, self.own, self.noise], self.ties_S]
        ).astype(float)

    def moved(self, vector: Floats) -> Self:
        """The kernel of another such row."""
        count = len(self.lengths_G)
        time_length, signal, own, noise = (float(value) for value in vector[count : count + 4])
        return replace(
            self,
            lengths_G=vector[:count],
            time_length=time_length,
            signal=signal,
            own=own,
            noise=noise,
            ties_S=vector[count + 4 :],
        )

    def scaled(self, points: Points) -> Floats:
        """Features and time in units of their length scales."""
        lengths_F = np.exp(-self.lengths_G)[self.groups_F]
        return np.column_stack([points.features_NF * lengths_F, points.times_N * np.exp(-self.time_length)])

    def between(self, left: Points, right: Points) -> Floats:
        """Covariances of the true values; only points of one trial share what is its own."""
        smooth_NM: Floats = matern(distances(self.scaled(left), self.scaled(right)))
        smooth_NM *= np.exp(self.signal)
        if len(self.ties_S):
            smooth_NM *= self.task_NM(left.tasks_N, right.tasks_N)
        trend_NM = OFFSET_VARIANCE * (1 + np.outer(left.times_N, right.times_N))
        if len(self.ties_S):
            trend_NM *= left.tasks_N[:, None] == right.tasks_N[None, :]
        smooth_NM += trend_NM
        if left.trials_N.max(initial=-1) >= 0 and right.trials_N.max(initial=-1) >= 0:
            mine_NM = (left.trials_N[:, None] == right.trials_N[None, :]) & (left.trials_N >= 0)[:, None]
            smooth_NM += np.exp(self.own) * mine_NM
        return smooth_NM

    def variances(self, points: Points) -> Floats:
        """Variances of the true values of configurations nobody has tried."""
        variances_N: Floats = OFFSET_VARIANCE * (1 + points.times_N**2) + np.exp(self.signal) + np.exp(self.own)
        return variances_N

    def task_NM(self, left_N: Integers, right_N: Integers) -> Floats:
        """Correlations between tasks: each shares a part with the search's own and keeps the rest to itself."""
        ties = np.concatenate([[1.0], 1 / (1 + np.exp(-self.ties_S))])
        same_NM = left_N[:, None] == right_N[None, :]
        correlations: Floats = np.where(same_NM, 1.0, ties[left_N][:, None] * ties[right_N][None, :])
        return correlations


def distances(left_NF: Floats, right_MF: Floats) -> Floats:
    """Euclidean distances between rows."""
    squares_NM: Floats = (-2 * left_NF) @ right_MF.T
    squares_NM += (left_NF**2).sum(1)[:, None]
    squares_NM += (right_MF**2).sum(1)[None, :]
    np.maximum(squares_NM, 0.0, out=squares_NM)
    roots_NM: Floats = np.sqrt(squares_NM, out=squares_NM)
    return roots_NM


def matern(distances_NM: Floats) -> Floats:
    """Matern-5/2 correlations."""
    roots_NM = np.sqrt(5.0) * distances_NM
    correlations_NM: Floats = roots_NM * (1 / 3)  # in place from here on: this is where a proposal's time goes
    correlations_NM += 1
    correlations_NM *= roots_NM
    correlations_NM += 1
    np.negative(roots_NM, out=roots_NM)
    correlations_NM *= np.exp(roots_NM, out=roots_NM)
    return correlations_NM


class Surrogate:
    """The process after seeing values: posterior means and deviations of the true values.

    `weights_N` scales the noise's variance at each point: 1 / the number of epochs averaged, for example.
    """

    def __init__(self, kernel: Kernel, points: Points, values_N: Floats, weights_N: Floats) -> None:
        self.kernel = kernel
        self.points = points
        self._values_N = values_N
        self._weights_N = weights_N
        covariances_NN = kernel.between(points, points)
        covariances_NN[np.diag_indices_from(covariances_NN)] += np.exp(kernel.noise) * weights_N + SLACK
        self._root_NN = cholesky(covariances_NN, lower=True, check_finite=False)
        self._solved_N = cho_solve((self._root_NN, True), values_N, check_finite=False)

    def means(self, points: Points) -> Floats:
        """Posterior means alone."""
        means_M: Floats = self.kernel.between(points, self.points) @ self._solved_N
        return means_M

    def predicted(self, points: Points) -> tuple[Floats, Floats]:
        """Posterior means and standard deviations, the configuration's own deviation from its neighbours included."""
        covariances_MN = self.kernel.between(points, self.points)
        halves_NM = solve_triangular(self._root_NN, covariances_MN.T, lower=True, check_finite=False)
        variances_M = self.kernel.variances(points) - (halves_NM**2).sum(0)
        return covariances_MN @ self._solved_N, np.sqrt(np.maximum(variances_M, 1e-12))

    def believing(self, points: Points) -> "Surrogate":
        """The process once these points have turned out as it expects (kriging believer): the means stay."""
        joined = self.points.joined(points)
        values_N = np.concatenate([self._values_N, self.means(points)])
        weights_N = np.concatenate([self._weights_N, np.full(len(points), 1e-3)])
        return Surrogate(self.kernel, joined, values_N, weights_N)

    def left_out(self, rows: Integers) -> Floats:
        """What would be expected of these points, had none of their trials' points been seen."""
        inverse_NN = cho_solve((self._root_NN, True), np.eye(len(self._values_N)), check_finite=False)
        expected_N = self._values_N.copy()
        for trial in np.unique(self.points.trials_N[rows]):
            block = np.flatnonzero(self.points.trials_N == trial)
            expected_N[block] -= np.linalg.solve(inverse_NN[np.ix_(block, block)], self._solved_N[block])
        left: Floats = expected_N[rows]
        return left


def log_likelihoods(kernel: Kernel, points: Points, views: Sequence[tuple[Floats, Floats]]) -> list[float]:
    """Of several views of the same points, values and weights each, up to a constant."""
    covariances_NN = kernel.between(points, points)
    found = []
    for values_N, weights_N in views:
        noisy_NN = covariances_NN + np.diag(np.exp(kernel.noise) * weights_N + SLACK)
        root_NN = cholesky(noisy_NN, lower=True, check_finite=False)
        half_N = solve_triangular(root_NN, values_N, lower=True, check_finite=False)
        found.append(float(-0.5 * half_N @ half_N - np.log(np.diag(root_NN)).sum()))
    return found


def fitted(kernel: Kernel, points: Points, values_N: Floats, weights_N: Floats, steps: int) -> Kernel:
    """The kernel that explains the values best under the priors, by at most `steps` steps from `kernel`.

    Few points often have two explanations, a trend or deviations of each trial's own, with a valley between them: so
    the fit begins at the prior too, as long as that costs little.
    """
    objective = _Fit(kernel, points, values_N, weights_N)
    starts = [kernel.vector]
    if len(points) <= FRESH_START_POINTS and not np.array_equal(kernel.vector, objective.centre):
        starts.append(objective.centre)
    bounds = list(zip(objective.centre - 6, objective.centre + 6, strict=True))
    options = {"maxfun": steps}
    results = [minimize(objective, s, jac=True, method="L-BFGS-B", bounds=bounds, options=options) for s in starts]
    return kernel.moved(min(results, key=lambda result: float(result.fun)).x)


class _Fit:
    """Minus the log posterior of a kernel's row, and its slope."""

    def __init__(self, kernel: Kernel, points: Points, values_N: Floats, weights_N: Floats) -> None:
        self._kernel = kernel
        self._values_N, self._weights_N = values_N, weights_N
        prior = Kernel.prior(kernel.groups_F, len(kernel.lengths_G), len(kernel.ties_S))
        self.centre = prior.vector
        self._spread = np.concatenate(
            [
                np.full(len(kernel.lengths_G) + 1, LENGTH_SPREAD),
                [VARIANCE_SPREAD, NOISE_SPREAD, NOISE_SPREAD],
                np.full(len(kernel.ties_S), 2.0),
            ]
        )
        groups = len(kernel.lengths_G)
        self._squares_GNN = np.zeros((groups + 1, len(points), len(points)))
        for column, group in enumerate([*kernel.groups_F, groups]):
            row_N = points.times_N if group == groups else points.features_NF[:, column]
            self._squares_GNN[group] += (row_N[:, None] - row_N[None, :]) ** 2
        self._tasks_N = points.tasks_N
        same_NN = points.tasks_N[:, None] == points.tasks_N[None, :]
        self._trend_NN = same_NN * OFFSET_VARIANCE * (1 + np.outer(points.times_N, points.times_N))
        self._own_NN = (points.trials_N[:, None] == points.trials_N[None, :]).astype(float)

    def __call__(self, vector: Floats) -> tuple[float, Floats]:
        kernel = self._kernel.moved(vector)
        groups = len(kernel.lengths_G) + 1
        scales_G = np.exp(-2 * vector[:groups])
        roots_NN = np.sqrt(5.0 * np.tensordot(scales_G, self._squares_GNN, axes=1))
        decay_NN = np.exp(kernel.signal - roots_NN)
        tasks_NN = kernel.task_NM(self._tasks_N, self._tasks_N) if len(kernel.ties_S) else 1.0
        smooth_NN = (1 + roots_NN + roots_NN**2 / 3) * decay_NN * tasks_NN
        covariances_NN = smooth_NN + self._trend_NN + np.exp(kernel.own) * self._own_NN
        noise_N = np.exp(kernel.noise) * self._weights_N
        covariances_NN[np.diag_indices_from(covariances_NN)] += noise_N + SLACK
        root_NN = cholesky(covariances_NN, lower=True, check_finite=False)
        solved_N = cho_solve((root_NN, True), self._values_N, check_finite=False)
        inverse_NN = cho_solve((root_NN, True), np.eye(len(solved_N)), check_finite=False)
        # d(-log likelihood) = tr(pull dK) for any parameter
        pull_NN = 0.5 * (inverse_NN - np.outer(solved_N, solved_N))
        slopes_NN = (5.0 / 3.0) * (1 + roots_NN) * decay_NN * tasks_NN * pull_NN
        lengths_G = scales_G * np.tensordot(self._squares_GNN, slopes_NN, axes=2)
        variances = [
            (pull_NN * smooth_NN).sum(),
            np.exp(kernel.own) * (pull_NN * self._own_NN).sum(),
            (np.diag(pull_NN) * noise_N).sum(),
        ]
        ties_S = self._tie_slopes(kernel, pull_NN * smooth_NN)
        offsets = (vector - self.centre) / self._spread
        loss = 0.5 * self._values_N @ solved_N + np.log(np.diag(root_NN)).sum() + 0.5 * (offsets**2).sum()
        slope = np.concatenate([lengths_G, variances, ties_S]) + offsets / self._spread
        return float(loss), slope

    def _tie_slopes(self, kernel: Kernel, pulled_NN: Floats) -> Floats:
        """A tie multiplies all covariances across its task's border; its logarithm's slope is their sum."""
        shares = 1 / (1 + np.exp(-kernel.ties_S))
        slopes = np.empty(len(shares))
        for index, share in enumerate(shares):
            mine_N = self._tasks_N == index + 1
            slopes[index] = 2 * pulled_NN[np.ix_(mine_N, ~mine_N)].sum() * (1 - share)
        return slopes
