"""eTraM recordings: events in HDF5, boxes in numpy files."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 - importing it registers blosc, zstd and the other filters a file may use

from data.boxes import Boxes, LabelSet
from data.errors import RecordingError
from data.events import Column, Events, Repairs, SensorSize, mend_chunks
from data.prophesee_boxes import read_boxes

EVK4 = SensorSize(1280, 720)  # Sony IMX636: the sensor of every eTraM recording
CHUNK_EVENTS = 1 << 22  # some 60 MB of raw columns
COLUMN_KINDS = {"t": "iu", "x": "iu", "y": "iu", "p": "iub"}  # numpy's letters for whole numbers and truth values


@dataclass(frozen=True)
class EtramRecording:
    """NAME_td.h5 and the box table that goes with it."""

    path: Path
    boxes_path: Path | None
    label_set: LabelSet

    @property
    def name(self) -> str:
        """The file's name without _td.h5."""
        return self.path.name.removesuffix("_td.h5")

    @cached_property
    def size(self) -> SensorSize:
        """The sensor: 0-d `width` and `height` where the file has them, else 1280x720."""
        with _opened(self.path) as file:
            width, height = (_side(file, key, self.path) for key in ("width", "height"))
        return SensorSize(width or EVK4.width, height or EVK4.height)

    def chunks(self) -> Iterator[tuple[Events, Repairs]]:
        """The events in time order, mended, some 4 M at a time.

        Raises:
            RecordingError: the file is damaged or its columns are not those of an eTraM recording.
        """
        return mend_chunks(_columns(self.path), self.size, str(self.path))

    def boxes(self) -> Boxes:
        """The labels; none if there is no box table."""
        return Boxes.empty() if self.boxes_path is None else read_boxes(self.boxes_path, self.label_set)


def _columns(path: Path) -> Iterator[tuple[Column, Column, Column, Column]]:
    with _opened(path) as file:
        t, x, y, p = (_column(file, key, path) for key in COLUMN_KINDS)
        if len({len(column) for column in (t, x, y, p)}) > 1:
            lengths = ", ".join(f"{key} {len(file['events'][key])}" for key in COLUMN_KINDS)
            raise RecordingError(f"{path}: the columns of /events differ in length ({lengths}); fetch the file again")
        for first in range(0, len(t), CHUNK_EVENTS):
            rows = slice(first, first + CHUNK_EVENTS)
            yield t[rows], x[rows], y[rows], p[rows]


def _column(file: h5py.File, key: str, path: Path) -> h5py.Dataset:
    column = file["events"].get(key) if isinstance(file.get("events"), h5py.Group) else None
    if not isinstance(column, h5py.Dataset) or column.ndim != 1:
        raise RecordingError(f"{path}: has no column /events/{key}; an eTraM recording has /events/t, x, y and p")
    if column.dtype.kind not in COLUMN_KINDS[key]:
        raise RecordingError(f"{path}: /events/{key} is {column.dtype}, but must hold whole numbers")
    return column


def _side(file: h5py.File, key: str, path: Path) -> int | None:
    """A side of the sensor, from /events/KEY or /KEY."""
    for place in (f"events/{key}", key):
        if place in file:
            value = file[place]
            if not isinstance(value, h5py.Dataset) or value.shape != () or value.dtype.kind not in "iu":
                raise RecordingError(f"{path}: /{place} must be one whole number of pixels")
            if value[()] < 1:
                raise RecordingError(f"{path}: /{place} is {value[()]}, but a sensor has at least 1 pixel")
            return int(value[()])
    return None


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    try:
        # Best effort: datasets often lie on read-only or network disks that cannot lock.
        with h5py.File(path, "r", locking="best-effort") as file:
            yield file
    except (OSError, RuntimeError, KeyError) as error:  # what h5py raises for damage, by where it lies
        raise RecordingError(
            f"{path}: cannot be read as HDF5, it is damaged or cut short ({error}); fetch it again"
        ) from None
