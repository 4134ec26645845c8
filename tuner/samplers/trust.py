"""Whether a model predicts a study's own data: rank correlations of what it expects of trials it has not seen."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from tuner.samplers.axes import Floats
from tuner.samplers.model import Model
from tuner.samplers.relevance import correlation, standard_error, wide_bins
from tuner.samplers.surrogate import Integers

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
        return standard_error(self.trials)


def ranks(model: Model) -> Ranks | None:
    """How well the process and a univariate Parzen model rank the trials; None with too few to tell."""
    if model.task is None:
        return None
    evidence, sample = model.task.evidence, model.sample
    bins_N = evidence.bins_N[sample]
    wide = wide_bins(bins_N)
    if not wide:
        return None
    values_N, rows_N = model.task.values_N[sample], evidence.rows_N[sample]
    scores_N = np.zeros(len(sample))
    for number in wide:
        inside_N = bins_N == number
        scores_N[inside_N] = parzen_scores(model.points_NB[rows_N[inside_N]], values_N[inside_N])
    process = correlation(model.surrogate.left_out(sample), values_N, bins_N)
    univariate = correlation(scores_N, values_N, bins_N)
    assert process is not None, "there is a wide bin"
    assert univariate is not None, "there is a wide bin"
    return Ranks(process, univariate, max(wide.values()))


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
