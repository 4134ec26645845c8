"""Detections of successive windows become tracks: ByteTrack's two stages, a Kalman filter, and appearance."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from model.decoding import Detections
from model.prediction import WindowResult
from model.tracking.association import Pairs, cheapest, cosine_distance, explained_by_motion, overlaps
from model.tracking.config import TrackingConfig
from model.tracking.kalman import Array, Motion, Rows, begun, centred, corrected, predicted, with_size_held

UNTRACKED = 0  # id of a detection in no track; ids count from 1

Ids = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class TrackedWindow:
    """What was found in a window, and the track of each box."""

    result: WindowResult
    ids: Ids  # [D] by detection; UNTRACKED where it is in no track


def track_windows(results: Sequence[WindowResult], config: TrackingConfig) -> list[TrackedWindow]:
    """Join the detections of each recording into tracks of its own, whose ids count from 1; sorted by window."""
    tracked = []
    tracker, recording = Tracker(config), None
    for result in sorted(results, key=lambda result: result.window):
        if result.window.recording != recording:
            tracker, recording = Tracker(config), result.window.recording
        tracked.append(TrackedWindow(result, tracker.update(result.window.label_us, result.found)))
    return tracked


def untracked(results: Sequence[WindowResult]) -> list[TrackedWindow]:
    """The same windows without any track, sorted by window."""
    windows = sorted(results, key=lambda result: result.window)
    return [TrackedWindow(result, np.full(len(result.found.scores), UNTRACKED)) for result in windows]


@dataclass(frozen=True, slots=True)
class _Tracks:
    """The tracks that may go on."""

    motion: Motion
    ids: Ids  # [N]; UNTRACKED while unconfirmed
    classes: Ids  # [N]
    seen_us: Ids  # [N] when each was last found
    hits: Ids  # [N] windows each was found in
    lost: Mask  # [N] not found in the last window
    embeddings: Array  # [N, E] unit vectors

    def take(self, rows: Rows) -> "_Tracks":
        return _Tracks(self.motion.take(rows), *(column[rows] for column in self._columns()))

    def joined(self, other: "_Tracks") -> "_Tracks":
        columns = zip(self._columns(), other._columns(), strict=True)
        return _Tracks(self.motion.joined(other.motion), *(np.concatenate(pair) for pair in columns))

    def _columns(self) -> tuple[Any, ...]:
        return self.ids, self.classes, self.seen_us, self.hits, self.lost, self.embeddings


class Tracker:
    """Tracks the objects of one recording, window by window.

    A track keeps the class of its first detection, and detections of other classes do not continue it. Each found box
    stays as the detector gave it: the filter only tells where to look.
    """

    def __init__(self, config: TrackingConfig) -> None:
        self._config = config
        self._tracks: _Tracks | None = None  # None before the first window
        self._time_us = 0
        self._ids = 0  # given so far

    def update(self, time_us: int, found: Detections) -> Ids:
        """The id of each of the D detections of the next window, UNTRACKED for those in no track.

        Args:
            time_us: the window's time, after that of the one before.
            found: its detections; their embeddings are unit vectors.
        """
        config = self._config
        high = found.scores >= config.high_score
        first_window = self._tracks is None
        if self._tracks is None:
            self._tracks = self._born(time_us, found, np.zeros(0, np.intp))
        else:
            assert time_us > self._time_us, "windows come in time order"
            self._tracks = self._moved_on(self._tracks, time_us)
        self._time_us = time_us
        rows, columns = self._associated(self._tracks, found, high)
        owner = np.full(len(found.scores), -1)  # the track of each detection, by its row
        owner[columns] = rows
        new = np.flatnonzero((owner < 0) & (found.scores >= config.new_score))
        owner[new] = len(self._tracks.ids) + np.arange(len(new))
        tracks = self._continued(self._tracks, time_us, found, (rows, columns), high)
        tracks = tracks.joined(self._born(time_us, found, new))
        tracks = self._confirmed(tracks, owner[owner >= 0], 1 if first_window else config.confirm_hits)
        self._tracks = tracks.take((tracks.ids != UNTRACKED) | ~tracks.lost)  # an unconfirmed one does not wait
        return np.asarray(np.append(tracks.ids, UNTRACKED)[owner])  # -1 is the last

    def _moved_on(self, tracks: _Tracks, time_us: int) -> _Tracks:
        tracks = tracks.take(time_us - tracks.seen_us <= self._config.max_lost_us)
        frames = (time_us - self._time_us) / self._config.frame_us
        return replace(tracks, motion=predicted(tracks.motion, frames))

    def _associated(self, tracks: _Tracks, found: Detections, high: Mask) -> Pairs:
        """High scores with confirmed tracks, then low scores with those seen last, then high with the unconfirmed."""
        config = self._config
        overlap = overlaps(tracks.motion.corners(), found.corners)
        one_class = tracks.classes[:, None] == found.classes
        cost, allowed = self._pairs(tracks, found, overlap)
        confirmed = tracks.ids != UNTRACKED
        low = ~high & (found.scores >= config.low_score)
        stages = (
            (confirmed, high, cost, allowed),
            (confirmed & ~tracks.lost, low, 1 - overlap, overlap >= config.low_match_iou),
            (~confirmed, high, cost, allowed),
        )
        rows, columns = np.zeros(0, np.intp), np.zeros(0, np.intp)
        for some_tracks, some_found, costs, may in stages:
            left = np.setdiff1d(np.flatnonzero(some_tracks), rows)
            free = np.setdiff1d(np.flatnonzero(some_found), columns)
            part = np.ix_(left, free)
            row, column = cheapest(costs[part], (may & one_class)[part])
            rows, columns = np.concatenate([rows, left[row]]), np.concatenate([columns, free[column]])
        return rows, columns

    def _pairs(self, tracks: _Tracks, found: Detections, overlap: Array) -> tuple[Array, Mask]:
        """Costs of pairs `[N, D]`, and which may be: by overlap, or by appearance where motion explains it."""
        weight = self._config.embedding_weight
        allowed = overlap >= self._config.match_iou
        if not weight:
            return 1 - overlap, allowed
        distance = cosine_distance(tracks.embeddings, found.embeddings)
        alike = (distance <= self._config.embedding_gate) & explained_by_motion(tracks.motion, found.corners)
        return (1 - weight) * (1 - overlap) + weight * distance, allowed | alike

    def _continued(self, tracks: _Tracks, time_us: int, found: Detections, pairs: Pairs, high: Mask) -> _Tracks:
        """The tracks after those in pairs were found, and the others were not."""
        rows, columns = pairs
        lost = np.ones(len(tracks.ids), np.bool_)
        lost[rows] = False
        seen_us, hits, embeddings = tracks.seen_us.copy(), tracks.hits.copy(), tracks.embeddings.copy()
        seen_us[rows] = time_us
        hits[rows] += 1
        clear = high[columns]  # what is hardly detected shows little of how its object looks
        embeddings[rows[clear]] = self._blended(embeddings[rows[clear]], found.embeddings[columns[clear]])
        measured = corrected(tracks.motion.take(rows), centred(found.corners[columns]))
        motion = with_size_held(tracks.motion.with_rows(rows, measured), lost)
        return replace(tracks, motion=motion, seen_us=seen_us, hits=hits, lost=lost, embeddings=embeddings)

    def _blended(self, old: Array, new: npt.NDArray[np.float32]) -> Array:
        momentum = self._config.embedding_momentum
        mixed = momentum * old + (1 - momentum) * new
        return np.asarray(mixed / np.maximum(np.linalg.norm(mixed, axis=1, keepdims=True), 1e-12))

    def _born(self, time_us: int, found: Detections, columns: npt.NDArray[np.intp]) -> _Tracks:
        return _Tracks(
            begun(centred(found.corners[columns])),
            np.full(len(columns), UNTRACKED),
            found.classes[columns],
            np.full(len(columns), time_us),
            np.ones(len(columns), np.int64),
            np.zeros(len(columns), np.bool_),
            found.embeddings[columns].astype(np.float64),
        )

    def _confirmed(self, tracks: _Tracks, found: Ids, hits: int) -> _Tracks:
        """With numbers for those found tracks that have enough hits, in the order of their detections."""
        ready = found[(tracks.hits[found] >= hits) & (tracks.ids[found] == UNTRACKED)]
        ids = tracks.ids.copy()
        ids[ready] = self._ids + 1 + np.arange(len(ready))
        self._ids += len(ready)
        return replace(tracks, ids=ids)
