"""What a detector finds in the evaluation windows of a split, beside the truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from data.boxes import Boxes
from data.data_config import DataConfig
from data.dataset import Dataset
from data.errors import DatasetError
from data.events import SensorSize
from data.loading import EvaluationLoader
from data.manifest import Split
from data.shards import Shard
from data.windows import Window
from model.checkpoint import load_checkpoint
from model.decoding import Detections, decode
from model.detector import SpikingDetector
from model.device import resolve_device

BATCH = 8  # windows at once; results do not depend on it


@dataclass(frozen=True, slots=True)
class Validation:
    """What a detector is measured on: fixed for all trials of a search, or they could not be compared."""

    split: Split = Split.VAL
    windows: int | None = None  # that many label times, evenly spaced; None takes all


@dataclass(frozen=True, slots=True)
class WindowResult:
    """Truth and detections of one window, in sensor pixels."""

    window: Window
    night: bool | None
    truth: Boxes
    found: Detections


def predict_checkpoint(path: Path, dataset: Dataset, validation: Validation, device: str) -> list[WindowResult]:
    """What a checkpoint finds in a split.

    Raises:
        DatasetError: the checkpoint cannot be read, or its label set or sensor is not the dataset's.
        ConfigError: the device cannot be used.
    """
    target = resolve_device(device)
    checkpoint = load_checkpoint(path, target)
    if checkpoint.label_set != dataset.label_set:
        ours, theirs = checkpoint.label_set.name, dataset.label_set.name
        raise DatasetError(
            f"{path}: trained on label set '{ours}', the dataset has '{theirs}': numbers mean other classes"
        )
    if checkpoint.size != dataset.size:
        raise DatasetError(f"{path}: trained for a sensor of {checkpoint.size}, the dataset's is {dataset.size}")
    windows = EvaluationWindows(dataset.shards(validation.split), checkpoint.config.data, validation)
    return windows.predict(checkpoint.detector, target)


class EvaluationWindows:
    """The windows a detector is measured on.

    Raises:
        DatasetError: none of the recordings has a label that counts.
    """

    def __init__(self, shards: Sequence[Shard], config: DataConfig, validation: Validation) -> None:
        self._shards = shards
        self._scale = config.scale
        self._loader = EvaluationLoader(shards, config, BATCH, validation.windows)

    @torch.no_grad()
    def predict(self, detector: SpikingDetector, device: torch.device) -> list[WindowResult]:
        """Detections and truth of each window, in order. Leaves the detector in evaluation mode."""
        detector.eval()
        results = []
        for windows, frames_TBCHW in self._loader:
            for window, found in zip(windows, decode(detector(frames_TBCHW.to(device))), strict=True):
                shard = self._shards[window.recording]
                truth = shard.boxes.at(window.label_us)
                scaled = Detections(_in_sensor(found, shard.size, self._scale), found.scores, found.classes)
                results.append(WindowResult(window, shard.night, truth, scaled))
        return results


def _in_sensor(found: Detections, size: SensorSize, scale: float) -> npt.NDArray[np.float32]:
    """Corners in sensor pixels, clipped to the frame as the labels are."""
    clipped: npt.NDArray[np.float32] = np.clip(found.corners / scale, 0, np.array([*size, *size])).astype(np.float32)
    return clipped
