"""Events in HDF5, as eTraM has them: /events/t, x, y and p."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import h5py

from data.errors import RecordingError
from data.events import Column, Events, Repairs, SensorSize, mend_chunks
from data.formats.hdf5_column import Hdf5Column, opened
from data.formats.recording import CHUNK_EVENTS, settled_size

EVK4 = SensorSize(1280, 720)  # Sony IMX636: the sensor of every eTraM recording
COLUMN_KINDS = {"t": "iu", "x": "iu", "y": "iu", "p": "iub"}  # numpy's letters for whole numbers and truth values
ENDINGS = ("_td.h5", "_td.hdf5", ".h5", ".hdf5")


@dataclass(frozen=True)
class EtramRecording:
    """An HDF5 file of four columns, compressed in whatever way."""

    path: Path
    given_size: SensorSize | None = None

    @property
    def name(self) -> str:
        """The file's name without its ending and without _td."""
        for ending in ENDINGS:
            if self.path.name.endswith(ending):
                return self.path.name.removesuffix(ending)
        return self.path.name

    @cached_property
    def size(self) -> SensorSize:
        """The sensor: `width` and `height` where the file has them, else the given one, else 1280x720."""
        with opened(self.path) as file:
            width, height = (_side(file, key, self.path) for key in ("width", "height"))
        if (width is None) != (height is None):
            raise RecordingError(f"{self.path}: has one of /width and /height, but needs both or none; add the other")
        named = None if width is None or height is None else SensorSize(width, height)
        return settled_size(self.path, named, self.given_size, usual=EVK4)

    @cached_property
    def row_count(self) -> int:
        """The length of the columns."""
        with opened(self.path) as file:
            return len(_columns(file, self.path)[0])

    def chunks(self) -> Iterator[tuple[Events, Repairs]]:
        """The events in time order, mended, some 1 M at a time.

        Raises:
            RecordingError: the file is damaged, or its columns are not those of a recording.
        """
        return mend_chunks(_rows(self.path), self.size, str(self.path))

    def boxes(self) -> None:
        """None: the boxes of eTraM lie in files of their own."""


def _rows(path: Path) -> Iterator[tuple[Column, Column, Column, Column]]:
    with opened(path) as file:
        t, x, y, p = (Hdf5Column(dataset, path) for dataset in _columns(file, path))
        for first in range(0, len(t), CHUNK_EVENTS):
            last = min(first + CHUNK_EVENTS, len(t))
            yield t.read(first, last), x.read(first, last), y.read(first, last), p.read(first, last)


def _columns(file: h5py.File, path: Path) -> list[h5py.Dataset]:
    columns = [_column(file, key, path) for key in COLUMN_KINDS]
    if len({len(column) for column in columns}) > 1:
        lengths = ", ".join(f"{key} {len(column)}" for key, column in zip(COLUMN_KINDS, columns, strict=True))
        raise RecordingError(f"{path}: the columns of /events differ in length ({lengths}); fetch the file again")
    return columns


def _column(file: h5py.File, key: str, path: Path) -> h5py.Dataset:
    group = file.get("events")
    column = group.get(key) if isinstance(group, h5py.Group) else None
    if not isinstance(column, h5py.Dataset) or column.ndim != 1:
        raise RecordingError(f"{path}: has no column /events/{key}; a recording has /events/t, x, y and p")
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
