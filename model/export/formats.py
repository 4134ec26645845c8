"""A checkpoint in a format that others run: ONNX, TorchScript, NIR. Their metadata says what they hold."""

import json
from enum import StrEnum
from pathlib import Path

from data.errors import ConfigError
from data.events import SensorSize
from model.checkpoint import Checkpoint, load_checkpoint
from model.export.exported_detector import exportable, frame_shape
from model.export.nir_format import write_nir
from model.export.onnx_format import write_onnx
from model.export.torchscript_format import write_torchscript

_BOXES = {
    "corners": "[T, B, N, 4] x1, y1, x2, y2 in output pixels (sensor pixels times scale)",
    "scores": "[T, B, N, K] how sure it is of each class, in [0, 1]",
    "embeddings": "[T, B, N, E] one for each point, not normalised; the cosine of two says whether they are one object",
}
_LOGITS = {
    "box": "box.STRIDE [C, H, W]: 16 logits each for the distances left, top, right, bottom in strides, then the "
    "embedding, then the logit of objectness where the configuration has it",
    "classes": "classes.STRIDE [K, H, W]: logits",
}


class ExportFormat(StrEnum):
    """Who is to run it."""

    ONNX = "onnx"
    NIR = "nir"
    TORCHSCRIPT = "torchscript"


def export_checkpoint(
    checkpoint: Path, export_format: ExportFormat, out: Path, stateful: bool = False, size: SensorSize | None = None
) -> None:
    """Write a checkpoint's detector for a sensor (its own, if no size is given), whole windows or step by step.

    Raises:
        DatasetError: the checkpoint cannot be read.
        ConfigError: the format cannot hold this detector.
        InputError: a package is missing.
    """
    loaded = load_checkpoint(checkpoint)
    size = size or loaded.size
    if export_format is ExportFormat.NIR:
        if stateful:
            raise ConfigError("--stateful: a NIR graph always goes on from step to step; leave it out")
        write_nir(loaded, size, _metadata(loaded, size, "step", _LOGITS), out)
        return
    exported = exportable(loaded, size, stateful)
    metadata = _metadata(loaded, size, "step" if stateful else "window", _BOXES)
    {ExportFormat.ONNX: write_onnx, ExportFormat.TORCHSCRIPT: write_torchscript}[export_format](exported, metadata, out)


def _metadata(checkpoint: Checkpoint, size: SensorSize, mode: str, outputs: dict[str, str]) -> dict[str, str]:
    """What whoever runs it must know."""
    labels = checkpoint.label_set
    _, _, channels, height, width = frame_shape(checkpoint, size, 1)
    return {
        "producer": "spiketune",
        "mode": mode,
        "label_set": labels.name,
        "classes": json.dumps(labels.classes),
        "sensor_size": json.dumps({"width": size.width, "height": size.height}),
        "frame_size": json.dumps({"channels": channels, "height": height, "width": width}),
        "readout": checkpoint.config.model.readout.value,
        "outputs": json.dumps(outputs),
        "configuration": checkpoint.config.model_dump_json(),
    }
