"""The confidence interval of a mean over trainings, by Student's t."""

import math
import statistics
from collections.abc import Sequence

from scipy import stats

CONFIDENCE = 0.95


def margin(values: Sequence[float]) -> float:
    """Half the width of the 95 % interval of the mean; nan of fewer than two values."""
    if len(values) < 2:
        return math.nan
    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    return quantile * statistics.stdev(values) / math.sqrt(len(values))


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of the mean; None of fewer than two values."""
    if len(values) < 2:
        return None
    mean, half = statistics.fmean(values), margin(values)
    return mean - half, mean + half
