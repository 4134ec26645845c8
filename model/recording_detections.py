"""What a detector finds in one recording at any times, tracked: for clips, and for recordings without labels."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from data.boxes import Boxes
from data.dataset import Dataset
from data.rendering import WindowRenderer
from data.shards import Shard
from data.viewing import FRAME_US
from data.windows import causal_window
from model.checkpoint import Checkpoint, load_checkpoint
from model.decoding import decode
from model.device import resolve_device
from model.prediction import BATCH, WindowResult, check_fits, in_sensor
from model.predictions.predicted_boxes import PredictedBoxes, by_recording
from model.tracking.config import TrackingConfig
from model.tracking.tracker import track_windows

WARM_UP_US = 1_000_000  # before the first time asked for, so that tracks are known when it comes
SHOWN_SCORE = 0.3  # boxes in no track are told from here on


def detect_checkpoint(
    path: Path, dataset: Dataset, shard: Shard, times_us: Sequence[int], device: str
) -> PredictedBoxes:
    """What a checkpoint finds at these times, tracked as it is configured.

    Raises:
        DatasetError: the checkpoint cannot be read, or its label set or sensor is not the dataset's.
        ConfigError: the device cannot be used.
    """
    target = resolve_device(device)
    checkpoint = load_checkpoint(path, target)
    check_fits(checkpoint, path, dataset)
    before = range(times_us[0] - FRAME_US, times_us[0] - WARM_UP_US, -FRAME_US)
    earlier = [time_us for time_us in before if time_us > shard.first_us]
    found = detect_recording(checkpoint, shard, [*reversed(earlier), *times_us], target, checkpoint.config.tracking)
    return found.take(found.boxes.t >= times_us[0])


@torch.no_grad()
def detect_recording(
    checkpoint: Checkpoint,
    shard: Shard,
    times_us: Sequence[int],
    device: torch.device,
    tracking: TrackingConfig,
    least_score: float = SHOWN_SCORE,
) -> PredictedBoxes:
    """The tracked boxes at these times, each from the window that ends there, in sensor pixels.

    Args:
        checkpoint: the detector and how its frames are rendered.
        shard: the recording.
        times_us: rising, on the recording's clock.
        device: where the detector is.
        tracking: how boxes are joined into tracks; all scores take part in that.
        least_score: boxes below it are left out in the end, unless they are in a track.
    """
    data, detector = checkpoint.config.data, checkpoint.detector
    renderer = WindowRenderer([shard], data, None)
    windows = [causal_window(0, int(time_us), data.window_us) for time_us in times_us]
    results = []
    for first in range(0, len(windows), BATCH):
        some = windows[first : first + BATCH]
        frames_BTCHW = renderer.empty(len(some))
        for window, frames_TCHW in zip(some, frames_BTCHW, strict=True):
            renderer.frames(window, frames_TCHW)
        said = detector(renderer.as_tensor(frames_BTCHW).to(device))
        for window, found in zip(some, decode(said, detector.config.readout), strict=True):
            placed = replace(found, corners=in_sensor(found, shard.size, data.scale))
            results.append(WindowResult(window, shard.night, Boxes.empty(), placed))
    (recording,) = by_recording(track_windows(results, tracking), [shard])
    found_all = recording.found
    return found_all.take(np.asarray((found_all.boxes.track_id > 0) | (found_all.scores >= least_score)))
