"""Statistics of a recording's boxes: what is wrong with each, and how its label times lie."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data.boxes import Boxes, clip
from data.errors import RecordingError
from data.events import SensorSize
from data.formats.numpy_file import read_array

WINDOW_US = 50_000  # the usual window: a label this long after the last event still sees some
STEADY = 0.1  # of the median step: cameras and annotators keep time far better
GAP_STEPS = 10  # median steps; an object that leaves and another that comes take that long
GAP_LEAST_US = 1_000_000  # shorter stretches without labels are common where nothing moves
TABLE_ENDING = "_bbox.npy"


@dataclass(frozen=True, slots=True)
class LabelTimes:
    """How the times at which a recording is labelled lie."""

    count: int = 0
    rate: float | None = None  # label times a second, by the median step; None with fewer than two
    irregular_share: float = 0.0  # of the steps, those more than STEADY off the median
    gaps: int = 0  # stretches of GAP_STEPS median steps and GAP_LEAST_US without a label
    longest_gap_us: int = 0
    longest_gap_at_us: int = 0  # the label before it


@dataclass(frozen=True, slots=True)
class BoxAudit:
    """What a recording's boxes are like."""

    boxes: int = 0  # in the dataset's classes, not clipped
    left_out: int = 0  # of classes the dataset has not
    zero_size: int = 0
    cut: int = 0
    outside: int = 0  # nothing of them lies inside the frame, though they have a size
    duplicates: int = 0
    falling_times: int = 0  # rows of the box file whose time is before that of the row above
    without_events: int = 0
    early: int = 0  # boxes before the first event
    late: int = 0  # boxes WINDOW_US and more after the last
    first_us: int | None = None
    last_us: int | None = None
    times: LabelTimes = field(default_factory=LabelTimes)
    classes: tuple[int, ...] = ()  # boxes of each class of the dataset
    source_classes: tuple[int, ...] = ()  # boxes of each class of the files
    windows: int = 0  # of WINDOW_US, from the first event to the last
    empty_windows: int = 0  # without a label inside


@dataclass(frozen=True, slots=True)
class RawTable:
    """What only the rows of a box table tell: reading it sorts the rows and refuses strange classes."""

    falling_times: int = 0
    classes: tuple[int, ...] = ()  # those that occur


def audit_boxes(
    boxes: Boxes, size: SensorSize, classes: int, span_us: tuple[int, int], lively: npt.NDArray[np.bool_]
) -> BoxAudit:
    """Count what is wrong with boxes.

    Args:
        boxes: in time order, not clipped.
        size: of the sensor.
        classes: of the dataset.
        span_us: times of the first and the last event.
        lively: [N] whether an event lay in each box shortly before its time.
    """
    _, cut, dropped = clip(boxes, size)
    zero_size = int(np.count_nonzero((boxes.xywh[:, 2:] <= 0).any(axis=1)))
    windows, empty = _windows(boxes.times(), span_us)
    first_us, last_us = span_us
    return BoxAudit(
        boxes=len(boxes),
        zero_size=zero_size,
        cut=cut,
        outside=dropped - zero_size,
        duplicates=duplicates(boxes),
        without_events=int(np.count_nonzero(~lively & (boxes.t >= first_us) & (boxes.t < last_us + WINDOW_US))),
        early=int(np.count_nonzero(boxes.t < first_us - WINDOW_US)),
        late=int(np.count_nonzero(boxes.t >= last_us + WINDOW_US)),
        first_us=int(boxes.t[0]) if len(boxes) else None,
        last_us=int(boxes.t[-1]) if len(boxes) else None,
        times=label_times(boxes.times()),
        classes=tuple(np.bincount(boxes.class_id, minlength=classes).tolist()),
        windows=windows,
        empty_windows=empty,
    )


def label_times(times: npt.NDArray[np.int64]) -> LabelTimes:
    """How label times [N] µs, each once and in order, lie."""
    steps = np.diff(times)
    if not len(steps):
        return LabelTimes(len(times))
    median = float(np.median(steps))
    longest = int(np.argmax(steps))
    gaps = int(np.count_nonzero(steps >= max(GAP_STEPS * median, GAP_LEAST_US)))
    return LabelTimes(
        count=len(times),
        rate=1e6 / median,
        irregular_share=float(np.mean(np.abs(steps - median) > STEADY * median)),
        gaps=gaps,
        longest_gap_us=int(steps[longest]),
        longest_gap_at_us=int(times[longest]),
    )


def duplicates(boxes: Boxes) -> int:
    """Boxes that repeat another: of the same track at the same time, or the same in time, class and place."""
    if not len(boxes):
        return 0
    tracks = np.stack([boxes.t, boxes.track_id], axis=1)
    # Where a tool knows no tracks, it writes one number everywhere; then only the place tells boxes apart.
    tracked = len(np.unique(boxes.track_id)) > 1
    places = np.concatenate([np.stack([boxes.t, boxes.class_id], axis=1), boxes.xywh.view(np.int32)], axis=1)
    again = _repeats(places)
    if tracked:
        again |= _repeats(tracks)
    return int(np.count_nonzero(again))


def raw_table(files: Sequence[Path]) -> RawTable:
    """What the rows of the box table among these files tell; nothing if there is none, or it cannot be read.

    The table's reader is the one to say what is wrong with a file that cannot be read.
    """
    for path in files:
        if path.name.endswith(TABLE_ENDING):
            try:
                table = read_array(path, mapped=True)
            except RecordingError:
                return RawTable()
            names = table.dtype.names or ()
            time = next((name for name in ("t", "ts") if name in names), None)
            falls = int(np.count_nonzero(table[time][1:] < table[time][:-1])) if time else 0
            classes = np.unique(table["class_id"]).tolist() if "class_id" in names else []
            return RawTable(falls, tuple(int(number) for number in classes))
    return RawTable()


def _windows(times: npt.NDArray[np.int64], span_us: tuple[int, int]) -> tuple[int, int]:
    """Windows from the first event to the last, and those of them without a label."""
    first_us, last_us = span_us
    windows = -(-(last_us - first_us + 1) // WINDOW_US)
    inside = times[(times >= first_us) & (times <= last_us)]
    return windows, windows - len(np.unique((inside - first_us) // WINDOW_US))


def _repeats(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which rows are equal to one before them."""
    _, first = np.unique(rows, axis=0, return_index=True)
    again = np.ones(len(rows), np.bool_)
    again[first] = False
    return again
