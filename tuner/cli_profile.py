"""The command that says what a detector costs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from data.errors import InputError
from tuner.output import plain_console, print_json, print_line

if TYPE_CHECKING:
    from model.profiling.profile import Profile, StageProfile
    from tuner.profile_target import Target


def profile(
    target: Annotated[
        Path,
        typer.Argument(metavar="CONFIG|CHECKPOINT", help="YAML with leaves of the configuration, or *.safetensors."),
    ],
    size: Annotated[
        str | None, typer.Option(help="Sensor, WxH. Default: the checkpoint's or dataset's; 640x360.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Dataset whose validation windows are shown; without it frames are synthetic.")
    ] = None,
    windows: Annotated[int, typer.Option(help="Windows over which spikes are averaged.")] = 4,
    classes: Annotated[int | None, typer.Option(help="Classes of a configuration's detector. Default: 8.")] = None,
    assignments: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, as in model.neck=efm.")] = None,
    runs: Annotated[int, typer.Option(help="Calls that are timed at batch 1, after a warm-up; 0 times none.")] = 20,
    threads: Annotated[int | None, typer.Option(help="Threads of PyTorch. Default: its own choice.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...: where latency is timed.")] = "auto",
    out: Annotated[Path | None, typer.Option(help="Bar chart by stage to write, as .png.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all numbers as JSON.")] = False,
) -> None:
    """Say what a detector costs, stage by stage: operations, energy, memory traffic, latency."""
    import torch

    from model.profiling.figure import write_profile_figure
    from model.profiling.profile import profile_detector
    from tuner.profile_target import Wish, open_target

    if out is not None and out.suffix.lower() != ".png":
        raise InputError(f"--out={out} must end in .png")
    if not 0 <= runs <= 100_000:
        raise InputError(f"--runs={runs} must lie between 0 and 100000")
    if threads is not None:
        if threads < 1:
            raise InputError(f"--threads={threads} must be at least 1")
        torch.set_num_threads(threads)
    opened = open_target(Wish(target, assignments or [], size, data, classes, windows), device)
    result = profile_detector(opened.detector, opened.frames_TBCHW, runs)
    if out is not None:
        write_profile_figure(result, out, _title(target, opened))
    if as_json:
        about = {"target": str(target), "weights": opened.weights, "frames": opened.frames}
        print_json({**about, "sensor": opened.size._asdict(), **result.as_dict()})
        return
    _print(target, opened, result)
    if out is not None:
        print_line(str(out))


def _title(path: Path, target: "Target") -> str:
    model = target.config.model
    T, _, _, H, W = target.frames_TBCHW.shape
    return f"{path.name}: {model.preset} {model.backbone} + {model.neck}, {model.neuron.name}, T={T}, {W}x{H}"


def _print(path: Path, target: "Target", result: "Profile") -> None:
    print_line(_title(path, target))
    print_line(f"weights: {target.weights}")
    print_line(f"frames: {target.frames}; firing rates and energy are of these")
    _print_table(result)
    T = result.time_steps
    for name, text in {
        "parameters": f"{result.parameters:,}",
        "MACs of the ReLU twin": f"{_mega(result.macs)} M a frame ({_mega(result.flops)} MFLOPs)",
        "SynOps": f"{_mega(result.synops)} M additions a frame, and {_mega(result.multiplied)} M MACs of the stem",
        "energy": f"{_micro(result.energy_pj)} µJ a frame, {_micro(result.energy_pj / T)} µJ a step",
        "ReLU twin's energy": f"{_micro(result.twin_energy_pj)} µJ a frame; ours is {result.energy_ratio:.3f} of it",
        "with neurons' arithmetic": f"{result.energy_ratio_with_neurons:.3f} of it "
        f"({_mega(result.neuron_flops)} MFLOPs, not counted above)",
        "peak stage": f"{result.peak_stage.name}, {result.balance:.2f} times the mean stage",
        "peak layer": f"{result.peak_layer.name}, {_mega(result.peak_layer.macs)} M MACs",
        "CIO": f"{_mega(result.cio)} M numbers a step",
        "activation memory": f"{result.activation_bytes / 2**20:,.1f} MiB a window in training",
    }.items():
        print_line(f"  {name:25} {text}")
    if result.latency is not None:
        speed = result.latency
        print_line(
            f"  {'latency':25} p50 {speed.p50_ms:.2f} ms, p99 {speed.p99_ms:.2f} ms, {speed.frames_per_second:.1f} "
            f"frames/s at batch 1 ({speed.runs} runs on {speed.device}, {speed.threads} threads)"
        )
    print_line(f"  a frame is a window of {T} time steps, answered once")


def _print_table(result: "Profile") -> None:
    from rich.table import Table

    table = Table(
        "stage", *("parameters", "M MACs", "share", "M SynOps", "µJ", "twin's µJ", "M CIO", "MiB", "firing rate")
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for stage in result.stages:
        table.add_row(*_cells(stage, result))
    plain_console().print(table)


def _cells(stage: "StageProfile", result: "Profile") -> list[str]:
    return [
        stage.name,
        f"{stage.parameters:,}",
        _mega(stage.macs),
        f"{stage.macs / result.macs:.1%}",
        _mega(stage.synops),
        _micro(stage.energy_pj),
        _micro(stage.twin_energy_pj),
        _mega(stage.cio / result.time_steps),
        f"{stage.activation_bytes / 2**20:.1f}",
        "-" if stage.firing_rate is None else f"{stage.firing_rate:.3f}",
    ]


def _mega(count: float) -> str:
    return f"{count / 1e6:,.2f}"


def _micro(energy_pj: float) -> str:
    return f"{energy_pj / 1e6:,.2f}"
