"""Box tables as Prophesee and eTraM write them: NAME_bbox.npy, one structured row a box."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from data.boxes import Boxes, LabelSet
from data.errors import RecordingError

INTEGER_FIELDS = ("t", "class_id", "track_id")
PIXEL_FIELDS = ("x", "y", "w", "h")


def read_boxes(path: Path, label_set: LabelSet) -> Boxes:
    """Read a box table, sorted by time; fields may stand in any order, and `t` may carry its old name `ts`.

    Raises:
        RecordingError: the file is no box table, a number is not finite, or a class is not in the label set.
    """
    table = _load(path)
    if "ts" in (table.dtype.names or ()) and "t" not in (table.dtype.names or ()):
        table = table.view(_renamed(table.dtype))
    _check_fields(table.dtype, path)
    xywh = np.stack([table[field].astype(np.float32) for field in PIXEL_FIELDS], axis=1)
    strange = ~np.isfinite(xywh).all(axis=1)
    if strange.any():
        row = int(np.argmax(strange))
        values = ", ".join(f"{field}={value:g}" for field, value in zip(PIXEL_FIELDS, xywh[row], strict=True))
        raise RecordingError(f"{path}: row {row}: {values}, but a box needs finite numbers; mend or remove the row")
    t, class_id, track_id = (table[field].astype(np.int64) for field in INTEGER_FIELDS)
    _check_classes(class_id, label_set, path)
    return Boxes(t, xywh, class_id, track_id).in_time_order()


def _load(path: Path) -> npt.NDArray[np.void]:
    try:
        table = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise RecordingError(f"{path}: cannot be read as a numpy file ({error}); fetch it again") from None
    if not isinstance(table, np.ndarray) or table.ndim != 1 or table.dtype.names is None:
        raise RecordingError(f"{path}: is no table of boxes; its rows need the fields {_needed()}")
    return table


def _renamed(dtype: np.dtype[np.void]) -> np.dtype[np.void]:
    renamed = np.dtype(dtype)
    renamed.names = tuple("t" if name == "ts" else name for name in dtype.names or ())
    return renamed


def _check_fields(dtype: np.dtype[np.void], path: Path) -> None:
    names = dtype.names or ()
    for field in INTEGER_FIELDS + PIXEL_FIELDS:
        if field not in names:
            raise RecordingError(f"{path}: has no field '{field}'; found: {', '.join(names)}; needed: {_needed()}")
        kind, wanted = ("iu", "whole numbers") if field in INTEGER_FIELDS else ("iuf", "numbers")
        if dtype[field].kind not in kind:
            raise RecordingError(f"{path}: field '{field}' is {dtype[field]}, but must hold {wanted}; export it so")


def _check_classes(class_id: npt.NDArray[np.int64], label_set: LabelSet, path: Path) -> None:
    strange = (class_id < 0) | (class_id >= len(label_set.classes))
    if strange.any():
        row = int(np.argmax(strange))
        raise RecordingError(
            f"{path}: row {row}: class_id={class_id[row]}, but label set '{label_set.name}' has the classes 0 to "
            f"{len(label_set.classes) - 1} ({', '.join(label_set.classes)}); "
            "name the label set these boxes were made with (--labels), or mend the row"
        )


def _needed() -> str:
    return ", ".join(("t (or ts)", *PIXEL_FIELDS, "class_id", "track_id"))
