"""The front of several objectives as a picture: the first one against each of the others."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from data.storage import whole_file
from tuner.result import SearchResult
from tuner.study.record import DEFAULT_TRIAL, TrialKind, TrialRecord

FRONT = "front.png"
_QUIET, _LOUD, _BROKEN = "#9db4cf", "#c0392b", "#b0b0b0"


def write_front(result: SearchResult) -> Path | None:
    """Draw the front into the search's folder; None if there is one objective alone, or nothing to draw yet."""
    names = result.spec.file.objective.metrics
    shown = [t for t in result.trials if t.origin.kind is TrialKind.SEARCH and t.best_epoch is not None]
    if len(names) < 2 or not shown:
        return None
    figure = Figure(figsize=(5.5 * (len(names) - 1), 4.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    plots = figure.subplots(1, len(names) - 1, squeeze=False)[0]
    for place, axes in enumerate(plots, start=1):
        _draw(axes, result, shown, place)
    path = result.folder / FRONT
    with whole_file(path) as file:
        figure.savefig(file, format="png")
    return path


def _draw(axes: Axes, result: SearchResult, shown: Sequence[TrialRecord], place: int) -> None:
    front = {trial.number for trial in result.front}
    groups = (
        ("beaten in everything", [t for t in shown if t.number not in front and t.violation == 0], _QUIET, "o"),
        ("breaks a constraint", [t for t in shown if t.violation > 0], _BROKEN, "x"),
        ("front", [t for t in shown if t.number in front], _LOUD, "o"),
    )
    for label, trials, colour, marker in groups:
        points = [_point(trial, place) for trial in trials]
        if points:
            x, y = zip(*points, strict=True)
            axes.scatter(x, y, s=26, color=colour, marker=marker, label=label)
    default = next((trial for trial in shown if trial.number == DEFAULT_TRIAL), None)
    if default is not None:
        axes.annotate("default", _point(default, place), xytext=(6, -10), textcoords="offset points", fontsize=8)
    objective = result.spec.file.objective
    for constraint in result.spec.constraints:
        if constraint.metric == objective.metrics[place]:
            axes.axvline(constraint.bound, color=_BROKEN, linestyle="--", linewidth=1, label=str(constraint))
    axes.set_xlabel(f"{objective.metrics[place]} ({objective.modes[place].told})")
    axes.set_ylabel(f"{objective.metrics[0]} ({objective.modes[0].told})")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=8)


def _point(trial: TrialRecord, place: int) -> tuple[float, float]:
    return trial.values[place], trial.values[0]
