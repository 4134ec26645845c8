"""The labels of a sequence preprocessed by RVT: labels_v2/labels.npz."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data.boxes import Boxes, LabelSet
from data.errors import RecordingError
from data.formats.box_rows import LARGEST
from data.formats.numpy_file import read_member

FIELDS = {"t": "iu", "x": "iuf", "y": "iuf", "w": "iuf", "h": "iuf", "class_id": "iu"}  # and numpy's letters
TRACK = "track_id"  # the one field that may be missing


def read_labels(path: Path, label_set: LabelSet) -> Boxes:
    """The labels, in time order and in pixels of the full sensor; without track_id each box is a track of its own.

    Raises:
        RecordingError: the file is damaged, a number is not finite, or a class is not in the label set.
    """
    table = _table(path)
    pixels = np.stack([table[field].astype(np.float64) for field in "xywh"], axis=1)
    t, class_id, classes = table["t"], table["class_id"], label_set.classes
    _check(path, table, np.asarray((np.abs(pixels) <= LARGEST).all(axis=1)), "a box needs finite numbers of pixels")
    _check(
        path, table, np.asarray((class_id >= 0) & (class_id < len(classes))),
        f"label set '{label_set.name}' has the classes 0 to {len(classes) - 1} ({', '.join(classes)}): "
        "name the set these boxes were made with (--labels)",
    )  # fmt: skip
    _check(path, table, np.asarray((t >= 0) & (t <= np.iinfo(np.int64).max)), "its time must be a number of µs")
    ids = table[TRACK] if TRACK in (table.dtype.names or ()) else np.arange(len(table))
    t, class_id, ids = (column.astype(np.int64) for column in (t, class_id, ids))
    return Boxes(t, pixels.astype(np.float32), class_id, ids).in_time_order()


def _check(path: Path, table: npt.NDArray[Any], sound: npt.NDArray[np.bool_], rule: str) -> None:
    if not sound.all():
        row = int(np.argmin(sound))
        values = ", ".join(f"{field}={table[field][row]:g}" for field in FIELDS)
        raise RecordingError(f"{path}: row {row} ({values}): {rule}; mend or remove the row")


def _table(path: Path) -> npt.NDArray[Any]:
    table = read_member(path, "labels")
    kinds = {name: table.dtype[name].kind for name in table.dtype.names or ()}
    kinds_wanted = {**FIELDS, TRACK: "iu"} if TRACK in kinds else FIELDS
    if table.ndim != 1 or any(kinds.get(name, "?") not in kind for name, kind in kinds_wanted.items()):
        raise RecordingError(f"{path}: 'labels' must be a table with the numbers {', '.join(kinds_wanted)}")
    return table
