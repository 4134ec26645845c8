"""Box rows: what a line or an element of a label file says, checked field by field, until it becomes Boxes."""

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.boxes import Boxes, LabelSet
from data.errors import RecordingError

LARGEST = 1e9  # far beyond any sensor, and safe to reckon with in float32
WHOLE = re.compile(r"[+-]?[0-9]{1,18}")  # fits int64
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


class BoxRow(NamedTuple):
    """One box as a file gives it."""

    t: int  # µs
    xywh: tuple[float, float, float, float]  # px, top-left corner
    class_id: int
    track_id: int | None  # None: a track of its own
    where: str  # file and line, for errors


def boxes_of(rows: Sequence[BoxRow]) -> Boxes:
    """Rows become boxes in time order; those without a track get numbers above all that are given.

    Raises:
        RecordingError: a track has two boxes at one time.
    """
    seen: dict[tuple[int, int], str] = {}
    for row in rows:
        if row.track_id is not None and (first := seen.setdefault((row.t, row.track_id), row.where)) is not row.where:
            raise RecordingError(
                f"{row.where}: track {row.track_id} has a box at {row.t} µs already ({first}); "
                "a track has at most one box at a time: renumber or remove one"
            )
    free = 1 + max((row.track_id for row in rows if row.track_id is not None), default=-1)
    tracks = [row.track_id if row.track_id is not None else free + place for place, row in enumerate(rows)]
    return Boxes(
        np.array([row.t for row in rows], np.int64),
        np.array([row.xywh for row in rows], np.float32).reshape(-1, 4),
        np.array([row.class_id for row in rows], np.int64),
        np.array(tracks, np.int64),
    ).in_time_order()


def whole(text: str, field: str, where: str, least: int = 0) -> int:
    """A field as a whole number.

    Raises:
        RecordingError: it is none, or less than `least`.
    """
    if not WHOLE.fullmatch(text) or int(text) < least:
        raise RecordingError(f"{where}: {field}='{text}' must be a whole number of at least {least}; mend the file")
    return int(text)


def number(text: str, field: str, where: str, what: str = "number", least: float = -LARGEST) -> float:
    """A field as a finite number.

    Raises:
        RecordingError: it is none, or less than `least`; `what` says what it should be.
    """
    value = float(text) if NUMBER.fullmatch(text) else math.nan
    if not abs(value) <= LARGEST:
        raise RecordingError(f"{where}: {field}='{text}' must be a finite {what}; mend the file")
    if value < least:
        raise RecordingError(f"{where}: {field}={text} must be at least {least:g}; mend the file")
    return value


def class_number(text: str, field: str, where: str, labels: LabelSet, first: int) -> int:
    """A field as the place of a class in the label set, of which the first has the number `first`.

    Raises:
        RecordingError: there is no such class.
    """
    class_id = whole(text, field, where) - first
    if not 0 <= class_id < len(labels.classes):
        raise RecordingError(
            f"{where}: {field}={text}, but label set '{labels.name}' has the classes {first} to "
            f"{first + len(labels.classes) - 1} ({', '.join(labels.classes)}); "
            "name the label set these boxes were made with (--labels), or mend the file"
        )
    return class_id


def text_lines(path: Path) -> list[str]:
    """The lines of a text file.

    Raises:
        RecordingError: it cannot be read, or is no text.
    """
    try:
        return path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RecordingError(f"{path}: cannot be read as text ({error}); fetch it again") from None


def comma_rows(path: Path, fields: Sequence[str], line_of: str, remedy: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The lines of a comma-separated file that are not empty: the place of each, and its fields by name.

    Raises:
        RecordingError: the file cannot be read, or a line has another number of fields.
    """
    for number, text in enumerate(text_lines(path), start=1):
        if not text.strip():
            continue
        where = f"{path}:{number}"
        values = [value.strip() for value in text.split(",")]
        if len(values) != len(fields):
            raise RecordingError(
                f"{where}: has {len(values)} fields, but {line_of} has {len(fields)}: {','.join(fields)}; {remedy}"
            )
        yield where, dict(zip(fields, values, strict=True))


def check_class_names(path: Path, labels: LabelSet) -> None:
    """A labelling tool's list of class names must be the label set's: else a number means two things.

    Raises:
        RecordingError: it is another list.
    """
    names = tuple(line.strip() for line in text_lines(path) if line.strip())
    if names != labels.classes:
        raise RecordingError(
            f"{path}: names the classes {', '.join(names)}, but label set '{labels.name}' has "
            f"{', '.join(labels.classes)}; name the set these boxes were made with (--labels MY.yaml)"
        )


def by_time(files: Sequence[Path]) -> list[tuple[int, Path]]:
    """Files with the time in µs each is named for, in time order.

    Raises:
        RecordingError: a name is no time, or two are the same.
    """
    times: dict[int, Path] = {}
    for path in files:
        if not re.fullmatch(r"[0-9]{1,18}", path.stem):
            raise RecordingError(
                f"{path}: must be named for its label time in µs, as 000123456{path.suffix} is; rename or remove it"
            )
        if (other := times.setdefault(int(path.stem), path)) != path:
            raise RecordingError(f"{path}: {other.name} is for the same time, {int(path.stem)} µs; join the two")
    return sorted(times.items())
