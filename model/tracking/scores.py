"""How well tracks fit the truth: HOTA, MOTA and IDF1, equal to what TrackEval computes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
from motrics import EvaluationResult, Frames, evaluate

from data.boxes import LabelSet
from data.errors import DatasetError
from data.events import SensorSize
from model.evaluation.protocol import large_enough
from model.prediction import WindowResult
from model.tracking.tracker import UNTRACKED, TrackedWindow

Frame = tuple[list[int], npt.NDArray[np.float64]]  # ids, and corners [N, 4]


@dataclass(frozen=True, slots=True)
class TrackingScores:
    """Scores over all recordings, each in fractions of 1; None where there is no true box."""

    hota: float | None  # geometric mean of the next two, averaged over overlaps of 0.05 to 0.95 (Luiten et al. 2021)
    det_a: float | None  # detection accuracy
    ass_a: float | None  # association accuracy
    mota: float | None  # 1 - (misses + false boxes + switches) / true boxes, at overlap 0.5; can be below 0
    idf1: float | None  # F1 of boxes under the best pairing of true and found tracks, at overlap 0.5
    switches: int  # times a true track changed the track that follows it
    fragments: int  # times a true track was found again after a gap in which others were found
    true_boxes: int
    true_tracks: int
    found_tracks: int

    def as_dict(self) -> dict[str, float | int | None]:
        """The scores by name, as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class TrackingEvaluation:
    """Scores on a split: of all classes as one, and of each class alone."""

    overall: TrackingScores
    unfiltered: TrackingScores  # with the boxes that the protocol's size filter leaves out
    by_class: dict[str, TrackingScores]

    def as_dict(self) -> dict[str, Any]:
        """What `spiketune evaluate --tracking --json` prints."""
        return {
            **self.overall.as_dict(),
            "unfiltered": self.unfiltered.as_dict(),
            "per_class": {name: scores.as_dict() for name, scores in self.by_class.items()},
        }


def evaluate_tracks(windows: Sequence[TrackedWindow], label_set: LabelSet, size: SensorSize) -> TrackingEvaluation:
    """Score tracks on the windows of a split, filtered by size as detections are, and unfiltered.

    Frames are the label times of the windows; where no true box is left by the filter, there is no frame. Windows of a
    recording stand together and in time order, as `track_windows` leaves them. Scores compare only over the same
    windows, and describe tracking only over consecutive ones: take all of a split.

    Raises:
        DatasetError: a true track has two boxes at one time.
    """
    large = [window for window in (_large(window, size) for window in windows) if len(window.result.truth)]
    return TrackingEvaluation(
        overall=track_scores(large),
        unfiltered=track_scores(windows),
        by_class={name: track_scores(large, number) for number, name in enumerate(label_set.classes)},
    )


def track_scores(windows: Sequence[TrackedWindow], class_id: int | None = None) -> TrackingScores:
    """Scores over all recordings, combined as TrackEval combines sequences; of one class, or of all as one.

    Raises:
        DatasetError: a true track has two boxes at one time.
    """
    parts, true_tracks, found_tracks = [], 0, 0
    for _, recording in groupby(windows, key=lambda window: window.result.window.recording):
        frames = list(recording)
        truth = Frames(*zip(*(_truth(window.result, class_id) for window in frames), strict=True))
        found = Frames(*zip(*(_found(window, class_id) for window in frames), strict=True))
        parts.append(evaluate(truth, found))
        true_tracks, found_tracks = true_tracks + _count(truth), found_tracks + _count(found)
    return _combined(parts, true_tracks, found_tracks)


def _large(window: TrackedWindow, size: SensorSize) -> TrackedWindow:
    truth, found = window.result.truth, window.result.found
    corners = found.corners.astype(np.float64)
    kept = large_enough(np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1), size)
    truth = truth.take(large_enough(truth.xywh.astype(np.float64), size))
    return TrackedWindow(replace(window.result, truth=truth, found=found.take(kept)), window.ids[kept])


def _truth(result: WindowResult, class_id: int | None) -> Frame:
    truth = result.truth
    if len(np.unique(truth.track_id)) < len(truth):
        raise DatasetError(
            f"recording {result.window.recording} of the split at {result.window.label_us} µs: two labelled boxes have "
            "one track id, so it cannot be said which is to be followed; label objects with ids of their own, or leave "
            "tracking out"
        )
    if class_id is not None:
        truth = truth.take(truth.class_id == class_id)
    xywh = truth.xywh.astype(np.float64)
    return truth.track_id.tolist(), np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)


def _found(window: TrackedWindow, class_id: int | None) -> Frame:
    rows = window.ids != UNTRACKED
    if class_id is not None:
        rows &= window.result.found.classes == class_id
    return window.ids[rows].tolist(), window.result.found.corners[rows].astype(np.float64)


def _count(frames: Frames) -> int:
    return len({track for ids in frames.ids for track in ids})


def _combined(parts: Sequence[EvaluationResult], true_tracks: int, found_tracks: int) -> TrackingScores:
    """Counts are added, and AssA is weighted by true positives, overlap by overlap."""
    hits, missed, false, association = (
        np.array([getattr(part.hota, name) for part in parts], np.float64)
        for name in ("hota_tp_alphas", "hota_fn_alphas", "hota_fp_alphas", "assa_alphas")
    )
    ass_a = (association * hits).sum(0) / np.maximum(1, hits.sum(0))
    det_a = hits.sum(0) / np.maximum(1, (hits + missed + false).sum(0))
    switches = sum(part.clear.num_switches for part in parts)
    found, wrong = (sum(getattr(part.clear, name) for part in parts) for name in ("num_matches", "num_false_positives"))
    same, lost, foreign = (sum(getattr(part.identity, name) for part in parts) for name in ("idtp", "idfn", "idfp"))
    true_boxes = sum(part.clear.num_gt for part in parts)

    def score(value: float) -> float | None:
        return value if true_boxes else None

    return TrackingScores(
        hota=score(float(np.sqrt(det_a * ass_a).mean())),
        det_a=score(float(det_a.mean())),
        ass_a=score(float(ass_a.mean())),
        mota=score((found - wrong - switches) / max(1, true_boxes)),
        idf1=score(same / max(1.0, same + 0.5 * lost + 0.5 * foreign)),
        switches=switches,
        fragments=sum(part.clear.frag for part in parts),
        true_boxes=true_boxes,
        true_tracks=true_tracks,
        found_tracks=found_tracks,
    )
