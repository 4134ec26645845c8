"""Two figures of a search: its best value from trial to trial, and the learning curves of all trials."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from data.storage import whole_file

HISTORY, CURVES = "optimisation_history.png", "learning_curves.png"
_QUIET, _LOUD = "#9db4cf", "#c0392b"

Curves = Mapping[int, Mapping[int, float]]  # the objective by trial and epoch


def write_plots(folder: Path, curves: Curves, objective: str, maximise: bool) -> list[Path]:
    """Draw both into a folder, of every value that is finite; the files' paths."""
    finite = {number: _finite(curve) for number, curve in curves.items()}
    shown = {number: curve for number, curve in finite.items() if curve}
    history, learning = _axes("trial", objective), _axes("epoch", objective)
    if shown:
        _draw_history(history, shown, maximise)
        _draw_curves(learning, shown, maximise)
    return [_saved(history, folder / HISTORY), _saved(learning, folder / CURVES)]


def best_so_far(curves: Curves, maximise: bool) -> list[float]:
    """The best value of any trial up to each one, in order of their numbers."""
    best = _best_values(curves, maximise)
    running = np.maximum.accumulate(best) if maximise else np.minimum.accumulate(best)
    return [float(value) for value in running]


def _draw_history(axes: Axes, curves: Curves, maximise: bool) -> None:
    numbers = sorted(curves)
    axes.scatter(numbers, _best_values(curves, maximise), s=14, color=_QUIET, label="best epoch of a trial")
    axes.step(numbers, best_so_far(curves, maximise), where="post", color=_LOUD, label="best so far")
    axes.legend(frameon=False)


def _draw_curves(axes: Axes, curves: Curves, maximise: bool) -> None:
    lines = [np.array(sorted(curve.items())) for curve in curves.values()]
    axes.add_collection(LineCollection(lines, colors=_QUIET, linewidths=0.8, alpha=0.7))
    ends = np.array([line[-1] for line in lines])
    axes.scatter(ends[:, 0], ends[:, 1], s=8, color=_QUIET)  # a trial of one epoch has no line
    sign = 1 if maximise else -1
    winner = max(curves, key=lambda number: max(sign * value for value in curves[number].values()))
    epochs, values = np.array(sorted(curves[winner].items())).T
    axes.plot(epochs, values, color=_LOUD, marker=".", label=f"trial {winner}")
    axes.legend(frameon=False)


def _best_values(curves: Curves, maximise: bool) -> list[float]:
    return [max(curve.values()) if maximise else min(curve.values()) for _, curve in sorted(curves.items())]


def _finite(curve: Mapping[int, float]) -> dict[int, float]:
    return {epoch: value for epoch, value in curve.items() if math.isfinite(value)}


def _axes(x: str, y: str) -> Axes:
    figure = Figure(figsize=(8, 4.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)
    return axes


def _saved(axes: Axes, path: Path) -> Path:
    figure = axes.get_figure(root=True)
    assert figure is not None
    with whole_file(path) as file:
        figure.savefig(file, format="png")
    return path
