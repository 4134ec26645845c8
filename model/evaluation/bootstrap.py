"""How sure an mAP is: the windows or recordings it was measured on are drawn again and again, with replacement."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.boxes import LabelSet
from data.events import SensorSize
from model.evaluation.coco import IOU_THRESHOLDS, MOST, RECALL_POINTS, CocoBoxes, LabelledBoxes
from model.evaluation.protocol import large_enough, tables
from model.prediction import WindowResult

RESAMPLES = 400
CONFIDENCE = 0.95
ENOUGH_RECORDINGS = 8  # from which on these are drawn, and not windows, which within a recording look alike

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Resampled mAP of detectors on the same windows."""

    unit: str  # what was drawn: "recordings" or "windows"
    units: int  # how many there are
    values: tuple[Floats, ...]  # of each detector, [R], the same draw at the same place

    def interval(self, which: int) -> tuple[float, float]:
        """The middle 95 % of a detector's values."""
        return _middle(self.values[which])

    def difference(self, one: int, other: int) -> tuple[float, float]:
        """The middle 95 % of how much one detector is better than another in the same draw."""
        return _middle(self.values[one] - self.values[other])


@dataclass(frozen=True, slots=True)
class _OfClass:
    """The N boxes found of one class, best first, each with what it meets; and the true boxes."""

    image: npt.NDArray[np.int64]  # [N]
    right: npt.NDArray[np.bool_]  # [10, N] by IoU threshold
    truths: npt.NDArray[np.int64]  # [images] true boxes in each


class MatchedBoxes:
    """Boxes matched once, as COCO does, so that the AP of any multiset of their images is a matter of counting."""

    def __init__(self, truth: LabelledBoxes, found: LabelledBoxes, classes: int, images: int) -> None:
        """Args:
        truth: true boxes, of images numbered below `images`.
        found: found boxes; those of images without a true box do not count.
        classes: how many there are.
        images: how many there are, with boxes or not.
        """
        boxes = CocoBoxes(truth, found, classes)
        right = np.zeros((len(IOU_THRESHOLDS), len(found.image)), np.bool_)
        for row, overlap in enumerate(IOU_THRESHOLDS):
            right[row, boxes.matches(float(overlap))[0]] = True
        self.counted = np.bincount(truth.image, minlength=images) > 0  # [images]
        rows = np.lexsort((-found.score, found.image, found.class_id))
        rows = rows[self.counted[found.image[rows]]]
        rows = rows[_places(found.image[rows], found.class_id[rows]) < MOST]
        self._classes = []
        for number in range(classes):
            mine = rows[found.class_id[rows] == number]
            mine = mine[np.argsort(-found.score[mine], kind="stable")]
            truths = np.bincount(truth.image[truth.class_id == number], minlength=images)
            self._classes.append(_OfClass(found.image[mine], right[:, mine], truths))

    def average_precision(self, times: npt.NDArray[np.int64]) -> float:
        """COCO's mAP where each image [images] is there so many times; 0 where no class has a true box."""
        values = [ap for one in self._classes if (ap := _of_class(one, times)) is not None]
        return float(np.mean(values)) if values else 0.0


def bootstrap(
    detectors: Sequence[Sequence[WindowResult]], label_set: LabelSet, size: SensorSize, seed: int = 0
) -> Bootstrap:
    """Resample the windows, or the recordings if there are at least eight, that detectors were measured on.

    Args:
        detectors: what each found in the same windows.
        label_set: of the boxes.
        size: of the sensor.
        seed: of the draws.
    """
    matched = []
    for results in detectors:
        truth, found = (boxes.take(large_enough(boxes.xywh, size)) for boxes in tables(results))
        matched.append(MatchedBoxes(truth, found, len(label_set.classes), len(results)))
    counted = matched[0].counted
    recordings = np.array([result.window.recording for result in detectors[0]], np.int64)
    by_recording = len(np.unique(recordings[counted])) >= ENOUGH_RECORDINGS
    own = recordings if by_recording else np.arange(len(recordings))
    names, unit_of = np.unique(own[counted], return_inverse=True)
    random = np.random.default_rng(seed)
    values = np.zeros((len(detectors), RESAMPLES))
    for draw in range(RESAMPLES):
        drawn = np.bincount(random.integers(0, len(names), len(names)), minlength=len(names))
        times = np.zeros(len(own), np.int64)
        times[counted] = drawn[unit_of]
        values[:, draw] = [one.average_precision(times) for one in matched]
    return Bootstrap("recordings" if by_recording else "windows", len(names), tuple(values))


def _middle(values: Floats) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _places(image: npt.NDArray[np.int64], class_id: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Which in its group each row is, counted from 0; rows of one image and class stand together."""
    begins = np.flatnonzero(np.r_[True, (np.diff(image) != 0) | (np.diff(class_id) != 0)][: len(image)])
    lengths = np.diff(np.r_[begins, len(image)])
    return np.arange(len(image)) - np.repeat(begins, lengths)


def _of_class(one: _OfClass, times: npt.NDArray[np.int64]) -> float | None:
    """AP over the thresholds; None where no box is true. Only at right boxes does recall move, or an envelope peak."""
    truths = int(one.truths @ times)
    if not truths:
        return None
    weight = times[one.image]
    seen = np.cumsum(weight)
    total = 0.0
    for right in one.right:
        rows = np.flatnonzero(right & (weight > 0))
        hits = np.cumsum(weight[rows])
        envelope = np.maximum.accumulate((hits / seen[rows])[::-1])[::-1]
        places = np.searchsorted(hits / truths, RECALL_POINTS, side="left")
        total += float(np.append(envelope, 0.0)[places].mean())
    return total / len(one.right)
