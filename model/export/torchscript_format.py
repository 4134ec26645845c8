"""TorchScript: one file that PyTorch runs, in Python or C++, without this project."""

import json
import warnings
from pathlib import Path

import torch
from torch.jit._trace import TracerWarning

from data.storage import whole_path
from model.export.exported_detector import Exportable

METADATA = "spiketune.json"  # the extra file inside, which says what `metadata` of an ONNX file says


def write_torchscript(exported: Exportable, metadata: dict[str, str], path: Path) -> None:
    """Trace the function and write it; T, H and W are fixed, the batch is not."""
    with warnings.catch_warnings():
        # PyTorch 2.13 wants torch.export's own files instead, which need the same version of PyTorch and no C++.
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", DeprecationWarning)
        # Shapes become numbers: what depends on H and W is meant to, and T and B are taken from the tensor.
        warnings.filterwarnings("ignore", "", TracerWarning)
        traced = torch.jit.trace(exported.function, exported.example, check_trace=False)
        content = {**metadata, "inputs": json.dumps(exported.inputs), "outputs": json.dumps(exported.outputs)}
        with whole_path(path, path.suffix) as partial:
            torch.jit.save(traced, str(partial), _extra_files={METADATA: json.dumps(content)})
