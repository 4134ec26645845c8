"""What was found in one recording as one file: a table, COCO JSON, or a clip to look at."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from data.boxes import LabelSet
from data.drawing import write_clip
from data.errors import InputError
from data.events import Events, SensorSize
from data.passing import PassingEvents, PassingRecording
from data.storage import whole_file, whole_text
from data.viewing import FRAMES_A_SECOND, RecordingView
from model.predictions.coco_format import found_document
from model.predictions.predicted_boxes import PredictedBoxes
from model.predictions.table_format import box_table

CLIPS = (".mp4", ".gif")
ENDINGS = (".npy", ".json", *CLIPS)
LONGEST_GIF_S = 60  # the encoder holds all pictures until the last


def check_ending(path: Path) -> None:
    """Whether a file of this name can be written.

    Raises:
        InputError: its ending is none of ENDINGS, or there is no folder for it.
    """
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"--out={path} must end in one of {', '.join(ENDINGS)}")
    if not path.parent.is_dir():
        raise InputError(f"--out={path}: there is no folder {path.parent}; make it first")


def write_found(found: PredictedBoxes, recording: str, label_set: LabelSet, size: SensorSize, path: Path) -> None:
    """Write a .npy of Prophesee's rows, whose class_confidence is the score, or a .json; it appears when it is whole.

    Raises:
        DatasetError: a track id does not fit the table.
    """
    if path.suffix.lower() == ".npy":
        rows = box_table(found.boxes, found.scores, recording)
        with whole_file(path) as file:
            np.save(file, rows, allow_pickle=False)
    else:
        whole_text(path, json.dumps(found_document(found, recording, label_set, size)) + "\n")


def write_found_clip(
    found: PredictedBoxes,
    chunks: Iterable[Events],
    about: tuple[str, int, int],
    size: SensorSize,
    label_set: LabelSet,
    window_us: int,
    path: Path,
) -> None:
    """Draw a whole recording with the tracks found in it, each in a colour of its own, as .mp4 or .gif.

    Args:
        found: the boxes.
        chunks: the recording's events once more, sound and in time order.
        about: its name, and the times of its first and its last event, µs.
        size: of the sensor.
        label_set: that the boxes' classes are of.
        window_us: how much of the time before it a picture shows.
        path: the file, which appears when it is whole.

    Raises:
        InputError: it is too long for a .gif, or OpenCV has no encoder for .mp4.
    """
    name, first_us, last_us = about
    seconds = (last_us - first_us) / 1e6
    if path.suffix.lower() == ".gif" and seconds > LONGEST_GIF_S:
        raise InputError(
            f"--out={path}: the recording lasts {seconds:.0f} s, and a .gif holds at most {LONGEST_GIF_S}; "
            "ask for an .mp4 instead"
        )
    recording = PassingRecording(name, PassingEvents(chunks, size), first_us, last_us)
    view = RecordingView(recording, label_set.classes, window_us, found)
    write_clip(view.clip(0.0, seconds), path, FRAMES_A_SECOND)
