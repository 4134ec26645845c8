"""Calibration: whether a score of .7 is right seven times in ten."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model.evaluation.coco import CocoBoxes, LabelledBoxes

BINS = 15  # of equal width over [0, 1], as in Guo et al. 2017, On Calibration of Modern Neural Networks
# Boxes below it are not judged: AP is given thousands of them, rightly sure to be nothing, which would fill the mean.
SCORE_FLOOR = 0.05
OVERLAP = 0.5  # IoU from which a box is right


@dataclass(frozen=True, slots=True)
class Calibration:
    """Reliability by bins of the score, M of them; what an empty bin has in place of a mean is NaN."""

    counts: npt.NDArray[np.int64]  # [M] boxes found with such a score
    confidence: npt.NDArray[np.float64]  # [M] their mean score
    precision: npt.NDArray[np.float64]  # [M] share of them that are right

    @property
    def error(self) -> float:
        """Expected calibration error of detections; NaN where no box was judged.

        The mean of |precision - confidence| over the bins, each weighted by its boxes (Guo et al. 2017), with a
        detection's precision for a classifier's accuracy (Küppers et al. 2020, Multivariate Confidence Calibration
        for Object Detection).
        """
        filled = self.counts > 0
        if not filled.any():
            return float("nan")
        gaps = np.abs(self.precision - self.confidence)[filled]
        return float(np.average(gaps, weights=self.counts[filled]))

    def as_dict(self) -> dict[str, Any]:
        """The bins from low scores to high; null where a bin is empty."""
        return {
            "score_floor": SCORE_FLOOR,
            "counts": self.counts.tolist(),
            "confidence": [None if np.isnan(value) else value for value in self.confidence.tolist()],
            "precision": [None if np.isnan(value) else value for value in self.precision.tolist()],
        }


def calibration(truth: LabelledBoxes, found: LabelledBoxes, classes: int) -> Calibration:
    """Reliability of the boxes found with a score of at least .05: right is who meets a true box of its class by .5.

    Images without a true box do not count (Prophesee protocol).
    """
    judged = found.take((found.score >= SCORE_FLOOR) & np.isin(found.image, truth.image))
    finder, met = CocoBoxes(truth, judged, classes).matches(OVERLAP)
    right = np.zeros(len(judged.score), np.bool_)
    right[finder] = True
    excused = np.zeros_like(right)
    excused[finder] = truth.is_crowd[met]
    return reliability(judged.score[~excused], right[~excused])


def reliability(scores: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]) -> Calibration:
    """Reliability of boxes of these scores `[N]` in [0, 1], some of which are right `[N]`."""
    places = np.minimum((scores * BINS).astype(np.int64), BINS - 1)  # a score of 1 belongs to the last bin
    counts, sums, hits = (np.bincount(places, weights, BINS) for weights in (None, scores, right.astype(np.float64)))
    filled = np.where(counts > 0, counts, np.nan)
    return Calibration(counts.astype(np.int64), sums / filled, hits / filled)
