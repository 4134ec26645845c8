"""Boxes in YOLO text: one file a label time, one line `class cx cy w h [track]` a box, in shares of the frame."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from data.boxes import Boxes, LabelSet
from data.errors import RecordingError
from data.events import SensorSize
from data.formats.box_rows import BoxRow, boxes_of, by_time, check_class_names, class_number, number, text_lines, whole

CLASS_NAMES = "classes.txt"  # what labelling tools put beside the label files
SHARES = ("cx", "cy", "w", "h")


def read_yolo(files: Sequence[Path], labels: LabelSet, size: SensorSize) -> Boxes:
    """The boxes of a folder of files named for their time in µs.

    Raises:
        RecordingError: a line breaks the format, or classes.txt names other classes than the label set.
    """
    for path in files:
        if path.name == CLASS_NAMES:
            check_class_names(path, labels)
    timed = by_time([path for path in files if path.name != CLASS_NAMES])
    return boxes_of([row for time, path in timed for row in _rows(path, time, labels, size)])


def _rows(path: Path, time_us: int, labels: LabelSet, size: SensorSize) -> Iterator[BoxRow]:
    for line, text in enumerate(text_lines(path), start=1):
        fields = text.split()
        if not fields:
            continue
        where = f"{path}:{line}"
        if len(fields) not in (5, 6):
            raise RecordingError(
                f"{where}: has {len(fields)} fields, but a line is `class cx cy w h` or `class cx cy w h track`; "
                "mend the line"
            )
        cx, cy, w, h = (_share(share, field, where) for field, share in zip(SHARES, fields[1:5], strict=True))
        left_top = ((cx - w / 2) * size.width, (cy - h / 2) * size.height)
        yield BoxRow(
            time_us,
            (*left_top, w * size.width, h * size.height),
            class_number(fields[0], "class", where, labels, first=0),
            whole(fields[5], "track", where) if len(fields) == 6 else None,
            where,
        )


def _share(text: str, field: str, where: str) -> float:
    value = number(text, field, where)
    if not 0 <= value <= 1:
        raise RecordingError(
            f"{where}: {field}={text} must lie from 0 to 1, a share of the frame's side; divide pixels by it"
        )
    return value
