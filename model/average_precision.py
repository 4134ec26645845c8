"""COCO average precision of boxes, computed by faster-coco-eval."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from faster_coco_eval import COCO, COCOeval_faster

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)  # COCO's


@dataclass(frozen=True, slots=True)
class LabelledBoxes:
    """N boxes, true or predicted, of numbered images."""

    image: npt.NDArray[np.int64]  # [N]
    xywh: npt.NDArray[np.float64]  # [N, 4] top-left corner and size
    class_id: npt.NDArray[np.int64]  # [N]
    score: npt.NDArray[np.float64]  # [N]; not read where the boxes are the truth

    def take(self, rows: npt.NDArray[np.bool_]) -> "LabelledBoxes":
        """The boxes of these rows."""
        return LabelledBoxes(self.image[rows], self.xywh[rows], self.class_id[rows], self.score[rows])


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """AP by class and IoU threshold; NaN for a class without a true box, whose AP is undefined."""

    by_class: npt.NDArray[np.float64]  # [K, 10]

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


def average_precision(
    truth: LabelledBoxes, found: LabelledBoxes, classes: int, agnostic: bool = False
) -> AveragePrecision:
    """AP of the boxes found; `agnostic` takes all boxes for one class.

    Images are those with at least one true box: boxes found elsewhere do not count (Prophesee protocol).
    """
    by_class = np.full((1 if agnostic else classes, len(IOU_THRESHOLDS)), np.nan)
    present = np.unique(np.zeros(min(1, len(truth.image)), np.int64) if agnostic else truth.class_id)
    by_class[present] = 0.0
    found = found.take(np.isin(found.image, truth.image))
    if not len(found.image) or not len(truth.image):
        return AveragePrecision(by_class)
    coco = COCO(_as_coco(truth, classes), print_function=_quiet)
    results = coco.loadRes(_annotations(found))
    evaluation = COCOeval_faster(coco, results, iouType="bbox", print_function=_quiet)
    evaluation.params.useCats = int(not agnostic)
    evaluation.evaluate()
    evaluation.accumulate()
    precision_TRK = evaluation.eval["precision"][:, :, :, 0, -1]  # all areas, 100 boxes an image and class
    precision_KT = np.where(precision_TRK < 0, np.nan, precision_TRK).mean(axis=1).T
    by_class[present] = precision_KT[present]
    return AveragePrecision(by_class)


def _as_coco(truth: LabelledBoxes, classes: int) -> dict[str, Sequence[dict[str, object]]]:
    return {
        "images": [{"id": int(image)} for image in np.unique(truth.image)],
        "categories": [{"id": number, "name": str(number)} for number in range(classes)],
        "annotations": _annotations(truth),
    }


def _annotations(boxes: LabelledBoxes) -> list[dict[str, object]]:
    rows = zip(boxes.image.tolist(), boxes.xywh.tolist(), boxes.class_id.tolist(), boxes.score.tolist(), strict=True)
    return [
        {
            "id": number,  # from 1: 0 means 'unmatched' in COCO's matching
            "image_id": image,
            "bbox": xywh,
            "area": xywh[2] * xywh[3],
            "iscrowd": 0,
            "category_id": class_id,
            "score": score,
        }
        for number, (image, xywh, class_id, score) in enumerate(rows, start=1)
    ]


def _defined_mean(values: npt.NDArray[np.float64]) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else 0.0


def _quiet(*_: object) -> None:
    """Swallow the library's progress sentences."""
