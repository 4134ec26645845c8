"""A checkpoint: weights as safetensors with the whole configuration as JSON in the same file. Nothing is unpickled."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from data.boxes import LabelSet
from data.errors import ConfigError, DatasetError
from data.events import SensorSize
from model.detector import SpikingDetector
from model.sealed_file import Kind, read_sealed, write_sealed
from model.trial_config import TrialConfig

CHECKPOINT = Kind(
    "checkpoint", format="4", remedy="use another checkpoint beside it, or resume the training from its state"
)


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
    """Write the file; a reader sees the old or the new one, whole.

    Raises:
        OSError: it cannot be written; the one before is still there.
    """
    write_sealed(*sealed_content(checkpoint), path, CHECKPOINT)


def sealed_content(checkpoint: Checkpoint) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors, which are the detector's own, and the metadata of a checkpoint's file."""
    metadata = {
        "config": checkpoint.config.model_dump_json(),
        "label_set": json.dumps({"name": checkpoint.label_set.name, "classes": checkpoint.label_set.classes}),
        "size": json.dumps(checkpoint.size),
        "epoch": str(checkpoint.epoch),
        "metrics": json.dumps(checkpoint.metrics),
    }
    return checkpoint.detector.state_dict(), metadata


def load_checkpoint(path: Path, device: torch.device | None = None) -> Checkpoint:
    """Read a checkpoint back, in evaluation mode.

    Raises:
        DatasetError: the file is missing, damaged, or none of ours.
    """
    if not path.is_file():
        raise DatasetError(f"{path}: no such checkpoint; `spiketune train` and `spiketune search` write *.safetensors")
    weights, metadata = read_sealed(path, CHECKPOINT)
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
