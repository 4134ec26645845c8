"""Domains: what one leaf of the configuration may be."""

import math
from dataclasses import dataclass
from typing import Any, Protocol

from data.errors import ConfigError

Scalar = bool | int | float | str


class Suggest(Protocol):
    """Who chooses the values; an Optuna trial is one."""

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float: ...
    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int: ...
    def suggest_categorical(self, name: str, choices: Any) -> Any: ...


@dataclass(frozen=True)
class Real:
    """A number in [low, high], evenly over itself or over its logarithm.

    Raises:
        ConfigError: the range is empty or reversed, has no logarithm, or is not a whole number of steps.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def __post_init__(self) -> None:
        _check_range(self.low, self.high, self.log, self.step)

    def suggest(self, trial: Suggest, name: str) -> float:
        """A value, chosen by `trial`."""
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)

    def contains(self, value: object) -> bool:
        """Whether the domain can give this value."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return self.low <= value <= self.high and (self.step is None or _on_grid(self.low, value, self.step))

    def extremes(self) -> tuple[float, ...]:
        """The values a configuration must accept for the domain to be usable."""
        return self.low, self.high


@dataclass(frozen=True)
class Integer:
    """A whole number in [low, high], evenly over itself or over its logarithm.

    Raises:
        ConfigError: as `Real`.
    """

    low: int
    high: int
    log: bool = False
    step: int = 1

    def __post_init__(self) -> None:
        _check_range(self.low, self.high, self.log, self.step if self.step != 1 else None)

    def suggest(self, trial: Suggest, name: str) -> int:
        """A value, chosen by `trial`."""
        return trial.suggest_int(name, self.low, self.high, step=self.step, log=self.log)

    def contains(self, value: object) -> bool:
        """Whether the domain can give this value."""
        if isinstance(value, bool) or not isinstance(value, int):
            return False
        return self.low <= value <= self.high and (value - self.low) % self.step == 0

    def extremes(self) -> tuple[int, ...]:
        """The values a configuration must accept for the domain to be usable."""
        return self.low, self.high


@dataclass(frozen=True)
class Choice:
    """One of several values; of one value, if it is fixed.

    Raises:
        ConfigError: an option is given twice, or there is none.
    """

    options: tuple[Scalar, ...]

    def __post_init__(self) -> None:
        if not self.options:
            raise ConfigError("a choice needs options")
        if len({identity(option) for option in self.options}) < len(self.options):
            raise ConfigError(f"an option is given twice in {list(self.options)}")

    def suggest(self, trial: Suggest, name: str) -> Scalar:
        """A value, chosen by `trial`."""
        chosen: Scalar = trial.suggest_categorical(name, self.options)
        return chosen

    def contains(self, value: object) -> bool:
        """Whether the domain can give this value."""
        return identity(value) in {identity(option) for option in self.options}

    def extremes(self) -> tuple[Scalar, ...]:
        """The values a configuration must accept for the domain to be usable."""
        return self.options


Domain = Real | Integer | Choice


def _check_range(low: float, high: float, log: bool, step: float | None) -> None:
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ConfigError(f"[{low}, {high}] must be finite")
    if not low < high:
        raise ConfigError(f"[{low}, {high}] is {'empty' if low == high else 'reversed'}; the first must be the smaller")
    if log and low <= 0:
        raise ConfigError(f"[{low}, {high}] has no logarithm; the lower end must exceed 0")
    if step is None:
        return
    if log:
        raise ConfigError("a logarithmic range cannot have a step; drop the step or the logarithm")
    if step <= 0 or not _on_grid(low, high, step):
        raise ConfigError(f"step {step} must divide [{low}, {high}] into whole steps")


def _on_grid(low: float, value: float, step: float) -> bool:
    steps = (value - low) / step
    return abs(steps - round(steps)) < 1e-6  # samplers add floats up: 0.1 * 3 is a step, too


def identity(value: object) -> tuple[bool, object]:
    """What two options are compared by: True == 1 in Python, but as options they differ."""
    return isinstance(value, bool), value
