"""What became of a trial, for people."""

import math
from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.table import Table

from tuner.durations import duration
from tuner.explanation.explain import Explanation
from tuner.wording import metric_told, short_value

_BARS = "▁▂▃▄▅▆▇█"


def show_explanation(console: Console, found: Explanation) -> None:
    """Print it, the reason first."""
    won = ", the winner" if found.won else ""
    console.print(f"trial {found.number} of {found.search_id}: {found.state}{won}", markup=False, soft_wrap=True)
    for line in (f"why       {found.reason.told}", *_learnt(found), *_found(found), *_trained(found)):
        console.print(line, markup=False, soft_wrap=True)
    if found.settings:
        console.print(_settings(found))
    console.print("to do it again:", markup=False)
    for command in found.commands:
        console.print(f"  {command}", markup=False, soft_wrap=True)


def _learnt(found: Explanation) -> Iterator[str]:
    if found.begun_with is not None:
        yield f"began     with the {found.begun_with}, so training it from the start is another training"
    if found.curve:
        yield f"curve     {curve_told(found.curve, found.objective)}"
    for rung in found.rungs:
        went = "went on" if rung.epoch < max(found.curve) else "got no further"
        cut = "" if rung.cut is None else f", cut {rung.cut:.4g}"
        yield f"rung      epoch {rung.epoch}: {rung.value:.4g}, place {rung.rank} of {rung.trials}{cut}; {went}"


def _found(found: Explanation) -> Iterator[str]:
    for kept in found.constraints:
        word = f"broken by {kept.violation:.0%}" if kept.violation else "kept"
        yield f"limit     {kept.rule}: {kept.value:.4g}, {word}"
    if found.diagnosis is not None:
        yield f"diagnosis {found.diagnosis}"
    if found.remedy is not None:
        yield f"remedy    {found.remedy}"


def _trained(found: Explanation) -> Iterator[str]:
    if found.busy_s:
        pace = "" if found.epoch_s is None else f", {found.epoch_s:.1f} s an epoch"
        money = f", {found.cost:.2f} money" if found.cost else ""
        yield f"time      {duration(found.busy_s)} on workers{pace}{money}"
    for leg in found.legs:
        lost = "; it was lost, or stopped with its search" if leg.number in found.lost else ""
        yield f"worker    {leg.number} on {leg.node}, from epoch {leg.after_epoch + 1}{lost}"
    if found.checkpoint is not None:
        yield f"weights   {found.checkpoint}"
    elif found.files is not None:
        yield f"weights   are no longer in {found.files}"
    if found.mlflow_run_id is not None:
        yield f"MLflow    run {found.mlflow_run_id}"


def curve_told(curve: Mapping[int, float], objective: str) -> str:
    """`▁▂▅█ mAP 0.01 to 0.3, highest 0.31 in epoch 6 (epochs 1 to 7)`."""
    epochs = sorted(curve)
    values = [curve[epoch] for epoch in epochs]
    finite = [value for value in values if math.isfinite(value)]
    told = f"{sparkline(values)} {metric_told(objective)} {values[0]:.4g}"
    if len(epochs) > 1:
        told += f" to {values[-1]:.4g}"
    told += f" (epoch {epochs[0]}" + (f" to {epochs[-1]})" if len(epochs) > 1 else ")")
    if not finite:
        return told
    high, low = max(finite), min(finite)
    if high == low:
        return told
    at = {curve[epoch]: epoch for epoch in reversed(epochs)}  # of equal ones the first
    return f"{told}, lowest {low:.4g} in epoch {at[low]}, highest {high:.4g} in epoch {at[high]}"


def sparkline(values: list[float]) -> str:
    """A bar for each value, from the lowest to the highest; a blank where there is no finite number."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((value - low) * scale)] if math.isfinite(value) else " " for value in values)


def _settings(found: Explanation) -> Table:
    table = Table(title="settings that the search chose", title_justify="left", title_style="")
    table.add_column("leaf")
    for column in ("trial", "default"):
        table.add_column(column, justify="right")
    for one in found.settings:
        default = "" if one.default is None else short_value(one.default)
        table.add_row(one.leaf, short_value(one.value), default, style=None if one.value != one.default else "dim")
    return table
