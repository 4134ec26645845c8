"""A figure of an evaluation: precision against recall, reliability of the scores, and the confusion matrix."""

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from data.storage import whole_file
from model.evaluation.calibration import BINS, SCORE_FLOOR
from model.evaluation.coco import RECALL_POINTS
from model.evaluation.confusion import OVERLAP, SCORE
from model.evaluation.protocol import Evaluation

DPI = 110


def write_curves(evaluation: Evaluation, path: Path) -> None:
    """Draw an evaluation as a PNG of four panels, replacing what was there at the end."""
    figure = Figure(figsize=(13, 10), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 2)
    _precision_recall(panels[0, 0], evaluation, 0, "IoU 0.50")
    _precision_recall(panels[0, 1], evaluation, 5, "IoU 0.75")
    _reliability(panels[1, 0], evaluation)
    _confusion(panels[1, 1], evaluation)
    with whole_file(path) as file:
        figure.savefig(file, format="png")


def _precision_recall(axes: Axes, evaluation: Evaluation, threshold: int, title: str) -> None:
    # tab10 has ten colours apart; the classes beyond go round again, dashed.
    colours = colormaps["tab10"]
    for number, (name, curve) in enumerate(
        zip(evaluation.label_set.classes, evaluation.overall.curves[:, threshold], strict=True)
    ):
        if not np.isnan(curve[0]):
            style = "-" if number < 10 else "--"
            axes.plot(RECALL_POINTS, curve, style, color=colours(number % 10), label=f"{name}  {curve.mean():.3f}")
    agnostic = evaluation.agnostic.curves[0, threshold]
    if not np.isnan(agnostic[0]):
        axes.plot(RECALL_POINTS, agnostic, ":", color="black", label=f"class-agnostic  {agnostic.mean():.3f}")
        axes.legend(title="AP", fontsize="small", loc="best")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title=f"Precision and recall at {title}")
    axes.grid(alpha=0.3)


def _reliability(axes: Axes, evaluation: Evaluation) -> None:
    measured = evaluation.calibration
    filled = measured.counts > 0
    centres = (np.flatnonzero(filled) + 0.5) / BINS
    axes.bar(centres, measured.precision[filled], width=0.96 / BINS, color="tab:blue", alpha=0.8, label="precision")
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", label="perfectly calibrated")
    axes.plot(measured.confidence[filled], measured.precision[filled], "o", color="black", ms=4, label="mean score")
    for centre, precision, count in zip(centres, measured.precision[filled], measured.counts[filled], strict=True):
        axes.annotate(_short(int(count)), (centre, precision), (0, 4), "data", "offset points", ha="center", fontsize=7)
    error = "undefined" if np.isnan(measured.error) else f"{measured.error:.3f}"
    axes.set(
        xlabel=f"score (from {SCORE_FLOOR} on)", ylabel="share of boxes that are right", xlim=(0, 1), ylim=(0, 1.08)
    )
    axes.set_title(f"Reliability: expected calibration error {error}")
    axes.legend(fontsize="small", loc="upper left")


def _confusion(axes: Axes, evaluation: Evaluation) -> None:
    """Counts, coloured by their share of the row; nobody asks for a background that is found as background."""
    matrix = evaluation.confusion
    names = matrix.as_dict(evaluation.label_set.classes)["classes"]
    totals = matrix.counts.sum(axis=1, keepdims=True)
    shares = matrix.counts / np.maximum(totals, 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(*matrix.counts.shape):
        if matrix.counts[row, column]:
            colour = "white" if shares[row, column] > 0.6 else "black"
            axes.text(
                column, row, _short(int(matrix.counts[row, column])), ha="center", va="center", color=colour, fontsize=8
            )
    axes.set_xticks(range(len(names)), [*names[:-1], "missed"], rotation=40, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set(xlabel="found", ylabel="true", title=f"Confusion at score {SCORE}, IoU {OVERLAP}; shade: share of the row")


def _short(count: int) -> str:
    return str(count) if count < 10_000 else f"{count / 1000:.0f}k"
