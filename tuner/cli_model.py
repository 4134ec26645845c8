"""Commands on one detector: train it, evaluate it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from data.errors import InputError
from tuner.output import new_folder, print_json, print_line

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
    if as_json:
        print_json({**best, "checkpoint": str(out / BEST)})
    else:
        print_line(f"best: epoch {best['epoch']:.0f}, mAP {best['map']:.4f}, mAP50 {best['map50']:.4f}")
        print_line(f"checkpoint: {out / BEST}; next: spiketune evaluate {out / BEST} --data {data}")


def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="A *.safetensors that Spiketune wrote.")],
    data: DataOption,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "val",
    picture: Annotated[
        Path | None, typer.Option(help="PNG to draw events, true and found boxes of six windows into.")
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Measure a checkpoint by the Prophesee protocol."""
    from data.dataset import Dataset
    from data.manifest import Split
    from model.evaluation import evaluate_checkpoint
    from model.prediction import Validation

    if split not in list(Split):
        raise InputError(f"--split {split}: must be one of {', '.join(Split)}")
    dataset = Dataset.open(data)
    if picture is not None and picture.suffix != ".png":
        raise InputError(f"--picture {picture}: the picture is a PNG; give it a name that ends in .png")
    result = evaluate_checkpoint(checkpoint, dataset, Validation(Split(split)), device, picture).as_dict()
    if as_json:
        print_json(result)
        return
    print_line(f"{checkpoint} on {split} of {data}, {result['windows']} windows")
    for name in ("map", "map50", "map75", "map50_agnostic"):
        print_line(f"  {name:16} {result[name]:.4f}")
    for part in ("day", "night", "unfiltered"):
        print_line(f"  {part:16} {_precision(result[part])}")
    for name, precision in result["per_class"].items():
        print_line(f"  class {name:10} {_precision(precision)}")


def _precision(scores: dict[str, Any] | None) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in scores.items()) if scores else "nothing there"
