"""Whether a model predicts a study's own data: rank correlations of what it expects of trials it has not seen."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from tuner.samplers.axes import Floats
from tuner.samplers.model import Model
from tuner.samplers.surrogate import Integers

FEWEST = 8  # trials with a point in the same bin of epochs, to be ranked among each other
GOOD_SHARE = 0.25  # of the trials that the univariate model calls good


@dataclass(frozen=True)
class Ranks:
    """Spearman correlations, by leaving each trial out in turn, within the same epochs."""

    process: float
    univariate: float
    trials: int  # that the widest comparison ranked

    @property
    def error(self) -> float:
        """The standard error of a rank correlation under independence."""
        return float(1 / np.sqrt(max(self.trials - 1, 1)))


def ranks(model: Model) -> Ranks | None:
    """How well the process and a univariate Parzen model rank the trials; None with too few to tell."""
    if model.task is None:
        return None
    evidence, sample = model.task.evidence, model.sample
    bins_N = evidence.bins_N[sample]
    numbers, counts = np.unique(bins_N, return_counts=True)
    wide = [(number, count) for number, count in zip(numbers, counts, strict=True) if count >= FEWEST]
    if not wide:
        return None
    # The means of the sample's trials are asked of a process that has seen all points but theirs.
    expected_N = model.surrogate.left_out(sample)
    process, univariate = [], []
    for number, _ in wide:
        inside_N = bins_N == number
        values_N = model.task.values_N[sample][inside_N]
        features_NB = model.points_NB[evidence.rows_N[sample][inside_N]]
        process.append(spearman(expected_N[inside_N], values_N))
        univariate.append(spearman(parzen_scores(features_NB, values_N), values_N))
    weights = [float(count) for _, count in wide]
    return Ranks(
        float(np.average(process, weights=weights)),
        float(np.average(univariate, weights=weights)),
        int(max(weights)),
    )


def spearman(left_N: Floats, right_N: Floats) -> float:
    """Rank correlation; 0 where either does not vary."""
    left, right = rankdata(left_N), rankdata(right_N)
    if left.std() == 0 or right.std() == 0:
        return 0.0
    return float(np.corrcoef(left, right)[0, 1])


def parzen_scores(points_NB: Floats, values_N: Floats) -> Floats:
    """Log ratios of the densities of good and of other trials, each parameter by itself, without the trial itself."""
    good_N = rankdata(-values_N, method="ordinal") <= max(2, round(GOOD_SHARE * len(values_N)))
    scores_N = np.zeros(len(values_N))
    for column_N in points_NB.T:
        units_N = np.where(np.isnan(column_N), 2.0, column_N)  # off is a place of its own
        close_NN = np.exp(-0.5 * ((units_N[:, None] - units_N[None, :]) / _width(len(values_N))) ** 2)
        np.fill_diagonal(close_NN, 0.0)
        scores_N += np.log(_density(close_NN, good_N)) - np.log(_density(close_NN, ~good_N))
    return scores_N


def _density(close_NN: Floats, members_N: Integers) -> Floats:
    """Mean closeness to the members besides oneself, with one more member spread over everything."""
    others_N = members_N.sum() - members_N
    mean: Floats = (close_NN[:, members_N].sum(1) + 0.3) / (others_N + 1)
    return mean


def _width(count: int) -> float:
    return float(max(0.1, 0.4 * count**-0.2))
