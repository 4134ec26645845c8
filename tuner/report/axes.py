"""Where settings are on an axis."""

import math
from collections.abc import Iterable
from typing import Any

from tuner.domains import Choice
from tuner.space import Branch


def fixed(branch: Branch) -> bool:
    """Whether there is but one value."""
    return isinstance(branch.domain, Choice) and len(branch.domain.options) == 1


def scale(branch: Branch) -> dict[str, Any]:
    """An axis for the parameter; a logarithmic one with its ends and its middle, for plotly's own ticks are a crowd."""
    domain = branch.domain
    if isinstance(domain, Choice):
        return {"type": "category"}
    if not domain.log:
        return {"type": "linear", "nticks": 5}
    ticks = [float(domain.low), math.sqrt(domain.low * domain.high), float(domain.high)]
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:.2g}" for tick in ticks]}


def height(branch: Branch, value: Any) -> float:
    """Where a setting is on its axis, 0 to 1."""
    domain = branch.domain
    if isinstance(domain, Choice):
        place = [repr(option) for option in domain.options].index(repr(value))
        return place / max(len(domain.options) - 1, 1)
    low, high, at = float(domain.low), float(domain.high), float(value)
    if domain.log:
        low, high, at = math.log(low), math.log(high), math.log(at)
    return (at - low) / (high - low)


def unscaled(branch: Branch, side: Iterable[float]) -> list[float]:
    """The settings at heights of 0 to 1 on an axis."""
    domain = branch.domain
    assert not isinstance(domain, Choice)
    low, high = float(domain.low), float(domain.high)
    if domain.log:
        low, high = math.log(low), math.log(high)
        return [float(f"{math.exp(low + (high - low) * at):.6g}") for at in side]
    return [float(f"{low + (high - low) * at:.6g}") for at in side]
