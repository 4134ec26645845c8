"""The command that finds boxes in a file of events."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from data.errors import InputError
from tuner.cli_model import DeviceOption, JsonOption
from tuner.output import plain_console, print_json, print_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from data.events import Events
    from data.formats.recording import Recording
    from model.checkpoint import Checkpoint
    from model.predictions.predicted_boxes import PredictedBoxes


def detect(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A *.safetensors, a search (its winner), models:/NAME@champion, models:/NAME/3 or runs:/ID/PATH.",
        ),
    ],
    recording: Annotated[
        Path, typer.Argument(help="A file of events: NAME.h5, .dat, .raw, .aedat4 or .es; no dataset is needed.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="File to write: .npy (Prophesee's rows), .json (COCO), .mp4 or .gif (drawn, with tracks)."),
    ] = None,
    score: Annotated[
        float | None, typer.Option(help="Boxes below it are left out, unless they are in a track. Default: 0.3.")
    ] = None,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT of the sensor, if the file does not tell.")] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Find boxes in a file of events, window after window, and join them into tracks."""
    from data.formats.discovery import read_size
    from data.formats.opening import open_recording
    from model.checkpoint import load_checkpoint
    from model.detecting import SHOWN_SCORE, check_sensor
    from model.detecting import detect as detected
    from model.device import resolve_device
    from model.predictions.one_recording import CLIPS, check_ending, write_found, write_found_clip
    from tuner.detector_address import checkpoint_file

    if out is not None:
        check_ending(out)
    if score is not None and not 0 <= score <= 1:
        raise InputError(f"--score={score:g} must lie between 0 and 1")
    opened = open_recording(recording, None if size is None else read_size(size))
    with checkpoint_file(model) as path:
        checkpoint = load_checkpoint(path, resolve_device(device))
    check_sensor(checkpoint, opened.size)
    passed = _Passed(opened)
    found = detected(checkpoint, passed.chunks(), opened.size, least_score=SHOWN_SCORE if score is None else score)
    if not passed.events:
        raise InputError(f"{recording}: holds no event inside the frame; give another recording")
    if out is not None and out.suffix.lower() in CLIPS:
        about = (opened.name, passed.first_us, passed.last_us)
        again, window_us = (chunk for chunk, _ in opened.chunks()), checkpoint.config.data.window_us
        write_found_clip(found, again, about, opened.size, checkpoint.label_set, window_us, out)
    elif out is not None:
        write_found(found, opened.name, checkpoint.label_set, opened.size, out)
    told = _told(model, recording, checkpoint, passed, found, out)
    if as_json:
        print_json(told)
    else:
        _print(told)


class _Passed:
    """What has passed of a recording's events; a terminal sees it."""

    def __init__(self, recording: "Recording") -> None:
        self.events = self.first_us = self.last_us = 0
        self._recording = recording

    def chunks(self) -> "Iterator[Events]":
        """The events."""
        from rich.console import Console

        rows = self._recording.row_count
        of = "" if rows is None else f" of {rows:,}"
        with Console(stderr=True).status("reading events") as status:
            for chunk, _ in self._recording.chunks():
                if not len(chunk):
                    continue
                if not self.events:
                    self.first_us = int(chunk.t[0])
                self.events += len(chunk)
                self.last_us = int(chunk.t[-1])
                yield chunk
                status.update(f"finding boxes: {self.events:,}{of} events")


def _told(
    model: str,
    recording: Path,
    checkpoint: "Checkpoint",
    passed: _Passed,
    found: "PredictedBoxes",
    out: Path | None,
) -> dict[str, Any]:
    """What `--json` prints."""
    boxes = found.boxes
    by_class = {}
    for number, name in enumerate(checkpoint.label_set.classes):
        tracks = boxes.track_id[boxes.class_id == number]
        by_class[name] = {"boxes": len(tracks), "tracks": len(set(tracks[tracks > 0].tolist()))}
    return {
        "model": model,
        "recording": str(recording),
        "events": passed.events,
        "seconds": (passed.last_us - passed.first_us) / 1e6,
        "window_us": checkpoint.config.data.window_us,
        "boxes": len(found),
        "tracks": len(set(boxes.track_id[boxes.track_id > 0].tolist())),
        "classes": by_class,
        "out": None if out is None else str(out),
    }


def _print(told: dict[str, Any]) -> None:
    from rich.table import Table

    lasts = f"{told['events']:,} events, {told['seconds']:.3f} s, in windows of {told['window_us'] / 1000:g} ms"
    print_line(f"{told['recording']}: {lasts}")
    table = Table("class", "boxes", "tracks")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, counts in told["classes"].items():
        table.add_row(name, f"{counts['boxes']:,}", f"{counts['tracks']:,}")
    table.add_section()
    table.add_row("all", f"{told['boxes']:,}", f"{told['tracks']:,}")
    plain_console().print(table)
    if told["out"] is not None:
        print_line(told["out"])
