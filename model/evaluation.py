"""Evaluation by the Prophesee protocol, as RVT applies it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data.boxes import LabelSet
from data.dataset import Dataset
from data.events import SensorSize
from model.average_precision import AveragePrecision, LabelledBoxes, average_precision
from model.picture import write_picture
from model.prediction import Validation, WindowResult, predict_checkpoint


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Average precision on a split."""

    overall: AveragePrecision
    agnostic: AveragePrecision
    unfiltered: AveragePrecision
    day: AveragePrecision | None  # None where the split has no such recording
    night: AveragePrecision | None
    label_set: LabelSet
    windows: int

    def as_dict(self) -> dict[str, Any]:
        """What `spiketune evaluate --json` prints; the AP of a class without a true box is null."""
        per_class = {
            name: None if np.isnan(row[0]) else {"ap": float(row.mean()), "ap50": float(row[0])}
            for name, row in zip(self.label_set.classes, self.overall.by_class, strict=True)
        }
        parts = {"day": self.day, "night": self.night, "unfiltered": self.unfiltered}
        return {
            "map": self.overall.ap,
            "map50": self.overall.ap50,
            "map75": self.overall.ap75,
            "map50_agnostic": self.agnostic.ap50,
            "per_class": per_class,
            **{name: part and {"map": part.ap, "map50": part.ap50} for name, part in parts.items()},
            "windows": self.windows,
        }


def evaluate_checkpoint(
    path: Path, dataset: Dataset, validation: Validation, device: str = "auto", picture: Path | None = None
) -> Evaluation:
    """Measure a checkpoint on a split, and draw some of its windows into `picture`.

    Raises:
        DatasetError: the checkpoint cannot be read, or its label set or sensor is not the dataset's.
    """
    shards = dataset.shards(validation.split)
    results = predict_checkpoint(path, dataset, validation, device)
    if picture is not None:
        write_picture(results, shards, dataset.label_set, picture)
    return summarize(results, dataset.label_set, dataset.size)


def summarize(results: Sequence[WindowResult], label_set: LabelSet, size: SensorSize) -> Evaluation:
    """Average precision over all windows, over those of the day and of the night, filtered and not."""
    truth, found = _tables(results)
    kept_truth, kept_found = (boxes.take(large_enough(boxes.xywh, size)) for boxes in (truth, found))
    K = len(label_set.classes)
    nights = np.array([-1 if result.night is None else int(result.night) for result in results])

    def during(night: int) -> AveragePrecision | None:
        if night not in nights:
            return None
        then_truth, then_found = (boxes.take(nights[boxes.image] == night) for boxes in (kept_truth, kept_found))
        return average_precision(then_truth, then_found, K)

    return Evaluation(
        overall=average_precision(kept_truth, kept_found, K),
        agnostic=average_precision(kept_truth, kept_found, K, agnostic=True),
        unfiltered=average_precision(truth, found, K),
        day=during(0),
        night=during(1),
        label_set=label_set,
        windows=len(results),
    )


def validate(results: Sequence[WindowResult], label_set: LabelSet, size: SensorSize) -> AveragePrecision:
    """Average precision over all windows, filtered: what a training is measured by after each epoch."""
    truth, found = (boxes.take(large_enough(boxes.xywh, size)) for boxes in _tables(results))
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


def _tables(results: Sequence[WindowResult]) -> tuple[LabelledBoxes, LabelledBoxes]:
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
