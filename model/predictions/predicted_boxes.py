"""What was found in recordings, beside their truth: boxes with scores and tracks, ready to be drawn or written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from data.boxes import Boxes
from data.errors import RecordingError
from data.shards import Shard
from model.tracking.tracker import UNTRACKED, TrackedWindow


@dataclass(frozen=True, slots=True)
class PredictedBoxes:
    """N found boxes of one recording, sorted by time. Track UNTRACKED (0) means in no track."""

    boxes: Boxes
    scores: npt.NDArray[np.float32]  # [N] in [0, 1]

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, rows: slice | npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> "PredictedBoxes":
        """The boxes of these rows."""
        return PredictedBoxes(self.boxes.take(rows), self.scores[rows])

    def at(self, time_us: int) -> "PredictedBoxes":
        """The boxes found at exactly this time."""
        first, last = np.searchsorted(self.boxes.t, [time_us, time_us + 1])
        return self.take(slice(int(first), int(last)))

    def in_time_order(self) -> "PredictedBoxes":
        """The boxes in time order; those of one time keep theirs."""
        return self.take(np.argsort(self.boxes.t, kind="stable"))

    def checked(self, where: Callable[[int], str]) -> "PredictedBoxes":
        """The same in time order.

        Raises:
            RecordingError: a track has two boxes at one time; `where` names a row's place in its file.
        """
        t, track = self.boxes.t, self.boxes.track_id
        order = np.lexsort((track, t))
        order = order[track[order] != UNTRACKED]
        again = np.flatnonzero((np.diff(t[order]) == 0) & (np.diff(track[order]) == 0))
        if len(again):
            first, second = sorted(order[[again[0], again[0] + 1]].tolist())
            raise RecordingError(
                f"{where(second)}: track {track[second]} has a box at {t[second]} µs already ({where(first)}); "
                "a track has at most one box at a time: renumber or remove one"
            )
        return self.in_time_order()


@dataclass(frozen=True, slots=True)
class RecordingPredictions:
    """What was found in one recording at its evaluated label times, and what is there."""

    name: str
    times_us: npt.NDArray[np.int64]  # [F] the label times; frame n of MOTChallenge is the nth of them
    truth: Boxes
    found: PredictedBoxes


def by_recording(windows: Sequence[TrackedWindow], shards: Sequence[Shard]) -> list[RecordingPredictions]:
    """Windows of a split, sorted as `track_windows` leaves them, joined to recordings.

    Args:
        windows: with the tracks of what was found; `untracked` gives windows without any.
        shards: of the split.
    """
    recordings = []
    for recording, part in groupby(windows, key=lambda window: window.result.window.recording):
        group = list(part)
        times_us = np.array([window.result.window.label_us for window in group], np.int64)
        truth = _truth([window.result.truth for window in group])
        recordings.append(RecordingPredictions(shards[recording].name, times_us, truth, _found(group)))
    return recordings


def _truth(parts: Sequence[Boxes]) -> Boxes:
    return Boxes(
        np.concatenate([boxes.t for boxes in parts]),
        np.concatenate([boxes.xywh for boxes in parts]),
        np.concatenate([boxes.class_id for boxes in parts]),
        np.concatenate([boxes.track_id for boxes in parts]),
    )


def _found(windows: Sequence[TrackedWindow]) -> PredictedBoxes:
    found = [window.result.found for window in windows]
    corners = np.concatenate([part.corners for part in found])
    boxes = Boxes(
        np.repeat(
            np.array([window.result.window.label_us for window in windows]), [len(part.scores) for part in found]
        ),
        np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1),
        np.concatenate([part.classes for part in found]),
        np.concatenate([window.ids for window in windows]),
    )
    return PredictedBoxes(boxes, np.concatenate([part.scores for part in found]))
