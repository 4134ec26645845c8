"""What the parameters did: parallel coordinates, a panel for each, and contours."""

import math
from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from tuner.domains import Choice
from tuner.history import SearchHistory
from tuner.report.axes import fixed, height, scale
from tuner.report.contours import contours_html
from tuner.report.importance import labels
from tuner.report.reading import Read, Reading, widest
from tuner.report.section import Section, figure_html, nothing
from tuner.report.view import SCALE, WINNER, first_quantity, plain
from tuner.space import Branch
from tuner.spec.objective import Mode
from tuner.wording import short_value

ANCHOR, TITLE = "settings", "What the settings did"
_STEPS = 8  # colours of lines
_COLUMNS = 2  # of panels, which a phone can still show


def settings_section(history: SearchHistory, ranked: Sequence[Branch]) -> Section:
    """Parallel coordinates, slices, contours; all at the epoch that most trials have reached.

    Args:
        history: of the search.
        ranked: the parameters that could be judged, the most important first.
    """
    reading = widest(history)
    if reading is None or len(reading.reads) < 2:
        return Section(ANCHOR, TITLE, nothing("Fewer than two trials have reported an epoch that they share."))
    branches = [branch for branch in history.result.spec.space.branches if reading.of(branch) and not fixed(branch)]
    if not branches:
        return Section(ANCHOR, TITLE, nothing("The space has no parameter with more than one value."))
    told = f"{first_quantity(history.result).title} of {len(reading.reads)} trials after epoch {reading.epoch}"
    way = history.result.spec.file.objective.mode.told
    html = figure_html(
        _parallel(history, reading, branches),
        f"Parallel coordinates: each line is a trial through its settings, in the colour of its {told} ({way}); where "
        "lines of one colour meet on an axis, that setting matters.",
    )
    html += figure_html(
        _slices(history, reading, branches),
        f"A panel for each parameter, a point for each trial at its setting: {told}, so that no value is higher only "
        "because its trial was trained for longer; the winner's setting is orange.",
    )
    return Section(ANCHOR, TITLE, html + contours_html(history, reading, ranked, told))


def _parallel(history: SearchHistory, reading: Reading, branches: Sequence[Branch]) -> go.Figure:
    """Lines in a few colours, each colour one trace: the figure stays small, and needs no WebGL."""
    figure, named = go.Figure(), labels(history.result.spec.space)
    values = [read.value for read in reading.reads]
    low, high = min(values), max(values)
    colours = sample_colorscale(SCALE, [step / (_STEPS - 1) for step in range(_STEPS)])
    groups: list[list[Read]] = [[] for _ in colours]
    for read in reading.reads:
        groups[round((read.value - low) / ((high - low) or 1) * (_STEPS - 1))].append(read)
    order = range(_STEPS) if history.result.spec.file.objective.mode is Mode.MAX else range(_STEPS)[::-1]
    for step in order:  # the best are drawn last
        if groups[step]:
            _add_lines(figure, history, branches, groups[step], colours[step], named)
    title = first_quantity(history.result).title
    bar = {"title": {"text": title}, "thickness": 10}
    key = {
        "colorscale": SCALE,
        "cmin": low,
        "cmax": high,
        "color": [low],
        "showscale": True,
        "colorbar": bar,
        "size": 0.1,
    }
    figure.add_scatter(x=[0], y=[0], mode="markers", marker=key, hoverinfo="skip", showlegend=False)
    for place, branch in enumerate(branches):
        figure.add_vline(x=place, line={"width": 1})
        for at, text in _ends(branch):
            figure.add_annotation(
                x=place, y=at, text=plain(text), showarrow=False, font={"size": 10}, yshift=10 if at else -10
            )
    figure.update_layout(
        height=420,
        showlegend=False,
        margin={"b": 110},
        xaxis={
            "tickvals": list(range(len(branches))),
            "ticktext": [named[branch.name] for branch in branches],
            "tickangle": -40,
            "showgrid": False,
            "zeroline": False,
            "range": [-0.3, len(branches) - 0.7],
        },
        yaxis={"visible": False, "range": [-0.1, 1.1]},
    )
    return figure


def _ends(branch: Branch) -> list[tuple[float, str]]:
    domain = branch.domain
    if isinstance(domain, Choice):
        return [(height(branch, option), short_value(option)) for option in domain.options]
    return [(0.0, short_value(domain.low)), (1.0, short_value(domain.high))]


def _add_lines(
    figure: go.Figure,
    history: SearchHistory,
    branches: Sequence[Branch],
    reads: Sequence[Read],
    colour: str,
    named: dict[str, str],
) -> None:
    x: list[int | None] = []
    y: list[float | None] = []
    text: list[str | None] = []
    for read in reads:
        for place, branch in enumerate(branches):
            if branch.name in read.settings:
                setting = read.settings[branch.name]
                x.append(place)
                y.append(round(height(branch, setting), 3))
                text.append(
                    f"trial {read.trial.number}: {named[branch.name]} {plain(short_value(setting))}, {read.value:.4g}"
                )
        x.append(None)
        y.append(None)
        text.append(None)
    thin = len(history.trials) > 100
    figure.add_scatter(
        mode="lines",
        x=x,
        y=y,
        text=text,
        hovertemplate="%{text}<extra></extra>",
        line={"color": colour, "width": 0.8 if thin else 1.5},
        opacity=0.5 if thin else 0.85,
    )


def _slices(history: SearchHistory, reading: Reading, branches: Sequence[Branch]) -> go.Figure:
    named, rows = labels(history.result.spec.space), math.ceil(len(branches) / _COLUMNS)
    figure = make_subplots(
        rows, _COLUMNS, shared_yaxes=True, vertical_spacing=min(0.1, 0.5 / rows), horizontal_spacing=0.06
    )
    best = history.result.best
    for place, branch in enumerate(branches):
        row, column = place // _COLUMNS + 1, place % _COLUMNS + 1
        reads = reading.of(branch)
        chosen = isinstance(branch.domain, Choice)
        figure.add_scatter(
            mode="markers",
            x=[plain(str(read.settings[branch.name])) if chosen else read.settings[branch.name] for read in reads],
            y=[round(read.value, 6) for read in reads],
            marker={
                "size": [9 if read.trial is best else 6 for read in reads],
                "color": [WINNER if read.trial is best else "#2f80d0" for read in reads],
                "opacity": 0.8,
            },
            text=[f"trial {read.trial.number}" for read in reads],
            hovertemplate="%{text}: %{x}, %{y:.4g}<extra></extra>",
            row=row,
            col=column,
        )
        title = {"text": named[branch.name], "standoff": 4}
        figure.update_xaxes({"title": title, "tickangle": 0, **scale(branch)}, row=row, col=column)
    figure.update_yaxes(title={"text": first_quantity(history.result).title}, col=1)
    figure.update_layout(height=80 + 210 * rows, showlegend=False)
    return figure
