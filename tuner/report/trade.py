"""What a better detector costs: the fronts, and what the constraints cut."""

import re
import statistics
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from tuner.history import SearchHistory
from tuner.report.section import Column, Section, figure_html, nothing, paragraph, table_html
from tuner.report.view import FAINT, WINNER, hover, plain, quantity, searched
from tuner.result import SearchResult
from tuner.samplers.several import front
from tuner.spec.objective import AFTER, Constraint, Mode
from tuner.study.record import DEFAULT_TRIAL, TrialRecord

COSTS = ("energy_uj", "latency_ms", "parameters", "macs", "synops")
_BROKEN = "#a9803f"
_TOLD = re.compile(r"([a-z_0-9]+) is (\S+), must be ")


def trade_section(history: SearchHistory) -> Section:
    """The first objective against each cost that trials reported."""
    result = history.result
    pairs = _pairs(result)
    if not pairs:
        why = (
            "No trial reported a cost beside its value: an objective or a constraint on energy_uj, latency_ms or "
            "parameters has them measured."
        )
        return Section("trade", "What accuracy costs", nothing(why))
    html = paragraph(_front_told(result))
    for metric, mode in pairs:
        first, other = quantity(result.spec.file.objective.metric), quantity(metric)
        html += figure_html(
            _figure(result, metric, mode),
            f"{first.title} against {other.label}: each point is a trial at its best epoch; on the line lie those that "
            "no other one beats in both, so a choice is a choice among these.",
        )
    return Section("trade", "What accuracy costs", html)


def constraints_section(history: SearchHistory) -> Section:
    """How many trials broke each bound, and how far."""
    result = history.result
    anchor, title = "constraints", "What the constraints cut"
    if not result.spec.constraints:
        return Section(anchor, title, nothing("The search had no constraints."))
    columns = [
        Column("bound"),
        Column("checked"),
        Column("trials known", form=",d"),
        Column("trials beyond", form=",d"),
        Column("median excess", "%", ".1f"),
        Column("worst excess", "%", ".1f"),
    ]
    rows = [_bound_row(result, constraint) for constraint in result.spec.constraints]
    broken = sum(trial.violation > 0 for trial in searched(result))
    told = (
        f"{broken} of {len(searched(result))} trials broke at least one bound; the excess is in per cent of the bound."
    )
    return Section(anchor, title, paragraph(told) + table_html(columns, rows))


def excesses(result: SearchResult, constraint: Constraint) -> list[float]:
    """By how much of the bound each trial broke it, 0 where it was kept; of the trials whose value is known."""
    found = []
    for trial in searched(result):
        metrics = {**_told_metrics(trial), **(trial.metrics or {})}
        if constraint.metric in metrics:
            found.append(constraint.violation(metrics))
    return found


def _bound_row(result: SearchResult, constraint: Constraint) -> list[str | int | float | None]:
    known = excesses(result, constraint)
    beyond = [100 * excess for excess in known if excess > 0]
    return [
        f"{constraint} {quantity(constraint.metric).unit}",
        "after each epoch" if constraint.metric in AFTER else "before training, or as reported",
        len(known),
        len(beyond),
        statistics.median(beyond) if beyond else None,
        max(beyond, default=None),
    ]


def _told_metrics(trial: TrialRecord) -> dict[str, float]:
    """What a trial said it broke, that ended before its first report."""
    found = {}
    for metric, text in _TOLD.findall(trial.error or ""):
        try:
            found[metric] = float(text)
        except ValueError:
            continue  # the error is about something else
    return found


def _pairs(result: SearchResult) -> list[tuple[str, Mode]]:
    """The metrics to set against the first objective, and which way each is better."""
    objective = result.spec.file.objective
    pairs = list(zip(objective.metrics[1:], objective.modes[1:], strict=True))
    known = {name for trial in searched(result) for name in (trial.metrics or {})}
    asked = {constraint.metric for constraint in result.spec.constraints}
    told = [name for name in COSTS if name in known and (name in asked or name != "macs")]
    return pairs + [(name, Mode.MIN) for name in told if name not in objective.metrics]


def _front_told(result: SearchResult) -> str:
    objective = result.spec.file.objective
    if not objective.also:
        return "The search had one objective; the costs below were measured beside it."
    numbers = ", ".join(str(trial.number) for trial in result.front)
    return f"Objectives: {', '.join(objective.metrics)}. Trials on the front over all of them: {numbers}."


def _figure(result: SearchResult, metric: str, mode: Mode) -> go.Figure:
    objective = result.spec.file.objective
    trials = [t for t in searched(result) if t.metrics is not None and metric in t.metrics and t.best_epoch is not None]
    kept = [trial for trial in trials if trial.violation == 0]
    points = [(objective.worth(trial.values), mode.sign * (trial.metrics or {})[metric]) for trial in kept]
    best = {kept[k].number for k in front(np.array(points))} if kept else set()
    figure = go.Figure()
    line = sorted((t for t in kept if t.number in best), key=lambda trial: (trial.metrics or {})[metric])
    _add(figure, result, metric, [t for t in trials if t.violation > 0], "breaks a constraint", _BROKEN, "x")
    _add(figure, result, metric, [t for t in kept if t.number not in best], "beaten", FAINT, "circle")
    _add(figure, result, metric, line, "on the front", WINNER, "circle", mode="markers+lines")
    for trial in trials:
        if trial.number == DEFAULT_TRIAL:
            figure.add_annotation(x=(trial.metrics or {})[metric], y=trial.values[0], text="default", ax=28, ay=22)
    for constraint in result.spec.constraints:
        if constraint.metric == metric:
            figure.add_vline(x=constraint.bound, line={"dash": "dash", "width": 1})
            figure.add_annotation(
                x=constraint.bound, y=0, yref="paper", text="bound", showarrow=False, xanchor="left", yanchor="bottom"
            )
    figure.update_layout(
        height=380,
        xaxis={"title": {"text": plain(quantity(metric).label)}},
        yaxis={"title": {"text": quantity(objective.metric).label}},
    )
    return figure


def _add(
    figure: go.Figure,
    result: SearchResult,
    metric: str,
    trials: Sequence[TrialRecord],
    name: str,
    colour: str,
    symbol: str,
    mode: str = "markers",
) -> None:
    if trials:
        figure.add_scatter(
            mode=mode,
            name=name,
            x=[float(f"{(trial.metrics or {})[metric]:.6g}") for trial in trials],
            y=[round(trial.values[0], 6) for trial in trials],
            marker={"color": colour, "symbol": symbol, "size": 7},
            line={"shape": "hv", "width": 1.5},
            text=[hover(result, t, [quantity(metric).told((t.metrics or {})[metric])]) for t in trials],
            hovertemplate="%{text}<extra></extra>",
        )
