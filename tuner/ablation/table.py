"""The tables of an ablation: what was measured, what each improvement brings, and whether that is more than chance."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tuner.ablation.configurations import Configuration, Row
from tuner.ablation.costs import NetCosts
from tuner.ablation.measuring import Measured
from tuner.ablation.spec import Design
from tuner.ablation.statistics import Difference, Mean, Ratio, difference, holm, mean_of, ratio
from tuner.intervals import CONFIDENCE


@dataclass(frozen=True)
class Gain:
    """What an improvement brings in the objective."""

    difference: Difference
    adjusted_p: float  # over all comparisons of all tables (Holm 1979); nan if unknown

    @property
    def significant(self) -> bool | None:
        """At 5 %, all comparisons together; None if nothing can be said."""
        return None if math.isnan(self.adjusted_p) else self.adjusted_p < 1 - CONFIDENCE


@dataclass(frozen=True)
class Line:
    """A line of a table; what is not known is None."""

    name: str
    means: Mapping[str, Mean]  # by the name of a score or of a field of `Training`
    speed_up: Ratio | None  # seconds an epoch of the table's first configuration against this one's
    gain: Gain | None
    claimed: str
    costs: NetCosts | None
    missing: Mapping[str, int]  # trainings without a number, by state


@dataclass(frozen=True)
class Table:
    """One design's lines."""

    design: Design
    lines: tuple[Line, ...]


MEANS = ("map", "map50", "map75", "epoch_s", "total_s", "trained_per_s")


def tables_of(
    rows: Sequence[Row],
    found: Mapping[Configuration, Measured],
    costs: Mapping[Configuration, NetCosts],
    objective: str,
) -> list[Table]:
    """The tables, in the order of the rows.

    Args:
        rows: of all designs.
        found: what is known of each configuration.
        costs: of the configurations' nets, where they were measured.
        objective: the score gains are told in.
    """
    gains = _gains(rows, found, objective)
    tables = []
    for design in dict.fromkeys(row.design for row in rows):
        mine = [(row, gain) for row, gain in zip(rows, gains, strict=True) if row.design is design]
        first = found[mine[0][0].configuration]
        lines = tuple(_line(row, gain, found[row.configuration], first, costs) for row, gain in mine)
        tables.append(Table(design, lines))
    return tables


def _gains(rows: Sequence[Row], found: Mapping[Configuration, Measured], objective: str) -> list[Gain | None]:
    """The gain of each row that has one; two rows that compare the same two configurations ask once."""
    asked: dict[tuple[Configuration, Configuration], Difference] = {}
    for row in rows:
        if row.before is not None and row.after is not None:
            values = found[row.before].of(objective), found[row.after].of(objective)
            if all(values):
                asked[row.before, row.after] = difference(*values)
    adjusted = holm([one.p_value for one in asked.values()])
    gains = {pair: Gain(one, p) for (pair, one), p in zip(asked.items(), adjusted, strict=True)}
    return [gains.get((row.before, row.after)) if row.before and row.after else None for row in rows]


def _line(
    row: Row, gain: Gain | None, mine: Measured, first: Measured, costs: Mapping[Configuration, NetCosts]
) -> Line:
    timed = bool(mine.trainings and first.trainings)
    return Line(
        name=row.name,
        means={name: mean_of(mine.of(name)) for name in MEANS} if mine.trainings else {},
        speed_up=ratio(first.of("epoch_s"), mine.of("epoch_s")) if timed and mine is not first else None,
        gain=gain,
        claimed=row.claimed,
        costs=costs.get(row.configuration),
        missing=mine.missing,
    )
