"""The command that writes a detector for other programs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from data.errors import InputError
from tuner.output import print_line

if TYPE_CHECKING:
    from data.events import SensorSize


def export(
    checkpoint: Annotated[Path, typer.Argument(help="A *.safetensors that Spiketune wrote.")],
    export_format: Annotated[str, typer.Option("--format", help="onnx, nir or torchscript.")],
    out: Annotated[Path, typer.Option(help="File to write.")],
    stateful: Annotated[
        bool, typer.Option("--stateful", help="One time step a call, membranes in and out, for a live camera.")
    ] = False,
    size: Annotated[
        str | None, typer.Option(help="Sensor WIDTHxHEIGHT, as in 1280x720. Default: what it was trained on.")
    ] = None,
) -> None:
    """Write a detector as ONNX, NIR or TorchScript."""
    from model.export.formats import ExportFormat, export_checkpoint

    if export_format not in list(ExportFormat):
        raise InputError(f"--format {export_format}: must be one of {', '.join(ExportFormat)}")
    if out.is_dir():
        raise InputError(f"--out {out}: is a folder; give the file to write")
    export_checkpoint(checkpoint, ExportFormat(export_format), out, stateful, _size(size))
    print_line(str(out))


def _size(text: str | None) -> "SensorSize | None":
    from data.events import SensorSize

    if text is None:
        return None
    width, times, height = text.partition("x")
    if not (times and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise InputError(f"--size {text}: must be WIDTHxHEIGHT in pixels, as in 1280x720")
    return SensorSize(int(width), int(height))
