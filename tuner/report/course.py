"""How the search went: the values of its trials in order, and the best so far against what was spent."""

import plotly.graph_objects as go

from tuner.history import SearchHistory
from tuner.report.section import Section, figure_html, nothing
from tuner.report.spending import rise
from tuner.report.view import STATE_COLOURS, WINNER, first_quantity, hover, searched
from tuner.study.record import TrialRecord

ANCHOR, TITLE = "course", "How the search went"


def course_section(history: SearchHistory) -> Section:
    """Every trial's value, and how the best one rose over epochs and hours."""
    shown = [trial for trial in searched(history.result) if trial.best_epoch is not None]
    if not shown:
        return Section(ANCHOR, TITLE, nothing("No trial has reported a value yet."))
    quantity, way = first_quantity(history.result), history.result.spec.file.objective.mode.told
    html = figure_html(
        _by_trial(history, shown),
        f"Each point is a trial with the {quantity.title} of its best epoch ({way}) in the colour of what became of "
        "it; the line is the best so far among those that keep the constraints.",
    )
    html += figure_html(
        _spent(history),
        f"The best {quantity.title} so far against the epochs that all trials together had trained by then: a line "
        "that is flat at its end says that more of the same would have brought little.",
    )
    if rise(history).hours is None:
        html += nothing(
            "The study holds no times, so there is no curve over hours, and epochs are in the order of trials."
        )
    else:
        html += figure_html(
            _spent(history, hours=True),
            f"The best {quantity.title} so far against the hours that it ran, the time between sessions left out.",
        )
    return Section(ANCHOR, TITLE, html)


def _by_trial(history: SearchHistory, shown: list[TrialRecord]) -> go.Figure:
    result, figure = history.result, go.Figure()
    for state, colour in STATE_COLOURS.items():
        mine = [trial for trial in shown if trial.state is state]
        if mine:
            figure.add_scatter(
                mode="markers",
                name=state.value,
                x=[trial.number for trial in mine],
                y=[round(trial.values[0], 6) for trial in mine],
                marker={"color": colour, "size": 7},
                text=[hover(result, trial) for trial in mine],
                hovertemplate="%{text}<extra></extra>",
            )
    worth, best = result.spec.file.objective.worth, shown[0]
    line: list[tuple[int, float]] = []
    for trial in (one for one in shown if one.violation == 0):
        best = trial if not line or worth(trial.values) > worth(best.values) else best
        line.append((trial.number, round(best.values[0], 6)))
    if line:
        x, y = zip(*line, strict=True)
        figure.add_scatter(
            mode="lines",
            name="best so far",
            x=x,
            y=y,
            line={"shape": "hv", "color": WINNER, "width": 2},
            hoverinfo="skip",
        )
    figure.update_layout(xaxis={"title": {"text": "trial"}}, yaxis={"title": {"text": first_quantity(result).label}})
    return figure


def _spent(history: SearchHistory, *, hours: bool = False) -> go.Figure:
    found = rise(history)
    figure = go.Figure()
    figure.add_scatter(
        mode="lines+markers",
        x=found.hours if hours else found.epochs,
        y=found.best,
        line={"shape": "hv", "color": WINNER, "width": 2},
        marker={"size": 5},
        text=[f"trial {number}" for number in found.trials],
        hovertemplate="%{y:.4g} after %{x:.4g} " + ("h" if hours else "epochs") + ", %{text}<extra></extra>",
    )
    title = "time the search had run (h)" if hours else "epochs of all trials"
    figure.update_layout(
        height=320,
        showlegend=False,
        xaxis={"title": {"text": title}, "rangemode": "tozero"},
        yaxis={"title": {"text": first_quantity(history.result).label}},
    )
    return figure
