"""ONNX: what most runtimes read."""

import warnings
from importlib.util import find_spec
from pathlib import Path

import torch

from data.errors import InputError
from data.storage import whole_path
from model.export.exported_detector import FRAMES, OUTPUTS, Exportable

OPSET = 17  # read by onnxruntime 1.12 and later

# What PyTorch 2.13 says of its exporter by tracing. Its successor takes 15 times as long for the unrolled steps of a
# window (80 s against 5 s for a nano of half the width), and fixes nothing we need.
_OWN_WARNINGS = (r"You are using the legacy TorchScript-based ONNX export", r"The feature will be removed")


def require(*packages: str) -> None:
    """Refuse, in one sentence, where one of the packages of the extra `export` is missing.

    Raises:
        InputError: it is.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise InputError(f"{', '.join(missing)} is not installed; export needs: pip install 'spiketune[export]'")


def write_onnx(exported: Exportable, metadata: dict[str, str], path: Path) -> None:
    """Write the function as one file; T, H and W are fixed, the batch is not.

    Raises:
        InputError: a package it needs is missing.
    """
    require("onnx")
    import onnx

    with whole_path(path) as partial:
        _trace(exported, partial)
        model = onnx.load_model(str(partial))
        onnx.helper.set_model_props(model, metadata)
        onnx.checker.check_model(model)
        onnx.save_model(model, str(partial))


def _trace(exported: Exportable, path: Path) -> None:
    batch_axes = {
        name: {1 if name in (FRAMES, *OUTPUTS) else 0: "batch"} for name in exported.inputs + exported.outputs
    }
    with warnings.catch_warnings():
        for message in _OWN_WARNINGS:
            warnings.filterwarnings("ignore", message, DeprecationWarning)
        torch.onnx.export(
            exported.function,
            exported.example,
            path,
            dynamo=False,
            input_names=list(exported.inputs),
            output_names=list(exported.outputs),
            dynamic_axes=batch_axes,
            opset_version=OPSET,
        )
