"""Warps: the metric on a scale on which a stationary process can describe it."""

from dataclasses import dataclass

import numpy as np

from tuner.samplers.axes import Floats

# How far above the best value seen the scale ends, in units of the median distance to the best. The nearer, the more
# the differences between good values count; infinitely far is no warp at all.
MARGINS = (0.03, 0.1, 0.3, 1.0, 3.0, np.inf)


@dataclass(frozen=True)
class Warp:
    """Minus the logarithm of the distance to a ceiling, or nothing, and then zero mean and unit variance."""

    ceiling: float  # infinite: values as they are
    scale: float
    mean: float = 0.0
    deviation: float = 1.0

    def raw(self, values_N: Floats) -> Floats:
        """Before standardising."""
        if np.isinf(self.ceiling):
            return values_N / self.scale
        floor = 1e-3 * self.scale
        logs: Floats = -np.log(np.maximum(self.ceiling - values_N, floor) / self.scale)
        return logs

    def __call__(self, values_N: Floats) -> Floats:
        """Values on the model's scale."""
        return (self.raw(values_N) - self.mean) / self.deviation

    def slopes(self, values_N: Floats) -> Floats:
        """Derivatives of the model's scale by the metric."""
        if np.isinf(self.ceiling):
            return np.full(len(values_N), 1 / (self.scale * self.deviation))
        slopes: Floats = 1 / (np.maximum(self.ceiling - values_N, 1e-3 * self.scale) * self.deviation)
        return slopes

    def inverse(self, warped_N: Floats) -> Floats:
        """Values on the metric's scale."""
        raw_N = warped_N * self.deviation + self.mean
        if np.isinf(self.ceiling):
            return raw_N * self.scale
        values: Floats = self.ceiling - self.scale * np.exp(-raw_N)
        return values


def warps(values_N: Floats) -> list[Warp]:
    """The candidates for these values, each standardising them."""
    best = float(values_N.max())
    scale = float(np.median(best - values_N))
    if scale <= 0:  # most values are the best one
        scale = float(np.std(values_N)) or 1.0
    return [_standardising(Warp(best + margin * scale, scale), values_N) for margin in MARGINS]


def _standardising(warp: Warp, values_N: Floats) -> Warp:
    raw_N = warp.raw(values_N)
    return Warp(warp.ceiling, warp.scale, float(raw_N.mean()), float(raw_N.std()) or 1.0)
