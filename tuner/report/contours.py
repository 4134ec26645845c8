"""Contours over pairs of the parameters that decided."""

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from markupsafe import Markup
from scipy.interpolate import griddata

from tuner.domains import Choice
from tuner.history import SearchHistory
from tuner.report.axes import height, scale, unscaled
from tuner.report.importance import labels
from tuner.report.reading import ENOUGH, Reading
from tuner.report.section import figure_html, nothing
from tuner.report.view import SCALE, first_quantity, hover
from tuner.space import Branch

_GRID = 30  # cells along each side
_MOST = 3  # parameters that are paired


def contours_html(history: SearchHistory, reading: Reading, ranked: Sequence[Branch], told: str) -> Markup:
    """Figures of all pairs, or why there are none."""
    if len(reading.reads) < ENOUGH:
        return nothing(
            f"Contours need {ENOUGH} trials at one epoch; {len(reading.reads)} have reached epoch {reading.epoch}."
        )
    numeric = [b for b in ranked if not isinstance(b.domain, Choice) and not b.when][:_MOST]
    if len(numeric) < 2:
        return nothing(
            "Contours need two numeric parameters without conditions; the space has fewer that could be judged."
        )
    pairs = [(a, b) for k, a in enumerate(numeric) for b in numeric[k + 1 :]]
    drawn = [figure for pair in pairs if (figure := _contour(history, reading, *pair)) is not None]
    says = (
        f"Contours of two parameters that decided: {told}, drawn between the trials (points), and nowhere beyond them."
    )
    return Markup("").join(figure_html(figure, says) for figure in drawn)


def _contour(history: SearchHistory, reading: Reading, across: Branch, up: Branch) -> go.Figure | None:
    """The values between the trials, linear over their triangles; None where the points lie on a line."""
    named = labels(history.result.spec.space)
    reads = [read for read in reading.reads if across.name in read.settings and up.name in read.settings]
    points = np.array([[height(across, r.settings[across.name]), height(up, r.settings[up.name])] for r in reads])
    if len(reads) < ENOUGH or np.linalg.matrix_rank(points - points.mean(0)) < 2:
        return None
    side = np.linspace(0, 1, _GRID)
    values = griddata(points, [read.value for read in reads], (side[None, :], side[:, None]), method="linear")
    rounded = [[None if math.isnan(value) else round(float(value), 4) for value in line] for line in values]
    title = first_quantity(history.result).title
    figure = go.Figure(
        go.Contour(
            x=unscaled(across, side),
            y=unscaled(up, side),
            z=rounded,
            colorscale=SCALE,
            line={"width": 0.5},
            colorbar={"title": {"text": title}, "thickness": 10},
            hovertemplate=f"{named[across.name]} %{{x:.3g}}, {named[up.name]} %{{y:.3g}}: %{{z:.3g}}<extra></extra>",
        )
    )
    figure.add_scatter(
        mode="markers",
        x=[read.settings[across.name] for read in reads],
        y=[read.settings[up.name] for read in reads],
        marker={"size": 6, "color": "#ffffff", "line": {"width": 1, "color": "#1c2330"}},
        text=[hover(history.result, read.trial) for read in reads],
        hovertemplate="%{text}<extra></extra>",
        showlegend=False,
    )
    figure.update_layout(
        height=380,
        xaxis={"title": {"text": named[across.name]}, **scale(across)},
        yaxis={"title": {"text": named[up.name]}, **scale(up)},
    )
    return figure
