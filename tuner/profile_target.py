"""What is profiled: the detector of a checkpoint or of a configuration, and the frames it is shown."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from data.dataset import Dataset
from data.errors import DatasetError, InputError
from data.events import SensorSize
from data.frame_size import content_size, padded
from data.loading import EvaluationLoader
from data.manifest import Split
from model.checkpoint import load_checkpoint
from model.detector import SpikingDetector
from model.device import resolve_device
from model.profiling.untrained import OCCUPANCY, synthetic_frames, untrained_detector
from model.trial_config import TrialConfig
from tuner.leaves import load_config

DEFAULT_SIZE = SensorSize(640, 360)
DEFAULT_CLASSES = 8  # eTraM's
LARGEST_SIDE = 8192  # px; a typing mistake beyond it would ask for all memory


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asked for."""

    target: Path  # *.safetensors, or YAML
    assignments: Sequence[str] = ()  # leaves as KEY=VALUE
    size: str | None = None  # sensor, WxH
    data: str | None = None
    classes: int | None = None
    windows: int = 4


@dataclass(frozen=True, slots=True)
class Target:
    """A detector in evaluation mode on its device, frames for it, and what both are, in words."""

    detector: SpikingDetector
    frames_TBCHW: torch.Tensor
    config: TrialConfig
    size: SensorSize  # of the sensor
    weights: str
    frames: str


def open_target(wish: Wish, device_name: str) -> Target:
    """Load or build what is to be profiled.

    Raises:
        ConfigError: a leaf, or the device.
        DatasetError: the checkpoint or the dataset.
        InputError: options that do not go together.
    """
    device = resolve_device(device_name)
    if wish.windows < 1:
        raise InputError(f"--windows={wish.windows} must be at least 1")
    if wish.classes is not None and wish.classes < 1:
        raise InputError(f"--classes={wish.classes} must be at least 1")
    dataset = Dataset.open(wish.data) if wish.data is not None else None
    if dataset is not None and wish.size is not None:
        raise InputError(f"--size={wish.size} and --data: frames are of the dataset's size; leave --size out")
    size = sensor_size(wish.size) if wish.size is not None else None
    if wish.target.suffix == ".safetensors":
        return _of_checkpoint(wish, dataset, size, device)
    return _of_configuration(wish, dataset, size, device)


def sensor_size(text: str) -> SensorSize:
    """The size written as WIDTHxHEIGHT.

    Raises:
        InputError: it is not written so, or no sensor is that large.
    """
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise InputError(f"--size={text} must be WIDTHxHEIGHT in sensor pixels, as in 1280x720")
    width, height = int(match[1]), int(match[2])
    if not (1 <= width <= LARGEST_SIDE and 1 <= height <= LARGEST_SIDE):
        raise InputError(f"--size={text}: width and height must lie between 1 and {LARGEST_SIDE}")
    return SensorSize(width, height)


def _of_checkpoint(wish: Wish, dataset: Dataset | None, size: SensorSize | None, device: torch.device) -> Target:
    for option, given in (("--classes", wish.classes), ("--set", wish.assignments)):
        if given:
            raise InputError(f"{option}: {wish.target} is a checkpoint, whose configuration stands; leave it out")
    checkpoint = load_checkpoint(wish.target, device)
    if dataset is not None and dataset.size != checkpoint.size:
        ours, theirs = _written(checkpoint.size), _written(dataset.size)
        raise DatasetError(f"{wish.target}: trained for a sensor of {ours}, the dataset's is {theirs}")
    size = size or checkpoint.size
    frames_TBCHW, words = _frames(wish, checkpoint.config, dataset, size)
    weights = f"trained, epoch {checkpoint.epoch}"
    return Target(checkpoint.detector, frames_TBCHW, checkpoint.config, size, weights, words)


def _of_configuration(wish: Wish, dataset: Dataset | None, size: SensorSize | None, device: torch.device) -> Target:
    config = load_config(wish.target, wish.assignments)
    if dataset is not None:
        if wish.classes is not None:
            raise InputError(f"--classes={wish.classes} and --data: classes are the dataset's; leave --classes out")
        size = dataset.size
    size = size or DEFAULT_SIZE
    classes = len(dataset.label_set.classes) if dataset is not None else wish.classes or DEFAULT_CLASSES
    frames_TBCHW, words = _frames(wish, config, dataset, size)
    detector = untrained_detector(config, classes, frames_TBCHW).to(device)
    return Target(detector, frames_TBCHW, config, size, "untrained, batch norms set by these frames", words)


def _frames(wish: Wish, config: TrialConfig, dataset: Dataset | None, size: SensorSize) -> tuple[torch.Tensor, str]:
    data = config.data
    if dataset is not None:
        loader = EvaluationLoader(dataset.shards(Split.VAL), data, wish.windows, wish.windows)
        _, frames_TBCHW = next(iter(loader))
        return frames_TBCHW, f"{frames_TBCHW.shape[1]} validation windows of {wish.data}"
    height, width = padded(content_size(size, data.scale), data.square)
    frames_TBCHW = synthetic_frames(
        data.representation, data.time_steps, wish.windows, height, width, config.training.seed
    )
    return frames_TBCHW, f"synthetic: {wish.windows} windows of noise, {OCCUPANCY:.0%} of the cells occupied"


def _written(size: SensorSize) -> str:
    return f"{size.width}x{size.height}"
