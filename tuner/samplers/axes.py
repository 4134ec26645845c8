"""Axes: one domain as the unit interval, on which equal lengths are equally probable."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.domains import Choice, Domain, Integer, Real, Scalar, identity

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Line:
    """A range of numbers; each step of a range with steps owns a cell of the interval, its position the cell's middle.

    A cell of whole numbers over a logarithm reaches from half below to half above the number.
    """

    domain: Real | Integer

    def numbers(self, units_N: Floats) -> Floats:
        """The values at these positions."""
        domain, (low, high) = self.domain, self._ends
        if domain.log:
            values_N = np.exp(low + np.clip(units_N, 0, 1) * (high - low))
        else:
            values_N = low + np.clip(units_N, 0, 1) * (high - low)
        if self._step is not None:
            steps_N = np.round((values_N - domain.low) / self._step)
            values_N = domain.low + self._step * np.clip(steps_N, 0, round((domain.high - domain.low) / self._step))
        clipped: Floats = np.clip(values_N, domain.low, domain.high)
        return clipped

    def units(self, values_N: Floats) -> Floats:
        """The positions of these values."""
        low, high = self._ends
        raw_N = np.log(values_N) if self.domain.log else values_N
        positions: Floats = np.clip((raw_N - low) / (high - low), 0.0, 1.0)
        return positions

    def snapped(self, units_N: Floats) -> Floats:
        """The positions of the values that these positions stand for."""
        return self.units(self.numbers(units_N)) if self._step is not None else np.clip(units_N, 0.0, 1.0)

    def number(self, value: Any) -> float:
        """The value as `numbers` gives it."""
        return float(value)

    def value(self, number: float) -> Scalar:
        """The value as the configuration holds it."""
        return round(number) if isinstance(self.domain, Integer) else float(number)

    @property
    def _step(self) -> float | None:
        return self.domain.step

    @property
    def _ends(self) -> tuple[float, float]:
        half = 0.0 if self._step is None else self._step / 2
        low, high = self.domain.low - half, self.domain.high + half
        return (math.log(low), math.log(high)) if self.domain.log else (low, high)


@dataclass(frozen=True)
class Options:
    """A choice; each option owns a cell of the interval, in the order given."""

    domain: Choice

    def numbers(self, units_N: Floats) -> Floats:
        """The indices of the options at these positions."""
        count = len(self.domain.options)
        indices: Floats = np.clip(np.floor(units_N * count), 0, count - 1)
        return indices

    def units(self, numbers_N: Floats) -> Floats:
        """The middles of the cells of these options."""
        return (numbers_N + 0.5) / len(self.domain.options)

    def snapped(self, units_N: Floats) -> Floats:
        """The middles of the cells these positions lie in."""
        return self.units(self.numbers(units_N))

    def number(self, value: Any) -> float:
        """The index of an option."""
        return float([identity(option) for option in self.domain.options].index(identity(value)))

    def value(self, number: float) -> Scalar:
        """The option of an index."""
        return self.domain.options[int(number)]


Axis = Line | Options


def axis(domain: Domain) -> Axis:
    """The domain's axis."""
    return Options(domain) if isinstance(domain, Choice) else Line(domain)
