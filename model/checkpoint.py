"""A checkpoint: weights as safetensors with the whole configuration as JSON in the same file. Nothing is unpickled."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from data.boxes import LabelSet
from data.errors import ConfigError, DatasetError
from data.events import SensorSize
from model.detector import SpikingDetector
from model.trial_config import TrialConfig

FORMAT = "3"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A trained detector and all that is needed to use it."""

    detector: SpikingDetector
    config: TrialConfig
    label_set: LabelSet
    size: SensorSize
    epoch: int
    metrics: dict[str, float]


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write the file under a temporary name, then rename it: a reader sees the old or the new one, whole."""
    metadata = {
        "format": FORMAT,
        "config": checkpoint.config.model_dump_json(),
        "label_set": json.dumps({"name": checkpoint.label_set.name, "classes": checkpoint.label_set.classes}),
        "size": json.dumps(checkpoint.size),
        "epoch": str(checkpoint.epoch),
        "metrics": json.dumps(checkpoint.metrics),
    }
    weights = {name: value.detach().cpu().contiguous() for name, value in checkpoint.detector.state_dict().items()}
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file(weights, partial, metadata)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load_checkpoint(path: Path, device: torch.device | None = None) -> Checkpoint:
    """Read a checkpoint back, in evaluation mode.

    Raises:
        DatasetError: the file is missing, damaged, or none of ours.
    """
    if not path.is_file():
        raise DatasetError(f"{path}: no such checkpoint; `spiketune train` and `spiketune search` write *.safetensors")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise DatasetError(f"{path}: not a readable checkpoint ({error}); it is damaged, train again") from None
    if metadata.get("format") != FORMAT:
        raise DatasetError(f"{path}: format {metadata.get('format')!r} is not {FORMAT!r}; written by another version")
    return _restored(path, metadata, weights, device or torch.device("cpu"))


def _restored(
    path: Path, metadata: dict[str, str], weights: dict[str, torch.Tensor], device: torch.device
) -> Checkpoint:
    try:
        config = TrialConfig.parse(json.loads(metadata["config"]), str(path))
        labels = json.loads(metadata["label_set"])
        label_set = LabelSet(labels["name"], tuple(labels["classes"]))
        detector = SpikingDetector(
            config.model, config.data.representation, config.data.time_steps, len(label_set.classes)
        )
        detector.load_state_dict(weights)
        size = SensorSize(*json.loads(metadata["size"]))
        epoch, metrics = int(metadata["epoch"]), json.loads(metadata["metrics"])
    except (KeyError, ValueError, RuntimeError, ConfigError) as error:
        raise DatasetError(f"{path}: does not fit this version: {error}") from None
    return Checkpoint(detector.to(device).eval(), config, label_set, size, epoch, metrics)
