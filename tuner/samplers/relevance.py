"""Rank correlations within the same epochs, and whether an earlier search tells anything about this one."""

from collections.abc import Mapping

import numpy as np
from scipy.stats import rankdata

from tuner.samplers.axes import Floats
from tuner.samplers.surrogate import Integers, Kernel, Points, Surrogate

FEWEST = 8  # trials with a point in the same bin of epochs, to be ranked among each other


def spearman(left_N: Floats, right_N: Floats) -> float:
    """Rank correlation; 0 where either does not vary."""
    left, right = rankdata(left_N), rankdata(right_N)
    if left.std() == 0 or right.std() == 0:
        return 0.0
    return float(np.corrcoef(left, right)[0, 1])


def standard_error(trials: int) -> float:
    """Of a rank correlation of so many trials under independence."""
    return float(1 / np.sqrt(max(trials - 1, 1)))


def wide_bins(bins_N: Integers) -> Mapping[int, int]:
    """The bins with enough trials, and how many these are."""
    numbers, counts = np.unique(bins_N, return_counts=True)
    return {int(number): int(count) for number, count in zip(numbers, counts, strict=True) if count >= FEWEST}


def correlation(expected_N: Floats, values_N: Floats, bins_N: Integers) -> float | None:
    """Mean rank correlation of the wide bins, weighted by their trials; None without any."""
    wide = wide_bins(bins_N)
    if not wide:
        return None
    found = [spearman(expected_N[bins_N == number], values_N[bins_N == number]) for number in wide]
    return float(np.average(found, weights=list(wide.values())))


def relevant(
    prior: Kernel, earlier: tuple[Points, Floats, Floats], own: Points, values_N: Floats, bins_N: Integers
) -> bool:
    """Whether a process on the earlier search alone ranks this search's trials better than chance, as far as known.

    `earlier` holds points, values and noise weights.
    """
    wide = wide_bins(bins_N)
    if not wide:
        return True
    points, earlier_N, weights_N = earlier
    alone = Points(points.features_NF, points.times_N, points.trials_N, np.zeros_like(points.tasks_N))
    rank = correlation(Surrogate(prior, alone, earlier_N, weights_N).means(own), values_N, bins_N)
    return rank is None or rank > standard_error(max(wide.values()))
