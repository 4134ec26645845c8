"""The confusion matrix: what each true box was taken for."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model.evaluation.coco import CocoBoxes, LabelledBoxes

SCORE = 0.25  # boxes below it are not shown to a user, so they confuse nobody
OVERLAP = 0.5


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often a box of one class was found as another."""

    counts: npt.NDArray[np.int64]  # [K+1, K+1]; rows true, columns found; the last: background found, truth missed

    def as_dict(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """The matrix beside what its rows and columns mean."""
        return {
            "classes": [*classes, "background"],
            "score": SCORE,
            "iou": OVERLAP,
            "matrix": self.counts.tolist(),
        }


def confusion(truth: LabelledBoxes, found: LabelledBoxes, classes: int) -> Confusion:
    """The matrix of the boxes with a score of at least .25, matched whatever their class at an IoU of .5.

    From the best score down each takes the free true box it overlaps most, so that a box of the wrong class counts
    once, as a confusion, and not as a miss and a false find. Images without a true box do not count (Prophesee
    protocol).
    """
    shown = found.take((found.score >= SCORE) & np.isin(found.image, truth.image))
    finder, met = CocoBoxes(truth, shown, classes).matches(OVERLAP, agnostic=True)
    taken_for = np.full(len(truth.image), classes)
    taken_for[met] = shown.class_id[finder]
    invented = np.delete(shown.class_id, finder)
    asked = ~truth.is_crowd
    counts = np.zeros((classes + 1, classes + 1), np.int64)
    np.add.at(counts, (truth.class_id[asked], taken_for[asked]), 1)
    np.add.at(counts, (np.full(len(invented), classes), invented), 1)
    return Confusion(counts)
