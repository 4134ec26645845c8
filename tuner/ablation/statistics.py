"""Means with their intervals, differences with their chances, and what is significant among many of them."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from tuner.intervals import CONFIDENCE, margin


@dataclass(frozen=True)
class Mean:
    """A mean over seeds, and half the width of its 95 % t-interval; nan with a single value."""

    value: float
    margin: float
    count: int


@dataclass(frozen=True)
class Difference:
    """A difference of two means: its 95 % interval and its two-sided chance, by Welch (1947); nan where unknown."""

    value: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class Ratio:
    """A ratio of two means, with its 95 % interval; nan where unknown."""

    value: float
    low: float
    high: float


def mean_of(values: Sequence[float]) -> Mean:
    """The mean of one value at least, whose spread is taken for a normal distribution's."""
    return Mean(statistics.fmean(values), margin(values), len(values))


def difference(before: Sequence[float], after: Sequence[float]) -> Difference:
    """By how much the mean rises from one sample to another."""
    value = statistics.fmean(after) - statistics.fmean(before)
    if min(len(before), len(after)) < 2 or statistics.stdev(before) == 0 == statistics.stdev(after):
        return Difference(value, math.nan, math.nan, math.nan)  # nothing tells how far either scatters
    found = stats.ttest_ind(after, before, equal_var=False)
    interval = found.confidence_interval(CONFIDENCE)
    return Difference(value, float(interval.low), float(interval.high), float(found.pvalue))


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> Ratio:
    """The ratio of two geometric means of positive values; the interval is that of the difference of logarithms."""
    found = difference([math.log(value) for value in denominator], [math.log(value) for value in numerator])
    return Ratio(math.exp(found.value), math.exp(found.low), math.exp(found.high))


def holm(p_values: Sequence[float]) -> list[float]:
    """Each chance, adjusted for how many were asked (Holm 1979); an unknown one stays so, and counts as asked."""
    asked = np.array([1.0 if math.isnan(value) else value for value in p_values])
    order = np.argsort(asked, kind="stable")
    factors = len(asked) - np.arange(len(asked))
    adjusted = np.empty(len(asked))
    adjusted[order] = np.minimum(np.maximum.accumulate(asked[order] * factors), 1.0)
    return [math.nan if math.isnan(given) else float(one) for given, one in zip(p_values, adjusted, strict=True)]
