"""An ablation's tables as text: the columns its specification asks for, and those that every table has."""

import math
from collections.abc import Callable, Sequence

from tuner.ablation.spec import Column, Design
from tuner.ablation.statistics import Difference, Mean
from tuner.ablation.table import Line, Table

UNKNOWN = "–"
TITLES = {
    Design.CUMULATIVE: "One on top of the other",
    Design.LEAVE_ONE_OUT: "All but one",
    Design.ONE_AT_A_TIME: "One at a time",
}
_GAINS = {
    Design.CUMULATIVE: "gain over the line before",
    Design.LEAVE_ONE_OUT: "loss when left out",
    Design.ONE_AT_A_TIME: "gain over the baseline",
}


def header(table: Table, columns: Sequence[Column], objective: str) -> list[str]:
    """The head of each column, with its unit."""
    gain = f"{_GAINS[table.design]}, {_SCORES[Column(objective)]}"
    return ["configuration", *(_HEADS[column] for column in columns), gain, "p (Holm)", "significant", "claimed"]


def cells(table: Table, columns: Sequence[Column]) -> list[list[str]]:
    """The text of each line's cells."""
    return [[_name(line), *(_CELLS[column](line) for column in columns), *_gain(line)] for line in table.lines]


def _name(line: Line) -> str:
    missing = ", ".join(f"{count} {state}" for state, count in line.missing.items())
    return f"{line.name} ({missing})" if missing else line.name


def _gain(line: Line) -> list[str]:
    gain = line.gain
    if gain is None:
        return [UNKNOWN if line.claimed else "", "", "", line.claimed]
    significant = {True: "yes", False: "no", None: UNKNOWN}[gain.significant]
    p_value = UNKNOWN if math.isnan(gain.adjusted_p) else f"{gain.adjusted_p:.2g}"
    return [_signed(gain.difference), p_value, significant, line.claimed]


def _signed(found: Difference) -> str:
    if math.isnan(found.low):
        return f"{found.value:+.3f}"
    return f"{found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f})"


def _mean(name: str, form: str) -> Callable[[Line], str]:
    def told(line: Line) -> str:
        mean = line.means.get(name)
        return UNKNOWN if mean is None else _with_margin(mean, form)

    return told


def _with_margin(mean: Mean, form: str) -> str:
    told = format(mean.value, form)
    return told if math.isnan(mean.margin) else f"{told} ± {format(mean.margin, form)}"


def _speed_up(line: Line) -> str:
    found = line.speed_up
    if found is None:
        return "" if line.means else UNKNOWN
    return f"{found.value:.2f}" + ("" if math.isnan(found.low) else f" ({found.low:.2f} to {found.high:.2f})")


def _cost(told: Callable[[Line], str]) -> Callable[[Line], str]:
    return lambda line: UNKNOWN if line.costs is None else told(line)


def _peak(line: Line) -> str:
    assert line.costs is not None
    return f"{line.costs.peak_stage}: {line.costs.peak_macs / 1e6:.2f}"


_SCORES = {Column.MAP: "mAP", Column.MAP50: "AP50", Column.MAP75: "AP75"}
_HEADS = {
    **_SCORES,
    Column.EPOCH_S: "s an epoch",
    Column.TOTAL_S: "s in all",
    Column.SPEED_UP: "speed-up",
    Column.TRAINED_PER_S: "windows trained a s",
    Column.PARAMETERS: "parameters, M",
    Column.MACS: "MACs, G",
    Column.PEAK_STAGE: "peak stage: MACs, M",
    Column.BALANCE: "peak / mean of stages",
    Column.CIO: "CIO a step, M",
    Column.FRAMES_PER_S: "frames a s",
}
_CELLS: dict[Column, Callable[[Line], str]] = {
    **{column: _mean(column.value, ".3f") for column in _SCORES},
    Column.EPOCH_S: _mean("epoch_s", ".2f"),
    Column.TOTAL_S: _mean("total_s", ".1f"),
    Column.SPEED_UP: _speed_up,
    Column.TRAINED_PER_S: _mean("trained_per_s", ".1f"),
    Column.PARAMETERS: _cost(lambda line: f"{line.costs.parameters / 1e6:.3f}" if line.costs else UNKNOWN),
    Column.MACS: _cost(lambda line: f"{line.costs.macs / 1e9:.3f}" if line.costs else UNKNOWN),
    Column.PEAK_STAGE: _cost(_peak),
    Column.BALANCE: _cost(lambda line: f"{line.costs.balance:.2f}" if line.costs else UNKNOWN),
    Column.CIO: _cost(lambda line: f"{line.costs.cio / 1e6:.2f}" if line.costs else UNKNOWN),
    Column.FRAMES_PER_S: _cost(lambda line: f"{line.costs.frames_per_s:.0f}" if line.costs else UNKNOWN),
}
