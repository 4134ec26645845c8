"""Labels at the times of a window's steps: a track's boxes joined in time, and what nothing is known about."""

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from data.boxes import Boxes
from data.windows import Window

Times = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int64]

_NONE = -1  # no such row
_NEVER_US = 1 << 60  # further off than any time


def step_times(window: Window, time_steps: int) -> Times:
    """The last microsecond [T] of each of a window's equal steps: what a step has seen is known at its end."""
    span_us = window.end_us - window.start_us
    # An event at s belongs to step floor(s * T / span), so step k ends before ceil((k + 1) * span / T).
    ends = -(-np.arange(1, time_steps + 1, dtype=np.int64) * span_us // time_steps)
    return window.start_us + ends - 1


@dataclass(frozen=True, slots=True)
class StepBoxes:
    """The boxes at T asked times, by time; those of one time in the labels' order."""

    boxes: Boxes  # N; t is the asked time
    step: npt.NDArray[np.int64]  # [N] which of the asked times
    labelled: npt.NDArray[np.bool_]  # [T] False: nothing is known about that time, so a loss must leave it out


class TrackIndex:
    """The labels of one recording, ready to be asked for any time."""

    def __init__(self, boxes: Boxes) -> None:
        """Index boxes in time order; of a track labelled twice at one time the first label counts."""
        by_track = np.lexsort((boxes.t, boxes.track_id))  # stable: labels of one track and time keep their order
        repeated = (np.diff(boxes.t[by_track]) == 0) & (np.diff(boxes.track_id[by_track]) == 0)
        kept = np.ones(len(boxes), bool)
        kept[by_track[1:][repeated]] = False
        self._boxes = boxes.take(kept)
        self._times = self._boxes.times()
        self._previous, self._next = _neighbours(self._boxes)

    def at(self, times_us: Times, label_gap_us: int, tolerance_us: int) -> StepBoxes:
        """The boxes at these times [T].

        A track with labels on both sides, at most `label_gap_us` apart, lies on the straight line between them, and
        has the class of the nearer (the earlier, of two as near). At a label's own time it has the label's numbers to
        the bit. Where no line leads through the time, the labels of the recording's nearest label time (the earlier, of
        two as near) count as they are, if it is within `tolerance_us`: a track that they leave out is absent.

        A time is labelled if it lies between two label times of the recording at most `label_gap_us` apart, or at
        most `tolerance_us` from one: there, a track without a box is known to be absent.
        """
        boxes = self._boxes
        times_us = np.asarray(times_us, np.int64)
        nearest = _nearest(self._times, times_us)
        first, second, step = _rows_at(
            boxes.t, self._previous, self._next, times_us, nearest, label_gap_us, tolerance_us
        )
        t = times_us[step]
        xywh, nearer = _between(boxes.t, boxes.xywh, first, second, t)
        found = Boxes(t, xywh, boxes.class_id[nearer], boxes.track_id[nearer])
        return StepBoxes(found, step, _labelled(self._times, times_us, label_gap_us, tolerance_us))


def _neighbours(boxes: Boxes) -> tuple[Rows, Rows]:
    """The row [N] of each label's track before and after it; -1 where there is none."""
    previous, following = np.full((2, len(boxes)), _NONE, np.int64)
    by_track = np.lexsort((boxes.t, boxes.track_id))
    same = boxes.track_id[by_track[1:]] == boxes.track_id[by_track[:-1]]
    previous[by_track[1:][same]] = by_track[:-1][same]
    following[by_track[:-1][same]] = by_track[1:][same]
    return previous, following


@numba.njit(cache=True, nogil=True)
def _rows_at(
    t: Times, previous: Rows, following: Rows, times_us: Times, nearest_us: Times, gap_us: int, tolerance_us: int
) -> tuple[Rows, Rows, Rows]:  # pragma: no cover - compiled
    """The two rows that each found box lies between, the same row twice where it is that label, and its step."""
    reach_us = max(gap_us, tolerance_us)
    firsts = np.searchsorted(t, times_us - reach_us, side="left")
    ends = np.searchsorted(t, times_us + tolerance_us, side="right")
    found = np.empty((3, (ends - firsts).sum()), np.int64)
    count = 0
    for step in range(len(times_us)):
        time_us = times_us[step]
        for row in range(firsts[step], ends[step]):
            before, after = row, following[row]
            if t[row] > time_us:
                before, after = previous[row], row
                if before != _NONE and t[before] >= time_us - reach_us:
                    continue  # met already, at the track's label before
            elif after != _NONE and t[after] <= time_us:
                continue  # a later label of the track speaks for it
            first, second = _ends_of_line(t, before, after, time_us, nearest_us[step], gap_us, tolerance_us)
            if first != _NONE:
                found[0, count], found[1, count], found[2, count] = first, second, step
                count += 1
    return found[0, :count], found[1, :count], found[2, :count]


@numba.njit(cache=True, nogil=True)
def _ends_of_line(
    t: Times, before: int, after: int, time_us: int, nearest_us: int, gap_us: int, tolerance_us: int
) -> tuple[int, int]:  # pragma: no cover - compiled
    """The labels to join, of a track's last at or before a time and its first after it; -1 where the track is absent.

    The same label twice stands for itself.
    """
    since_us = time_us - t[before] if before != _NONE else _NEVER_US
    until_us = t[after] - time_us if after != _NONE else _NEVER_US
    if since_us > 0 and since_us + until_us <= gap_us:
        return before, after
    if min(since_us, until_us) > tolerance_us:
        return _NONE, _NONE
    only = before if since_us <= until_us else after
    return (only, only) if t[only] == nearest_us else (_NONE, _NONE)


@numba.njit(cache=True, nogil=True)
def _between(
    t: Times, xywh: npt.NDArray[np.float32], first: Rows, second: Rows, times_us: Times
) -> tuple[npt.NDArray[np.float32], Rows]:  # pragma: no cover - compiled
    """The box [N, 4] on the line between two labels at a time, and the row of the nearer of them."""
    boxes = np.empty((len(first), 4), np.float32)
    nearer = first.copy()
    for i in range(len(first)):
        a, b = first[i], second[i]
        if a == b:
            boxes[i] = xywh[a]
            continue
        share = (times_us[i] - t[a]) / (t[b] - t[a])
        if times_us[i] - t[a] > t[b] - times_us[i]:
            nearer[i] = b
        for side in range(4):
            low = np.float64(xywh[a, side])
            boxes[i, side] = low + (np.float64(xywh[b, side]) - low) * share
    return boxes, nearer


def _nearest(label_times: Times, times_us: Times) -> Times:
    """The label time [T] nearest to each time, the earlier of two as near."""
    if not len(label_times):
        return np.full(len(times_us), np.iinfo(np.int64).min)
    after = np.searchsorted(label_times, times_us)
    later = label_times[np.minimum(after, len(label_times) - 1)]
    earlier = label_times[np.maximum(after - 1, 0)]
    return np.where(np.abs(times_us - earlier) <= np.abs(later - times_us), earlier, later)


def _labelled(label_times: Times, times_us: Times, gap_us: int, tolerance_us: int) -> npt.NDArray[np.bool_]:
    if not len(label_times):
        return np.zeros(len(times_us), bool)
    after = np.searchsorted(label_times, times_us)
    later = label_times[np.minimum(after, len(label_times) - 1)]
    earlier = label_times[np.maximum(after - 1, 0)]
    between = (earlier <= times_us) & (times_us <= later) & (later - earlier <= gap_us)
    near = np.minimum(np.abs(later - times_us), np.abs(times_us - earlier)) <= tolerance_us
    labelled: npt.NDArray[np.bool_] = between | near
    return labelled
