"""Tables of boxes as COCO's objects, and the questions faster-coco-eval answers about them."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from faster_coco_eval import COCO, COCOeval_faster

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)  # COCO's
RECALL_POINTS = np.linspace(0, 1, 101)  # COCO's
MOST = 100  # boxes an image and class that COCO's AP counts, the best ones
ALL_AREAS = (0.0, 1e10)

Matches = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class LabelledBoxes:
    """N boxes, true or predicted, of numbered images."""

    image: npt.NDArray[np.int64]  # [N]
    xywh: npt.NDArray[np.float64]  # [N, 4] top-left corner and size
    class_id: npt.NDArray[np.int64]  # [N]
    score: npt.NDArray[np.float64]  # [N]; not read where the boxes are the truth
    # [N] true regions that excuse what is found in them, as COCO's iscrowd; None: none, as in Prophesee's labels
    crowd: npt.NDArray[np.bool_] | None = None

    @property
    def is_crowd(self) -> npt.NDArray[np.bool_]:
        """[N] which are crowd regions."""
        return np.zeros(len(self.image), np.bool_) if self.crowd is None else self.crowd

    def take(self, rows: npt.NDArray[np.bool_]) -> "LabelledBoxes":
        """The boxes of these rows."""
        crowd = None if self.crowd is None else self.crowd[rows]
        return LabelledBoxes(self.image[rows], self.xywh[rows], self.class_id[rows], self.score[rows], crowd)


class CocoBoxes:
    """True and found boxes as COCO's objects: built once, asked several times, which is most of the work.

    Images are those with at least one true box: boxes found elsewhere do not count (Prophesee protocol).
    """

    def __init__(self, truth: LabelledBoxes, found: LabelledBoxes, classes: int) -> None:
        counted = np.isin(found.image, truth.image)
        self.classes = classes
        self._found_rows = np.flatnonzero(counted)
        images = [{"id": image} for image in np.unique(truth.image).tolist()]
        categories = [{"id": number, "name": str(number)} for number in range(classes)]
        common = {"images": images, "categories": categories}
        with _garbage_left():
            self._truth, self._found = (
                COCO({**common, "annotations": _annotations(boxes)}, print_function=_quiet)
                for boxes in (truth, found.take(counted))
            )

    def precision(
        self,
        agnostic: bool = False,
        images: npt.NDArray[np.int64] | None = None,
        areas: tuple[tuple[float, float], ...] = (ALL_AREAS,),
    ) -> npt.NDArray[np.float64]:
        """Precision `[A, K, 10, 101]` by area range, class, IoU threshold and recall; NaN where no box is true.

        Args:
            agnostic: take all boxes for one class, so that K is 1.
            images: count these alone.
            areas: least and largest area, px², of the true boxes that count; both belong to the range.
        """
        ids = list(self._truth.imgs) if images is None else sorted(set(images.tolist()) & set(self._truth.imgs))
        if not ids:
            return np.full((len(areas), 1 if agnostic else self.classes, 10, 101), np.nan)
        answers = self._answers(agnostic, IOU_THRESHOLDS, areas, MOST, ids)
        precision_AKTR = np.asarray(answers["precision"])[..., -1].transpose(3, 2, 0, 1)
        return np.where(precision_AKTR < 0, np.nan, precision_AKTR)

    def matches(self, overlap: float, agnostic: bool = False) -> Matches:
        """Rows of the found boxes that meet a true box, and the rows of those true boxes.

        From the best score down, each takes the free true box of its image (and of its class, unless `agnostic`)
        that it overlaps most, by at least `overlap`, or else a crowd region, which any number may meet.
        """
        ids, most = list(self._truth.imgs), len(self._found.anns)
        if not ids or not most:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        answers = self._answers(agnostic, np.array([overlap]), (ALL_AREAS,), most, ids)
        pairs = np.array([pair.split("_") for pair in answers["matched"]], np.int64).reshape(-1, 2) - 1
        pairs = pairs[np.argsort(pairs[:, 0])]
        return self._found_rows[pairs[:, 0]], pairs[:, 1]

    def _answers(
        self,
        agnostic: bool,
        thresholds: npt.NDArray[np.float64],
        areas: tuple[tuple[float, float], ...],
        most: int,
        images: list[int],
    ) -> dict[str, Any]:
        ranges = {str(number): list(area) for number, area in enumerate(areas)}
        evaluation = COCOeval_faster(self._truth, self._found, "bbox", print_function=_quiet)
        asked = evaluation.params
        asked.useCats, asked.imgIds, asked.maxDets = int(not agnostic), images, [most]
        asked.iouThrs, asked.recThrs = thresholds, RECALL_POINTS
        asked.areaRng, asked.areaRngLbl = list(ranges.values()), list(ranges)
        with _garbage_left():
            evaluation.evaluate()
            evaluation.accumulate()
        answers: dict[str, Any] = evaluation.eval
        return answers


@contextmanager
def _garbage_left() -> Iterator[None]:
    """No garbage collection: it would look through all these new objects again and again, a third of the time."""
    collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collected:
            gc.enable()


def _annotations(boxes: LabelledBoxes) -> list[dict[str, object]]:
    areas = boxes.xywh[:, 2] * boxes.xywh[:, 3]
    columns = (boxes.image, boxes.xywh, areas, boxes.is_crowd.astype(np.int64), boxes.class_id)
    rows = zip(*(column.tolist() for column in (*columns, boxes.score)), strict=True)
    return [
        {
            "id": number,  # from 1: 0 means 'unmatched' in COCO's matching
            "image_id": image,
            "bbox": xywh,
            "area": area,
            "iscrowd": is_crowd,
            "category_id": class_id,
            "score": score,
        }
        for number, (image, xywh, area, is_crowd, class_id, score) in enumerate(rows, start=1)
    ]


def _quiet(*_: object) -> None:
    """Swallow the library's progress sentences."""
