"""Boxes in MOTChallenge text: gt.txt, one line a box, and seqinfo.ini, which tells the frame rate."""

import configparser
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from data.boxes import Boxes, LabelSet
from data.errors import RecordingError
from data.events import SensorSize
from data.formats.box_rows import (
    BoxRow,
    boxes_of,
    check_class_names,
    class_number,
    comma_rows,
    number,
    text_lines,
    whole,
)

FIELDS = ("frame", "id", "bb_left", "bb_top", "bb_width", "bb_height", "conf", "class", "visibility")
NO_TRACK = -1  # what tools write for a box that is in no track
MOST_FRAMES = 1_000_000_000
SLOWEST, FASTEST = 0.001, 1_000_000.0  # frames a second; with MOST_FRAMES, times fit int64


class SequenceInfo(NamedTuple):
    """What seqinfo.ini says of the frames."""

    rate: Fraction  # frames a second
    frames: int  # the most there can be

    def time_us(self, frame: int, first_us: int) -> int:
        """When a frame, counted from 1, was taken, if the first was at `first_us`."""
        return first_us + round((frame - 1) * 1_000_000 / self.rate)


def read_mot(truth: Path, info: Path, names: Path | None, labels: LabelSet, size: SensorSize, first_us: int) -> Boxes:
    """The boxes of a sequence whose first frame is at the recording's first event.

    Args:
        truth: gt.txt; boxes and classes in it count from 1; rows with conf 0 are not to be considered, and left out.
        info: seqinfo.ini.
        names: a labelling tool's labels.txt, if there is one.
        labels: the label set the class column counts in.
        size: the sensor.
        first_us: time of the first event.

    Raises:
        RecordingError: a line or a setting breaks the format.
    """
    if names is not None:
        check_class_names(names, labels)
    sequence = _sequence(info, size)
    return boxes_of(list(_rows(truth, sequence, labels, first_us)))


def _rows(path: Path, sequence: SequenceInfo, labels: LabelSet, first_us: int) -> Iterator[BoxRow]:
    line_of, remedy = "a line of ground truth", "export it in the format of MOT16 and later"
    for where, row in comma_rows(path, FIELDS, line_of, remedy):
        frame = whole(row["frame"], "frame", where, least=1)
        if frame > sequence.frames:
            raise RecordingError(
                f"{where}: frame={frame}, but the sequence has {sequence.frames} frames (seqLength in seqinfo.ini); "
                "mend one of them"
            )
        left, top = (number(row[field], field, where, "number of pixels") for field in ("bb_left", "bb_top"))
        sides = [number(row[field], field, where, "number of pixels", 0) for field in ("bb_width", "bb_height")]
        track = whole(row["id"], "id", where, least=NO_TRACK)
        number(row["visibility"], "visibility", where)
        if number(row["conf"], "conf", where) != 0:
            class_id = class_number(row["class"], "class", where, labels, first=1)
            box = (left - 1, top - 1, sides[0], sides[1])
            yield BoxRow(sequence.time_us(frame, first_us), box, class_id, None if track == NO_TRACK else track, where)


def _sequence(path: Path, size: SensorSize) -> SequenceInfo:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string("\n".join(text_lines(path)), str(path))
    except configparser.Error as error:
        raise RecordingError(f"{path}: is no ini file ({error.message.splitlines()[0]}); mend it") from None
    if not parser.has_section("Sequence"):
        raise RecordingError(f"{path}: has no section [Sequence]; it needs one with frameRate, as in MOTChallenge")
    settings = parser["Sequence"]
    for key, side in (("imWidth", size.width), ("imHeight", size.height)):
        if key in settings and whole(settings[key], key, str(path)) != side:
            raise RecordingError(
                f"{path}: {key}={settings[key]}, but the sensor has {size.width}x{size.height} pixels; "
                "scale the boxes to the sensor"
            )
    frames = whole(settings.get("seqLength", str(MOST_FRAMES)), "seqLength", str(path))
    return SequenceInfo(_rate(settings.get("frameRate"), path), min(frames, MOST_FRAMES))


def _rate(text: str | None, path: Path) -> Fraction:
    if text is None:
        raise RecordingError(f"{path}: has no frameRate, which gives frames their time; add frameRate=30 or such")
    if not SLOWEST <= number(text, "frameRate", str(path)) <= FASTEST:
        raise RecordingError(
            f"{path}: frameRate={text} must lie from {SLOWEST:g} to {FASTEST:.0f} frames a second; mend the file"
        )
    return Fraction(text)
