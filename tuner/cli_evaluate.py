"""The command that measures a detector."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from data.errors import InputError
from tuner.cli_model import DataOption, DeviceOption, JsonOption, read_split_name
from tuner.output import print_json, print_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from data.dataset import Dataset
    from model.prediction import Validation
    from model.predictions.files import PredictionFormat
    from model.tracking.tracker import TrackedWindow

_LIGHTS = ("day", "day_agnostic", "night", "night_agnostic")
_SIZES = ("small", "medium", "large", "unfiltered", "unfiltered_small")

PictureOption = Annotated[
    Path | None, typer.Option(help="PNG to draw events, true and found boxes of six windows into.")
]
CurvesOption = Annotated[
    Path | None, typer.Option(help="PNG to draw precision against recall, calibration and confusion into.")
]


def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="A *.safetensors that Spiketune wrote.")],
    data: DataOption,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "val",
    tracking: Annotated[bool, typer.Option("--tracking", help="Track, and measure HOTA, MOTA and IDF1 too.")] = False,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE of how it tracks, as in tracking.embedding_weight=0.")
    ] = None,
    predictions: Annotated[Path | None, typer.Option(help="New folder to write what was found into.")] = None,
    format: Annotated[  # noqa: A002
        str | None, typer.Option(help="Of the predictions: npy, coco or mot. Default: coco.")
    ] = None,
    picture: PictureOption = None,
    curves: CurvesOption = None,
    spike_driven: Annotated[
        bool, typer.Option("--spike-driven", help="Run on zeros and ones: each count as D slots.")
    ] = False,
    streaming: Annotated[
        bool | None,
        typer.Option("--streaming/--windows", help="Recordings step by step, or windows alone. Else as trained."),
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Measure a checkpoint by the Prophesee protocol."""
    from data.dataset import Dataset
    from model.evaluation.figures import write_curves
    from model.evaluation.protocol import summarize
    from model.picture import write_picture
    from model.prediction import Validation, predict_checkpoint
    from model.tracking.scores import evaluate_tracks
    from model.tracking.tracker import track_windows, untracked

    validation = Validation(read_split_name(split), streaming=streaming)
    if format is not None and predictions is None:
        raise InputError(f"--format {format}: is of --predictions, which are not asked for; name their folder")
    written_as = _format(format or "coco")
    _check_files(picture, curves, predictions)
    leaves = _tracking_leaves(assignments or [], tracking)
    opened = Dataset.open(data)
    config, results = predict_checkpoint(checkpoint, opened, validation, device, spike_driven)
    config = config.with_leaves(leaves, "--set")
    evaluation = summarize(results, opened.label_set, opened.size)
    scores = evaluation.as_dict(curves=as_json and curves is not None)
    windows = track_windows(results, config.tracking) if tracking else untracked(results)
    if tracking:
        scores["tracking"] = evaluate_tracks(windows, opened.label_set, opened.size).as_dict()
    if picture is not None:
        write_picture(results, opened.shards(validation.split), opened.label_set, picture)
    if curves is not None:
        write_curves(evaluation, curves)
    if predictions is not None:
        _write(windows, opened, validation, predictions, written_as)
    if as_json:
        print_json(scores)
    else:
        print_line(f"{checkpoint} on {split} of {data}, {scores['windows']} windows")
        _print_scores(scores)


def _write(
    windows: "Sequence[TrackedWindow]",
    dataset: "Dataset",
    validation: "Validation",
    folder: Path,
    written_as: "PredictionFormat",
) -> None:
    from model.predictions.files import write_predictions
    from model.predictions.predicted_boxes import by_recording

    recordings = by_recording(windows, dataset.shards(validation.split))
    write_predictions(recordings, dataset.label_set, dataset.size, folder, written_as)


def _format(name: str) -> "PredictionFormat":
    from model.predictions.files import PredictionFormat

    if name not in list(PredictionFormat):
        raise InputError(f"--format {name}: must be one of {', '.join(PredictionFormat)}")
    return PredictionFormat(name)


def _check_files(picture: Path | None, curves: Path | None, predictions: Path | None) -> None:
    """What would fail after minutes of work fails at once."""
    for option, path in (("--picture", picture), ("--curves", curves)):
        if path is not None and path.suffix != ".png":
            raise InputError(f"{option} {path}: the picture is a PNG; give it a name that ends in .png")
    if predictions is not None and predictions.exists():
        raise InputError(f"--predictions {predictions}: is there already; name a new folder, or remove it")


def _tracking_leaves(assignments: list[str], tracking: bool) -> dict[str, Any]:
    from model.trial_config import TrialConfig
    from tuner.leaves import assigned

    leaves = dict(assigned(assignment) for assignment in assignments)
    for leaf in leaves:
        if not leaf.startswith("tracking."):
            raise InputError(f"--set {leaf}: a trained detector is what it is; only tracking.* can be set here")
    if leaves and not tracking:
        raise InputError(f"--set {next(iter(leaves))}: is read by --tracking, which is not asked for; add it")
    TrialConfig().with_leaves(leaves, "--set")  # a value out of range is refused before the work
    return leaves


def _print_scores(scores: dict[str, Any]) -> None:
    for name in ("map", "map50", "map75", "map_agnostic", "map50_agnostic"):
        print_line(f"  {name:18} {scores[name]:.4f}")
    print_line(f"  {'ece':18} {_number(scores['ece'])}")
    for part in _LIGHTS + _SIZES:
        print_line(f"  {part:18} {_precision(scores[part])}")
    for name, precision in scores["per_class"].items():
        print_line(f"  class {name:12} {_precision(precision)}")
    if "tracking" in scores:
        tracks = scores["tracking"]
        for name in ("hota", "det_a", "ass_a", "mota", "idf1"):
            print_line(f"  {name:18} {_number(tracks[name])}")
        print_line(f"  {'switches':18} {tracks['switches']}")
        print_line(f"  {'fragments':18} {tracks['fragments']}")


def _number(value: float | None) -> str:
    return "nothing there" if value is None else f"{value:.4f}"


def _precision(scores: dict[str, Any] | None) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in scores.items()) if scores else "nothing there"
