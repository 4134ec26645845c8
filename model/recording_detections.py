"""What a detector finds in one recording of a dataset at any times, tracked: for clips of it."""

from collections.abc import Sequence
from pathlib import Path

from data.dataset import Dataset
from data.rendering import WindowRenderer
from data.shards import Shard
from data.viewing import FRAME_US
from data.windows import causal_window
from model.checkpoint import Checkpoint, load_checkpoint
from model.detecting import SHOWN_SCORE, from_rest, told_boxes
from model.device import resolve_device
from model.prediction import check_fits
from model.predictions.predicted_boxes import PredictedBoxes

WARM_UP_US = 1_000_000  # before the first time asked for, so that tracks are known when it comes


def detect_checkpoint(
    path: Path, dataset: Dataset, shard: Shard, times_us: Sequence[int], device: str
) -> PredictedBoxes:
    """What a checkpoint finds at these times, tracked as it is configured.

    Raises:
        DatasetError: the checkpoint cannot be read, or its label set or sensor is not the dataset's.
        ConfigError: the device cannot be used.
    """
    checkpoint = load_checkpoint(path, resolve_device(device))
    check_fits(checkpoint, path, dataset)
    before = range(times_us[0] - FRAME_US, times_us[0] - WARM_UP_US, -FRAME_US)
    earlier = [time_us for time_us in before if time_us > shard.first_us]
    found = detect_recording(checkpoint, shard, [*reversed(earlier), *times_us])
    return found.take(found.boxes.t >= times_us[0])


def detect_recording(
    checkpoint: Checkpoint, shard: Shard, times_us: Sequence[int], least_score: float = SHOWN_SCORE
) -> PredictedBoxes:
    """The tracked boxes at these times, each from the window that ends there by itself, in sensor pixels.

    Args:
        checkpoint: the detector, on the device it is to run on.
        shard: the recording.
        times_us: rising, on the recording's clock.
        least_score: boxes below it are left out in the end, unless they are in a track; all take part in tracking.
    """
    data = checkpoint.config.data
    windows = (causal_window(0, int(time_us), data.window_us) for time_us in times_us)
    found = from_rest(checkpoint, WindowRenderer([shard], data, None), windows)
    return told_boxes(found, checkpoint.config.tracking, least_score)
