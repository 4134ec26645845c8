"""An ablation as a picture: each line's score with its interval, what differs significantly in colour."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from data.storage import whole_file
from tuner.ablation.cells import TITLES
from tuner.ablation.table import Line, Table

_QUIET, _BETTER, _WORSE = "#9db4cf", "#2e7d4f", "#c0392b"


def write_figure(tables: Sequence[Table], objective: str, title: str, path: Path) -> None:
    """Draw all tables side by side as one .png."""
    longest = max(len(table.lines) for table in tables)
    figure = Figure(figsize=(7.5 * len(tables), 1.8 + 0.36 * longest), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    plots = figure.subplots(1, len(tables), squeeze=False, sharex=True)[0]
    for axes, table in zip(plots, tables, strict=True):
        _draw(axes, table, objective)
    figure.suptitle(f"{title}: mean of the seeds, with its 95 % interval")
    with whole_file(path) as file:
        figure.savefig(file, format="png")


def _draw(axes: Axes, table: Table, objective: str) -> None:
    known = [(place, line) for place, line in enumerate(table.lines) if line.means]
    for place, line in known:
        mean = line.means[objective]
        margin = np.nan_to_num(mean.margin)
        axes.errorbar(mean.value, place, xerr=margin, fmt="o", color=_colour(line), capsize=3, markersize=5)
    axes.set_yticks(range(len(table.lines)), [line.name for line in table.lines])
    axes.set_ylim(len(table.lines) - 0.5, -0.5)
    axes.set_xlabel(objective)
    axes.set_title(f"{TITLES[table.design]}\n(green, red: the improvement helps, hurts significantly)", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.25)
    axes.set_axisbelow(True)


def _colour(line: Line) -> str:
    if line.gain is None or not line.gain.significant:
        return _QUIET
    return _BETTER if line.gain.difference.value > 0 else _WORSE
