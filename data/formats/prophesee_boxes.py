"""Box tables as Prophesee and eTraM write them: NAME_bbox.npy, one structured row a box."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from data.boxes import Boxes, LabelSet
from data.errors import RecordingError
from data.formats.box_rows import LARGEST
from data.formats.numpy_file import read_array

INTEGER_FIELDS = ("t", "class_id", "track_id")
TRACK = "track_id"  # the one field that may be missing
PIXEL_FIELDS = ("x", "y", "w", "h")


def read_boxes(path: Path, label_set: LabelSet) -> Boxes:
    """Read a box table, sorted by time.

    Fields may stand in any order, and `t` may carry its old name `ts`. Where there is no `track_id`, each box is a
    track of its own. A width or height below 0 is let through: nothing of such a box is left when it is clipped.

    Raises:
        RecordingError: the file is no box table, a number is not finite, or a class is not in the label set.
    """
    table = _load(path)
    if "ts" in (table.dtype.names or ()) and "t" not in (table.dtype.names or ()):
        table = table.view(_renamed(table.dtype))
    _check_fields(table.dtype, path)
    t = _whole(table, "t", path)
    xywh = _pixels(table, path)
    class_id = _classes(table, label_set, path)
    tracked = TRACK in (table.dtype.names or ())
    track_id = _whole(table, TRACK, path) if tracked else np.arange(len(table), dtype=np.int64)
    return Boxes(t, xywh, class_id, track_id).in_time_order()


def _whole(table: npt.NDArray[np.void], field: str, path: Path) -> npt.NDArray[np.int64]:
    values = table[field]
    strange = (values < 0) | (values > np.iinfo(np.int64).max)
    if strange.any():
        row = int(np.argmax(strange))
        raise RecordingError(
            f"{path}: row {row}: {field}={values[row]}, but must be from 0 to 2^63 - 1; mend or remove the row"
        )
    return values.astype(np.int64)


def _pixels(table: npt.NDArray[np.void], path: Path) -> npt.NDArray[np.float32]:
    xywh = np.stack([table[field].astype(np.float64) for field in PIXEL_FIELDS], axis=1)
    strange = ~(np.abs(xywh) <= LARGEST).all(axis=1)
    if strange.any():
        row = int(np.argmax(strange))
        values = ", ".join(f"{field}={value:g}" for field, value in zip(PIXEL_FIELDS, xywh[row], strict=True))
        raise RecordingError(f"{path}: row {row}: {values}, but a box needs finite numbers; mend or remove the row")
    return xywh.astype(np.float32)


def _load(path: Path) -> npt.NDArray[np.void]:
    table = read_array(path)
    if table.ndim != 1 or table.dtype.names is None:
        raise RecordingError(f"{path}: is no table of boxes; its rows need the fields {_needed()}")
    return table


def _renamed(dtype: np.dtype[np.void]) -> np.dtype[np.void]:
    """With `t` instead of `ts`: a new one, since setting `names` would change it for all arrays that share it."""
    fields = dict(dtype.fields or {})
    return np.dtype(
        {
            "names": ["t" if name == "ts" else name for name in fields],
            "formats": [field[0] for field in fields.values()],
            "offsets": [field[1] for field in fields.values()],
            "itemsize": dtype.itemsize,
        }
    )


def _check_fields(dtype: np.dtype[np.void], path: Path) -> None:
    names = dtype.names or ()
    for field in INTEGER_FIELDS + PIXEL_FIELDS:
        if field not in names:
            if field == TRACK:
                continue
            raise RecordingError(f"{path}: has no field '{field}'; found: {', '.join(names)}; needed: {_needed()}")
        kind, wanted = ("iu", "whole numbers") if field in INTEGER_FIELDS else ("iuf", "numbers")
        if dtype[field].kind not in kind or dtype[field].shape:
            raise RecordingError(f"{path}: field '{field}' is {dtype[field]}, but must hold {wanted}; export it so")


def _classes(table: npt.NDArray[np.void], label_set: LabelSet, path: Path) -> npt.NDArray[np.int64]:
    values = table["class_id"]
    strange = (values < 0) | (values >= len(label_set.classes))
    if strange.any():
        row = int(np.argmax(strange))
        raise RecordingError(
            f"{path}: row {row}: class_id={values[row]}, but label set '{label_set.name}' has the classes 0 to "
            f"{len(label_set.classes) - 1} ({', '.join(label_set.classes)}); "
            "name the label set these boxes were made with (--labels), or mend the row"
        )
    return values.astype(np.int64)


def _needed() -> str:
    return ", ".join(("t (or ts)", *PIXEL_FIELDS, "class_id"))
