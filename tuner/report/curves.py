"""Learning curves, with the rungs at which the scheduler compared trials and what ended each of them."""

from collections.abc import Sequence

import plotly.graph_objects as go

from tuner.assembly import scheduler_of
from tuner.history import SearchHistory
from tuner.report.section import Section, figure_html, nothing
from tuner.report.view import STATE_COLOURS, STATE_MARKS, WINNER, first_quantity, hover
from tuner.result import SearchResult
from tuner.schedulers.names import SchedulerName
from tuner.spec.search_spec import SearchSpec
from tuner.study.record import TrialRecord, TrialState

ANCHOR, TITLE = "curves", "Learning curves"
_MANY = 60  # trials from which lines are thin


def curves_section(history: SearchHistory) -> Section:
    """A line for each trial, the winner's in front."""
    result = history.result
    shown = [trial for trial in result.trials if trial.curve]
    if not shown:
        return Section(ANCHOR, TITLE, nothing("No trial has reported an epoch yet."))
    rungs = compared_at(result.spec)
    says = (
        f"{first_quantity(result).title} after each epoch, a line for each trial in the colour of what became of it, "
        f"the winner's thick; the mark at its end tells why it ended. {_told(result.spec, rungs)}"
    )
    return Section(ANCHOR, TITLE, figure_html(_figure(result, shown, rungs), says))


def compared_at(spec: SearchSpec) -> tuple[int, ...]:
    """The epochs after which the scheduler compares trials, of all its brackets; those it names, not every one."""
    return tuple(sorted({rung.epoch for rung in scheduler_of(spec).rungs() if rung.epoch < spec.file.budget.epochs}))


def _told(spec: SearchSpec, rungs: Sequence[int]) -> str:
    name, grace = spec.file.scheduler.name, spec.file.scheduler.grace
    if rungs:
        return f"Dotted lines are the rungs of the scheduler '{name.value}', after epochs {', '.join(map(str, rungs))}."
    if name is SchedulerName.MEDIAN:
        return f"The median rule stops a trial after any epoch from {grace} on."
    if name is SchedulerName.PBT:
        return f"Every {grace} epochs the population loses its worst, whose places go to heirs of its best."
    return "The search had no scheduler that stops trials." if name is SchedulerName.NONE else "There were no rungs."


def _figure(result: SearchResult, shown: Sequence[TrialRecord], rungs: Sequence[int]) -> go.Figure:
    figure, winner = go.Figure(), result.best
    for state, colour in STATE_COLOURS.items():
        mine = [trial for trial in shown if trial.state is state and trial is not winner]
        if mine:
            _add_lines(figure, mine, state.value, colour, wide=len(shown) < _MANY)
            _add_ends(figure, result, mine, state, colour)
    if winner is not None and winner.curve:
        _add_lines(figure, [winner], f"winner, trial {winner.number}", WINNER, wide=True, width=3)
        _add_ends(figure, result, [winner], winner.state, WINNER)
    for epoch in rungs:
        figure.add_vline(x=epoch, line={"dash": "dot", "width": 1})
        figure.add_annotation(
            x=epoch, y=1, yref="paper", text=f"rung {epoch}", showarrow=False, xanchor="left", yanchor="top"
        )
    figure.update_layout(
        height=460,
        hovermode="closest",
        xaxis={"title": {"text": "epoch"}, "rangemode": "tozero"},
        yaxis={"title": {"text": first_quantity(result).label}},
    )
    return figure


def _add_lines(
    figure: go.Figure, trials: Sequence[TrialRecord], name: str, colour: str, *, wide: bool, width: float = 1.4
) -> None:
    """All lines of a colour as one trace with breaks: a thousand traces would take a browser half a minute."""
    x: list[int | None] = []
    y: list[float | None] = []
    numbers: list[int | None] = []
    for trial in trials:
        epochs = sorted(trial.curve)
        x += [*epochs, None]
        y += [*(round(trial.curve[epoch][0], 5) for epoch in epochs), None]
        numbers += [*([trial.number] * len(epochs)), None]
    figure.add_scatter(
        mode="lines",
        name=name,
        legendgroup=name,
        x=x,
        y=y,
        customdata=numbers,
        opacity=1.0 if width > 2 else 0.75 if wide else 0.35,
        line={"color": colour, "width": width if wide else 0.8},
        hovertemplate="trial %{customdata}, epoch %{x}: %{y:.4g}<extra></extra>",
    )


def _add_ends(
    figure: go.Figure, result: SearchResult, trials: Sequence[TrialRecord], state: TrialState, colour: str
) -> None:
    figure.add_scatter(
        mode="markers",
        name=f"{state.value}: end",
        legendgroup=state.value,
        showlegend=False,
        x=[max(trial.curve) for trial in trials],
        y=[round(trial.curve[max(trial.curve)][0], 5) for trial in trials],
        marker={"color": colour, "symbol": STATE_MARKS[state], "size": 8},
        text=[hover(result, trial) for trial in trials],
        hovertemplate="%{text}<extra></extra>",
    )
