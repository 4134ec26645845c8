"""Histograms of a dataset: its boxes, their sizes, the rates of its recordings, and when they are labelled."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from data.storage import whole_file
from data.summary import DatasetSummary

SPLIT_COLOURS = {"train": "#3465a4", "val": "#e08a1e", "test": "#4e9a06"}
BINS = 40
MOST_RECORDINGS = 60  # bars that can still be told apart; of more, the spread is shown


def write_histograms(summary: DatasetSummary, path: Path) -> None:
    """Draw a dataset's histograms as one .png, replacing what was there at the end."""
    figure = Figure(figsize=(13, 8.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2)
    _boxes_by_class(axes[0, 0], summary)
    _box_sizes(axes[0, 1], summary)
    _rates(axes[1, 0], summary)
    _labels_over_time(axes[1, 1], summary)
    for axis in axes.flat:
        axis.yaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))  # everything here is counted
        axis.yaxis.set_major_formatter(EngFormatter(sep=""))
        axis.margins(y=0.15)  # for the legend and the numbers above bars
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", alpha=0.25)
        axis.set_axisbelow(True)
    total = summary.total
    figure.suptitle(
        f"{Path(summary.location).name}: {len(total.recordings)} recordings at {summary.width}x{summary.height}, "
        f"{total.events:,} events, {int(total.boxes.sum()):,} boxes"
    )
    with whole_file(path) as file:
        figure.savefig(file, format="png")


def _boxes_by_class(axis: Axes, summary: DatasetSummary) -> None:
    places = np.arange(len(summary.classes))
    crowd = len(places) * len(summary.splits)
    width = 0.8 / len(summary.splits)
    for row, split in enumerate(summary.splits):
        shifted = places + (row - (len(summary.splits) - 1) / 2) * width
        bars = axis.bar(shifted, split.boxes, width, label=split.name, color=SPLIT_COLOURS[split.name])
        if crowd <= 30:
            turn = 90 if crowd > 10 else 0
            axis.bar_label(bars, fmt=lambda count: f"{count:,.0f}", fontsize=7, rotation=turn, padding=2)
    axis.set_xticks(places, summary.classes, rotation=0 if len(places) <= 4 else 30, ha="center")
    axis.set_xlim(min(-0.5, len(places) / 2 - 2), max(len(places) - 0.5, len(places) / 2 + 1))
    axis.set_ylabel("boxes")
    axis.set_title("boxes by class and split")
    axis.legend(frameon=False)


def _box_sizes(axis: Axes, summary: DatasetSummary) -> None:
    title = "box sizes: root of the area"
    recordings = summary.total.recordings
    sides = np.concatenate([recording.sides for recording in recordings])
    classes = np.concatenate([recording.classes for recording in recordings])
    classes, sides = classes[sides > 0], sides[sides > 0]
    if not len(sides):
        _empty(axis, title, "no boxes")
        return
    edges = _log_edges(sides)
    shown = [k for k in range(len(summary.classes)) if (classes == k).any()]
    names = [summary.classes[k] for k in shown]
    axis.hist(
        [sides[classes == k] for k in shown],
        edges.tolist(),
        stacked=True,
        label=names,
        color=_colours(shown, len(summary.classes)),
    )
    axis.set_xscale("log")
    ticks = [float(side) for side in 2 ** np.arange(0, 12) if edges[0] <= side <= edges[-1]]
    axis.set_xticks(ticks, [f"{side:.0f}" for side in ticks])
    axis.minorticks_off()
    axis.set_xlabel("px of the sensor")
    axis.set_ylabel("boxes")
    axis.set_title(title)
    axis.legend(frameon=False, fontsize=8)


def _rates(axis: Axes, summary: DatasetSummary) -> None:
    axis.set_title("event rate of each recording")
    recordings = summary.total.recordings
    if len(recordings) <= MOST_RECORDINGS:
        colours = [SPLIT_COLOURS[recording.split] for recording in recordings]
        axis.bar(range(len(recordings)), [recording.rate for recording in recordings], color=colours)
        few = len(recordings) <= 25
        names = [recording.name for recording in recordings] if few else []
        axis.set_xticks(range(len(names)), names, rotation=60 if len(names) > 8 else 20, ha="right", fontsize=7)
        axis.set_ylabel("events a second")
        return
    edges = _log_edges(np.array([recording.rate for recording in recordings]))
    rates = [[recording.rate for recording in split.recordings] for split in summary.splits]
    _stack_splits(axis, rates, edges, summary)
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.set_xlabel("events a second")
    axis.set_ylabel("recordings")
    axis.legend(frameon=False)


def _stack_splits(
    axis: Axes,
    values: Sequence[Sequence[float] | npt.NDArray[np.float64]],
    edges: npt.NDArray[np.float64],
    summary: DatasetSummary,
) -> None:
    """A histogram of each split's values, one on top of the other."""
    names = [split.name for split in summary.splits]
    axis.hist(list(values), edges.tolist(), stacked=True, label=names, color=[SPLIT_COLOURS[name] for name in names])


def _labels_over_time(axis: Axes, summary: DatasetSummary) -> None:
    title = "labels over the recordings' time"
    recordings = summary.total.recordings
    times_s = np.concatenate([recording.boxes_us for recording in recordings]) / 1e6
    if not len(times_s):
        _empty(axis, title, "no labels")
        return
    intervals_s = np.concatenate([recording.intervals_us() for recording in recordings]) / 1e6
    edges = _time_edges(times_s, float(np.median(intervals_s)) if len(intervals_s) else 0.0)
    by_split = [
        np.concatenate([recording.boxes_us for recording in split.recordings]) / 1e6 for split in summary.splits
    ]
    _stack_splits(axis, by_split, edges, summary)
    axis.set_xlabel(f"s since the recording's start{_told_intervals(intervals_s)}")
    axis.set_ylabel("boxes")
    axis.set_title(title)


def _time_edges(times_s: npt.NDArray[np.float64], interval_s: float) -> npt.NDArray[np.float64]:
    """Edges of bins between label times, each as many intervals wide: of now 4, now 5 labels in a bin nobody learns."""
    first, last = float(times_s.min()), float(times_s.max())
    count = (last - first) / interval_s + 1 if interval_s > 0 else 0
    if count < BINS:
        return np.linspace(0, max(last, 1e-3), BINS + 1)
    width = interval_s * np.ceil(count / BINS)
    return np.asarray(first - interval_s / 2 + width * np.arange(np.ceil(count * interval_s / width) + 1))


def _told_intervals(intervals_s: npt.NDArray[np.float64]) -> str:
    if not len(intervals_s):
        return ""
    low, middle, high = (f"{value:.4g}" for value in np.percentile(intervals_s * 1000, [5, 50, 95]))
    spread = f" (5 to 95 %: {low} to {high} ms)" if low != high else ""
    return f"; a label every {middle} ms{spread}"


def _log_edges(values: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Edges of bins evenly spaced in the logarithm, a little wider than the values."""
    return np.geomspace(float(values.min()) / 1.1, float(values.max()) * 1.1, BINS + 1)


def _colours(shown: Sequence[int], classes: int) -> list[tuple[float, float, float, float]]:
    """Colours of classes, the same whichever are shown, and none of them a split's."""
    return [colormaps["turbo"]((k + 0.7) / classes) for k in shown]


def _empty(axis: Axes, title: str, told: str) -> None:
    axis.set_title(title)
    axis.set_axis_off()
    axis.text(0.5, 0.5, told, transform=axis.transAxes, ha="center", va="center")
