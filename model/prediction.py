"""What a detector finds in the evaluation windows of a split, beside the truth."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from data.sampling import Order
from data.shards import Shard
from data.windows import Window
from model.checkpoint import Checkpoint, load_checkpoint
from model.decoding import Detections, decode
from model.detector import SpikingDetector
from model.device import resolve_device
from model.spike_driven import spike_driven
from model.streamed_prediction import RecordingRuns
from model.team import ALONE, Team
from model.trial_config import TrialConfig

BATCH = 8  # windows at once; results do not depend on it


@dataclass(frozen=True, slots=True)
class Validation:
    """What a detector is measured on: fixed for all trials of a search, or they could not be compared."""

    split: Split = Split.VAL
    windows: int | None = None  # that many label times, evenly spaced; None takes all
    # Whether recordings run past the detector step by step; None: as it was trained, that is unless data.order=random.
    streaming: bool | None = None


@dataclass(frozen=True, slots=True)
class WindowResult:
    """Truth and detections of one window, in sensor pixels."""

    window: Window
    night: bool | None
    truth: Boxes
    found: Detections


def predict_checkpoint(
    path: Path, dataset: Dataset, validation: Validation, device: str, driven: bool = False
) -> tuple[TrialConfig, list[WindowResult]]:
    """What a checkpoint finds in a split, and how it was configured; `driven` runs it on zeros and ones.

    Raises:
        DatasetError: the checkpoint cannot be read, or its label set or sensor is not the dataset's.
        ConfigError: the device cannot be used, or its neurons cannot be driven by spikes.
    """
    target = resolve_device(device)
    checkpoint = load_checkpoint(path, target)
    check_fits(checkpoint, path, dataset)
    windows = EvaluationWindows(dataset.shards(validation.split), checkpoint.config.data, validation)
    detector = spike_driven(checkpoint.detector) if driven else checkpoint.detector
    return checkpoint.config, windows.predict(detector, target)


def check_fits(checkpoint: Checkpoint, path: Path, dataset: Dataset) -> None:
    """Whether a checkpoint speaks of the dataset's classes and sensor.

    Raises:
        DatasetError: it does not.
    """
    if checkpoint.label_set != dataset.label_set:
        ours, theirs = checkpoint.label_set.name, dataset.label_set.name
        raise DatasetError(
            f"{path}: trained on label set '{ours}', the dataset has '{theirs}': numbers mean other classes"
        )
    if checkpoint.size != dataset.size:
        raise DatasetError(f"{path}: trained for a sensor of {checkpoint.size}, the dataset's is {dataset.size}")


class EvaluationWindows:
    """The windows a detector is measured on: each by itself from rest, or in the course of its whole recording.

    The processes of a team take a part each, and all of them get all results.

    Raises:
        DatasetError: none of the recordings has a label that counts.
    """

    def __init__(self, shards: Sequence[Shard], config: DataConfig, validation: Validation, team: Team = ALONE) -> None:
        self._shards = shards
        self._scale = config.scale
        self._team = team
        streams = config.order is not Order.RANDOM if validation.streaming is None else validation.streaming
        part = (0, 1) if streams else (team.rank, team.ranks)
        self.loader = EvaluationLoader(shards, config, BATCH, validation.windows, *([part] if part[1] > 1 else []))
        self._windows = _of_own_recordings(self.loader.windows, team) if streams else self.loader.windows
        self._runs = RecordingRuns(shards, config, self._windows) if streams else None

    @torch.no_grad()
    def predict(self, detector: SpikingDetector, device: torch.device) -> list[WindowResult]:
        """Detections and truth of each window, by recording and in time order.

        Leaves the detector in evaluation mode.
        """
        detector.eval()
        if self._runs is not None:
            found = self._runs.predict(detector, device)
        else:
            said = (detector(frames_TBCHW.to(device)) for _, frames_TBCHW in self.loader)
            found = [boxes for predictions in said for boxes in decode(predictions, detector.config.readout)]
        own = [self._result(*pair) for pair in zip(self._windows, found, strict=True)]
        return sorted(self._team.gather(own), key=lambda result: result.window)

    def _result(self, window: Window, found: Detections) -> WindowResult:
        shard = self._shards[window.recording]
        placed = replace(found, corners=in_sensor(found, shard.size, self._scale))
        return WindowResult(window, shard.night, shard.boxes.at(window.label_us), placed)


def _of_own_recordings(windows: Sequence[Window], team: Team) -> list[Window]:
    """The windows of every `ranks`-th recording: a recording runs past one detector from end to end."""
    place = {recording: count for count, recording in enumerate(sorted({window.recording for window in windows}))}
    return [window for window in windows if place[window.recording] % team.ranks == team.rank]


def in_sensor(found: Detections, size: SensorSize, scale: float) -> npt.NDArray[np.float32]:
    """Corners in sensor pixels, clipped to the frame as the labels are."""
    clipped: npt.NDArray[np.float32] = np.clip(found.corners / scale, 0, np.array([*size, *size])).astype(np.float32)
    return clipped
