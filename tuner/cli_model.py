"""The command that trains one detector."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from data.errors import InputError
from tuner.output import new_folder, print_json, print_line

if TYPE_CHECKING:
    from data.manifest import Split

DataOption = Annotated[str, typer.Option("--data", help="Dataset that `spiketune ingest` wrote: a folder or a URL.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout, all else on stderr.")]


def train(
    data: DataOption,
    out: Annotated[Path, typer.Option(help="Folder to write best.safetensors and last.safetensors into.")],
    config: Annotated[
        Path | None, typer.Option(help="YAML with leaves of the configuration; best.yaml is one.")
    ] = None,
    assignments: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, as in loss.box=5.")] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Train one configuration."""
    from data.dataset import Dataset
    from model.prediction import Validation
    from model.training import BEST
    from model.training import train as run_training
    from tuner.leaves import load_config

    settings = load_config(config, assignments or [])
    dataset = Dataset.open(data)
    best: dict[str, float] = {}
    for report in run_training(settings, dataset, new_folder(out), Validation(), device):
        metrics = report.as_metrics()
        best = metrics if report.best else best
        print_line(
            f"epoch {report.epoch}/{settings.training.epochs} loss {metrics['loss']:.4f} mAP {report.map:.4f} "
            f"mAP50 {report.map50:.4f} {report.seconds:.1f} s{' *' if report.best else ''}",
            on_stderr=as_json,
        )
        if report.diagnosis is not None and report.map == 0:
            print_line(f"mAP is 0: {report.diagnosis}", on_stderr=as_json)
    if as_json:
        print_json({**best, "checkpoint": str(out / BEST)})
    else:
        print_line(f"best: epoch {best['epoch']:.0f}, mAP {best['map']:.4f}, mAP50 {best['map50']:.4f}")
        print_line(f"checkpoint: {out / BEST}; next: spiketune evaluate {out / BEST} --data {data}")


def read_split_name(name: str) -> "Split":
    """The split of this name.

    Raises:
        InputError: there is none.
    """
    from data.manifest import Split

    if name not in list(Split):
        raise InputError(f"--split {name}: must be one of {', '.join(Split)}")
    return Split(name)
