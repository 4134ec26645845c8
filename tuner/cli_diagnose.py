"""The command that tells why a detector's mAP stays at zero."""

from pathlib import Path
from typing import Annotated

import typer

from tuner.cli_model import DataOption, DeviceOption, read_split_name
from tuner.output import print_json


def diagnose(
    checkpoint: Annotated[Path, typer.Argument(help="A *.safetensors that Spiketune wrote.")],
    data: DataOption,
    split: Annotated[str, typer.Option(help="Whose labels it is measured on: train, val or test.")] = "val",
    device: DeviceOption = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print all that was measured as JSON on stdout.")] = False,
) -> None:
    """Find out why a detector's mAP stays at zero. Exit code 1: a fault was found."""
    from data.dataset import Dataset
    from model.checkpoint import load_checkpoint
    from model.device import resolve_device
    from model.diagnosis.diagnose import diagnose as look
    from tuner.diagnosis_display import as_json, show

    chosen = read_split_name(split)
    found = look(load_checkpoint(checkpoint, resolve_device(device)), Dataset.open(data), chosen)
    if json:
        print_json(as_json(found))
    else:
        show(found)
    if found.failed:
        raise typer.Exit(1)
