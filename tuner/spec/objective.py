"""What trials are compared by: metrics to be made large or small, and bounds on metrics."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from data.config import Config
from data.split import Split

REPORTED = ("map", "map50", "map75", "loss", "seconds", "windows_per_second")  # after every epoch
BEFORE = ("parameters", "macs", "latency_ms")  # of an untrained detector, before the first epoch
AFTER = ("energy_uj", "synops", "firing_rate")  # of the trained detector: they hang on how much it fires
METRICS = (*REPORTED, *BEFORE, *AFTER)


class Mode(StrEnum):
    """Which way is better."""

    MAX = "max"
    MIN = "min"

    @property
    def sign(self) -> int:
        """What a value is multiplied by so that larger is better; again, and it is the value."""
        return 1 if self is Mode.MAX else -1

    @property
    def told(self) -> str:
        """In words."""
        return "larger is better" if self is Mode.MAX else "smaller is better"


def _known(metric: str) -> str:
    if metric not in METRICS:
        near = get_close_matches(metric, METRICS, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(METRICS)}"
        raise ValueError(f"no trial reports '{metric}'; {hint}")
    return metric


MetricName = Annotated[str, AfterValidator(_known)]


class Also(Config):
    """A further objective."""

    metric: MetricName
    mode: Mode = Mode.MIN


class Objective(Config):
    """What is compared, on windows that are the same for every trial."""

    metric: MetricName = "map"  # at the epoch of the best map, whose checkpoint a trial keeps
    mode: Mode = Mode.MAX
    also: tuple[Also, ...] = ()  # further objectives; none outweighs another, so the search ends with a front
    split: Literal[Split.TRAIN, Split.VAL] = Split.VAL  # a winner chosen on test could not be judged on test
    windows: int | None = Field(default=None, ge=1)  # label times, evenly spaced over the split; null takes all

    @model_validator(mode="after")
    def _each_once(self) -> "Objective":
        if len(set(self.metrics)) < len(self.metrics):
            raise ValueError(f"a metric is given twice in {', '.join(self.metrics)}; keep one")
        return self

    @property
    def metrics(self) -> tuple[str, ...]:
        """All objectives, the first one first."""
        return (self.metric, *(also.metric for also in self.also))

    @property
    def modes(self) -> tuple[Mode, ...]:
        """Which way each of them is better."""
        return (self.mode, *(also.mode for also in self.also))

    def rising(self, values: tuple[float, ...]) -> tuple[float, ...]:
        """The objectives with the sign that makes larger better."""
        return tuple(mode.sign * v for v, mode in zip(values, self.modes, strict=True))

    def worth(self, values: tuple[float, ...]) -> float:
        """What schedulers and winners are compared by: the first objective, with the sign that makes larger better."""
        return self.rising(values)[0]


_RULE = re.compile(r"^\s*([a-z_0-9]+)\s*(<=|>=)\s*([-+0-9.eE]+)\s*$")


@dataclass(frozen=True)
class Constraint:
    """A bound on a metric."""

    metric: str
    at_most: bool
    bound: float

    @classmethod
    def parse(cls, text: str) -> "Constraint":
        """Read `metric <= number` or `metric >= number`.

        Raises:
            ValueError: it is neither, or no trial reports the metric.
        """
        found = _RULE.match(text)
        if found is None:
            raise ValueError(f"'{text}' must be METRIC <= NUMBER or METRIC >= NUMBER, as in latency_ms <= 20")
        try:
            bound = float(found[3])
        except ValueError:
            raise ValueError(f"'{text}': '{found[3]}' is no number") from None
        if not math.isfinite(bound):
            raise ValueError(f"'{text}': the bound must be finite")
        return cls(_known(found[1]), found[2] == "<=", bound)

    def violation(self, metrics: Mapping[str, float]) -> float:
        """How far the bound is broken, as a share of it (of 1 where it is 0); 0 if it is kept or not yet known."""
        if self.metric not in metrics:
            return 0.0
        over = metrics[self.metric] - self.bound if self.at_most else self.bound - metrics[self.metric]
        return max(over, 0.0) / (abs(self.bound) or 1.0)

    def __str__(self) -> str:
        return f"{self.metric} {'<=' if self.at_most else '>='} {self.bound:g}"


def _readable(text: str) -> str:
    return str(Constraint.parse(text))


ConstraintText = Annotated[str, AfterValidator(_readable)]
