"""Commands to look at a dataset."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli_model import DeviceOption
from tuner.output import plain_console, print_json, print_line

if TYPE_CHECKING:
    from data.dataset import Dataset
    from data.shards import Shard
    from data.summary import DatasetSummary, SplitSummary
    from model.predictions.predicted_boxes import PredictedBoxes

DatasetArgument = Annotated[str, typer.Argument(help="Folder or s3://BUCKET/PREFIX of a dataset.")]

CLIP_S = 5.0


def show(
    dataset: DatasetArgument,
    recording: Annotated[str, typer.Argument(help="Its name, or SPLIT/NAME.")],
    at: Annotated[
        float | None,
        typer.Option(help="Seconds from the recording's start; a clip begins there. Default: where most boxes are."),
    ] = None,
    window_ms: Annotated[float, typer.Option(help="How much of the time before is shown.")] = 50.0,
    seconds: Annotated[float | None, typer.Option(help=f"Length of a clip. Default: {CLIP_S:g}.")] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(help="Checkpoint that finds boxes here, or a folder that `evaluate --predictions` wrote."),
    ] = None,
    device: DeviceOption = "auto",
    out: Annotated[
        Path | None, typer.Option(help="Picture (.png) or clip (.mp4, .gif) to write. Default: RECORDING.png.")
    ] = None,
) -> None:
    """Draw a recording's events with its boxes, or with those a detector finds, each track in a colour of its own."""
    from data.dataset import Dataset
    from data.drawing import write_clip, write_image
    from data.errors import InputError
    from data.viewing import FRAMES_A_SECOND, RecordingView, find_recording

    if not 1 <= window_ms <= 60_000:
        raise InputError(f"--window-ms={window_ms:g} must lie between 1 and 60000")
    if seconds is not None and not 0 < seconds <= 3600:
        raise InputError(f"--seconds={seconds:g} must lie above 0 and not above 3600")
    path = out or Path(f"{Path(recording).name}.png")
    clip = path.suffix.lower() in (".mp4", ".gif")
    if not clip and path.suffix.lower() != ".png":
        raise InputError(f"--out={path} must end in .png, .mp4 or .gif")
    if not clip and seconds is not None:
        raise InputError(f"--seconds={seconds:g} is the length of a clip, and {path} is a picture; leave it out")
    opened = Dataset.open(dataset)
    shard = find_recording(opened, recording)
    view = RecordingView(shard, opened.label_set.classes, round(window_ms * 1000))
    length = seconds or CLIP_S
    start = at if at is not None else view.clip_start_s(length) if clip else view.busiest_s()
    if predictions is not None:
        times_us = list(view.clip_times_us(start, length)) if clip else [view.time_us(start)]
        view = view.over(_found(predictions, opened, shard, times_us, device))
    if clip:
        write_clip(view.clip(start, length), path, FRAMES_A_SECOND)
    else:
        write_image(view.picture(start), path)
    print_line(str(path))


def _found(predictions: Path, dataset: "Dataset", shard: "Shard", times_us: list[int], device: str) -> "PredictedBoxes":
    """What a checkpoint finds at these times, or a folder holds of the recording."""
    from model.predictions.files import recording_predictions
    from model.recording_detections import detect_checkpoint

    if predictions.is_dir():
        return recording_predictions(predictions, dataset.label_set, shard.name)
    return detect_checkpoint(predictions, dataset, shard, times_us, device)


def data_summary(
    dataset: DatasetArgument,
    out: Annotated[Path | None, typer.Option(help="Histograms to write, as .png.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Show what a dataset holds: recordings, rates, labels and boxes of each split."""
    from rich.console import Console

    from data.dataset import Dataset
    from data.errors import InputError
    from data.histograms import write_histograms
    from data.summary import summarize

    if out is not None and out.suffix.lower() != ".png":
        raise InputError(f"--out={out} must end in .png")
    opened = Dataset.open(dataset)
    with Console(stderr=True).status("reading labels") as status:  # seen on a terminal only
        summary = summarize(opened, lambda done, total: status.update(f"reading labels: {done}/{total} recordings"))
    if out is not None:
        write_histograms(summary, out)
    if json:
        print_json(summary.numbers())
        return
    _print_table(summary)
    if out is not None:
        print_line(str(out))


def _print_table(summary: "DatasetSummary") -> None:
    from rich.table import Table

    columns = [*summary.splits, *([summary.total] if len(summary.splits) > 1 else [])]
    table = Table(
        title=f"{summary.location}: {summary.width}x{summary.height}, label set {summary.label_set}",
        title_justify="left",
        title_style="",
    )
    table.add_column("")
    for split in columns:
        table.add_column(split.name, justify="right")
    for name, told in _ROWS.items():
        table.add_row(name, *(told(split) for split in columns))
    table.add_section()
    for k, name in enumerate(summary.classes):
        table.add_row(f"{name} boxes", *(f"{split.boxes[k]:,}" for split in columns))
    table.add_row("all boxes", *(f"{split.boxes.sum():,}" for split in columns))
    plain_console().print(table)


def _light(split: "SplitSummary") -> str:
    return ", ".join(f"{count} {name}" for name, count in split.light.items() if count)


def _interval(split: "SplitSummary") -> str:
    return "-" if split.label_interval_ms is None else f"{split.label_interval_ms:,.4g}"


_ROWS: "dict[str, Callable[[SplitSummary], str]]" = {
    "recordings": lambda split: f"{len(split.recordings):,}",
    "light": _light,
    "GiB": lambda split: f"{split.gibibytes:,.3f}",
    "events": lambda split: f"{split.events:,}",
    "seconds": lambda split: f"{split.duration_s:,.1f}",
    "events a second": lambda split: f"{split.events / split.duration_s:,.0f}",
    "label times": lambda split: f"{split.label_times:,}",
    "label times a second": lambda split: f"{split.label_times / split.duration_s:,.2f}",
    "ms between labels": _interval,
}
