"""Evaluation by the Prophesee protocol, as RVT applies it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data.boxes import LabelSet
from data.dataset import Dataset
from data.events import SensorSize
from model.evaluation.average_precision import AveragePrecision, average_precision, precision_by_size, precision_of
from model.evaluation.calibration import Calibration, calibration
from model.evaluation.coco import RECALL_POINTS, CocoBoxes, LabelledBoxes
from model.evaluation.confusion import Confusion, confusion
from model.prediction import Validation, WindowResult, predict_checkpoint


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a detector is worth on a split; filtered by size where it is not called otherwise."""

    overall: AveragePrecision
    agnostic: AveragePrecision  # all boxes taken for one class: the eTraM paper's 'All'
    unfiltered: AveragePrecision
    # day, night, day_agnostic, ..., small, medium, large, unfiltered_small, ...; None where there is nothing such
    parts: Mapping[str, AveragePrecision | None]
    calibration: Calibration
    confusion: Confusion
    label_set: LabelSet
    windows: int

    @property
    def day(self) -> AveragePrecision | None:
        """Of the recordings made by day; None where there are none."""
        return self.parts["day"]

    @property
    def night(self) -> AveragePrecision | None:
        """Of the recordings made by night; None where there are none."""
        return self.parts["night"]

    def as_dict(self, curves: bool = False) -> dict[str, Any]:
        """What `spiketune evaluate --json` prints; what is undefined, as the AP of a class without a true box, is null.

        Small, medium and large are COCO's, by areas of 32² and 96² px of the sensor: at 1280x720 the protocol's filter
        leaves no small box, so those are in `unfiltered_small` alone. `curves` adds precision against recall and the
        reliability of the scores.
        """
        ece = self.calibration.error
        values = {
            "map": self.overall.ap,
            "map50": self.overall.ap50,
            "map75": self.overall.ap75,
            "map_agnostic": self.agnostic.ap,
            "map50_agnostic": self.agnostic.ap50,
            "per_class": dict(zip(self.label_set.classes, map(_by_class, self.overall.by_class), strict=True)),
            **{name: part and {"map": part.ap, "map50": part.ap50} for name, part in self.parts.items()},
            "unfiltered": {"map": self.unfiltered.ap, "map50": self.unfiltered.ap50},
            "ece": None if np.isnan(ece) else ece,
            "confusion": self.confusion.as_dict(self.label_set.classes),
            "windows": self.windows,
        }
        if curves:
            values["precision_recall"] = self._curves()
            values["reliability"] = self.calibration.as_dict()
        return values

    def _curves(self) -> dict[str, Any]:
        """Precision at COCO's 101 recalls, at an IoU of .50 and of .75."""
        names = self.label_set.classes
        return {
            "recall": RECALL_POINTS.tolist(),
            "per_class": dict(zip(names, map(_curve, self.overall.curves), strict=True)),
            "agnostic": _curve(self.agnostic.curves[0]),
        }


def evaluate_checkpoint(path: Path, dataset: Dataset, validation: Validation, device: str = "auto") -> Evaluation:
    """Measure a checkpoint on a split.

    Raises:
        DatasetError: the checkpoint cannot be read, or its label set or sensor is not the dataset's.
    """
    _, results = predict_checkpoint(path, dataset, validation, device)
    return summarize(results, dataset.label_set, dataset.size)


def summarize(results: Sequence[WindowResult], label_set: LabelSet, size: SensorSize) -> Evaluation:
    """Average precision over all windows and over parts of them, filtered and not; calibration; confusion.

    A window whose true boxes are all filtered away is no image at all, and neither is what was found in it: the
    protocol filters first and then takes the times at which a true box is left (as RVT's evaluation does).
    """
    truth, found = tables(results)
    kept_truth, kept_found = (boxes.take(large_enough(boxes.xywh, size)) for boxes in (truth, found))
    K = len(label_set.classes)
    kept = CocoBoxes(kept_truth, kept_found, K)
    overall, sizes = precision_by_size(kept)
    unfiltered, unfiltered_sizes = precision_by_size(CocoBoxes(truth, found, K))
    parts = {
        **_by_light(kept, results),
        **sizes,
        **{f"unfiltered_{name}": part for name, part in unfiltered_sizes.items()},
    }
    return Evaluation(
        overall=overall,
        agnostic=precision_of(kept, agnostic=True),
        unfiltered=unfiltered,
        parts={name: part if part.defined else None for name, part in parts.items()},
        calibration=calibration(kept_truth, kept_found, K),
        confusion=confusion(kept_truth, kept_found, K),
        label_set=label_set,
        windows=len(results),
    )


def _by_light(boxes: CocoBoxes, results: Sequence[WindowResult]) -> dict[str, AveragePrecision]:
    """AP by day and by night, by class and class-agnostic, as the eTraM paper's table has it."""
    nights = np.array([-1 if result.night is None else int(result.night) for result in results])
    parts = {}
    for name, night in (("day", 0), ("night", 1)):
        images = np.flatnonzero(nights == night)
        for suffix, agnostic in (("", False), ("_agnostic", True)):
            parts[name + suffix] = precision_of(boxes, agnostic, images)
    return parts


def validate(results: Sequence[WindowResult], label_set: LabelSet, size: SensorSize) -> AveragePrecision:
    """Average precision over all windows, filtered: what a training is measured by after each epoch."""
    truth, found = (boxes.take(large_enough(boxes.xywh, size)) for boxes in tables(results))
    return average_precision(truth, found, len(label_set.classes))


def size_limits(size: SensorSize) -> tuple[float, float]:
    """Least diagonal and side, in pixels, of a box that the protocol counts.

    304x240 (GEN1) has limits of its own in the protocol; any other sensor's are 60 and 20 px in proportion to its
    width over 1280, which gives the protocol's 30 and 10 px at half resolution.
    """
    if size == SensorSize(304, 240):
        return 30.0, 10.0
    return 60.0 * size.width / 1280, 20.0 * size.width / 1280


def large_enough(xywh: npt.NDArray[np.floating], size: SensorSize) -> npt.NDArray[np.bool_]:
    """Which boxes `[N, 4]` in sensor pixels reach the least diagonal and side."""
    least_diagonal, least_side = size_limits(size)
    width, height = xywh[:, 2], xywh[:, 3]
    return np.asarray((np.hypot(width, height) >= least_diagonal) & (np.minimum(width, height) >= least_side))


def tables(results: Sequence[WindowResult]) -> tuple[LabelledBoxes, LabelledBoxes]:
    """True and found boxes of all windows, an image each, numbered as they come."""
    truth_image = np.repeat(np.arange(len(results)), [len(result.truth) for result in results])
    found_image = np.repeat(np.arange(len(results)), [len(result.found.scores) for result in results])
    corners = np.concatenate([result.found.corners for result in results]).astype(np.float64)
    truth = LabelledBoxes(
        truth_image,
        np.concatenate([result.truth.xywh for result in results]).astype(np.float64),
        np.concatenate([result.truth.class_id for result in results]),
        np.zeros(len(truth_image)),
    )
    found = LabelledBoxes(
        found_image,
        np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1),
        np.concatenate([result.found.classes for result in results]),
        np.concatenate([result.found.scores for result in results]).astype(np.float64),
    )
    return truth, found


def _by_class(ap_by_threshold: npt.NDArray[np.float64]) -> dict[str, float] | None:
    if np.isnan(ap_by_threshold[0]):
        return None
    ap50, ap75 = float(ap_by_threshold[0]), float(ap_by_threshold[5])
    return {"ap": float(ap_by_threshold.mean()), "ap50": ap50, "ap75": ap75}


def _curve(precision_TR: npt.NDArray[np.float64]) -> dict[str, list[float]] | None:
    if np.isnan(precision_TR[0, 0]):
        return None
    return {"ap50": precision_TR[0].tolist(), "ap75": precision_TR[5].tolist()}
