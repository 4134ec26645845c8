"""COCO average precision of boxes, computed by faster-coco-eval."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from model.evaluation.coco import ALL_AREAS, IOU_THRESHOLDS, RECALL_POINTS, CocoBoxes, LabelledBoxes

__all__ = ["IOU_THRESHOLDS", "AveragePrecision", "LabelledBoxes", "average_precision", "precision_by_size"]

# COCO's sizes: least and largest area in px² of the sensor.
SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, ALL_AREAS[1])}


def _no_curves() -> npt.NDArray[np.float64]:
    return np.empty((0, len(IOU_THRESHOLDS), len(RECALL_POINTS)))


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """AP by class and IoU threshold; NaN for a class without a true box, whose AP is undefined."""

    by_class: npt.NDArray[np.float64]  # [K, 10]
    curves: npt.NDArray[np.float64] = field(default_factory=_no_curves)  # [K, 10, 101] precision at COCO's recalls

    @property
    def ap(self) -> float:
        """Mean over the defined classes and the thresholds .50 to .95; 0 where no class is defined."""
        return _defined_mean(self.by_class)

    @property
    def ap50(self) -> float:
        """The same at an IoU of .50."""
        return _defined_mean(self.by_class[:, 0])

    @property
    def ap75(self) -> float:
        """The same at an IoU of .75."""
        return _defined_mean(self.by_class[:, 5])

    @property
    def defined(self) -> bool:
        """Whether any class has a true box."""
        return not bool(np.isnan(self.by_class).all())


def average_precision(
    truth: LabelledBoxes, found: LabelledBoxes, classes: int, agnostic: bool = False
) -> AveragePrecision:
    """AP of the boxes found; `agnostic` takes all boxes for one class.

    Images are those with at least one true box: boxes found elsewhere do not count (Prophesee protocol).
    """
    return precision_of(CocoBoxes(truth, found, classes), agnostic)


def precision_of(
    boxes: CocoBoxes, agnostic: bool = False, images: npt.NDArray[np.int64] | None = None
) -> AveragePrecision:
    """The same of boxes that stand ready, in all images or in these alone."""
    return _average(boxes.precision(agnostic, images)[0])


def precision_by_size(boxes: CocoBoxes) -> tuple[AveragePrecision, dict[str, AveragePrecision]]:
    """AP over all boxes, and of the small, medium and large ones by COCO's areas (32² and 96² px of the sensor).

    Boxes of another size are neither asked for nor held against what was found.
    """
    every, *sized = (_average(part) for part in boxes.precision(areas=(ALL_AREAS, *SIZES.values())))
    return every, dict(zip(SIZES, sized, strict=True))


def _average(precision_KTR: npt.NDArray[np.float64]) -> AveragePrecision:
    return AveragePrecision(precision_KTR.mean(axis=2), precision_KTR)


def _defined_mean(values: npt.NDArray[np.float64]) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else 0.0
