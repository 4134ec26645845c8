"""Recordings written in eTraM's layout, to the byte; no file appears under its name before it is complete."""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from data.boxes import BOX_DTYPE, LABEL_SETS
from data.events import Events, SensorSize
from data.storage import whole_file, whole_path

FLUSH_EVENTS = 1 << 20  # events held in memory before they go to the file
CHUNK_EVENTS = 1 << 16  # events in one compressed HDF5 chunk

# eTraM's own grouping of its eight classes into three, for the four that are simulated.
GROUPS = {"pedestrian": "pedestrian", "car": "vehicle", "bus": "vehicle", "bicycle": "micromobility"}


def grouped(boxes: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """The rows with etram8's classes replaced by etram3's."""
    three, eight = LABEL_SETS["etram3"].classes, LABEL_SETS["etram8"].classes
    groups = np.array([three.index(GROUPS[name]) if name in GROUPS else len(three) for name in eight])
    rows = boxes.copy()
    rows["class_id"] = groups[boxes["class_id"]]
    return rows


def write_events(path: Path, size: SensorSize, parts: Iterator[Events]) -> None:
    """Write NAME_td.h5 as eTraM has it; it appears under its name when it is complete."""
    with whole_path(path) as partial, h5py.File(partial, "w") as file:
        group = file.create_group("events")
        for name, dtype in (("x", np.uint16), ("y", np.uint16), ("p", np.int16), ("t", np.int64)):
            group.create_dataset(
                name, (0,), dtype, maxshape=(None,), chunks=(CHUNK_EVENTS,), compression="gzip", compression_opts=1
            )
        for name, value in size._asdict().items():
            group[name] = np.int64(value)
        held: list[Events] = []
        count = 0
        for part in parts:
            held.append(part)
            count += len(part)
            if count >= FLUSH_EVENTS:
                _append(group, held)
                held, count = [], 0
        _append(group, held)


def _append(group: h5py.Group, parts: list[Events]) -> None:
    count = sum(map(len, parts))
    for name in ("x", "y", "p", "t"):
        column = group[name]
        first = len(column)
        column.resize((first + count,))
        if count:
            column[first:] = np.concatenate([getattr(part, name) for part in parts])


def write_boxes(path: Path, boxes: npt.NDArray[np.void]) -> None:
    """Write NAME_bbox.npy, 40 bytes a row; it appears under its name when it is complete."""
    # Field by field into zeros: numpy's own copies drop a row's padding or fill it with whatever lay in memory.
    rows = np.zeros(len(boxes), BOX_DTYPE)
    for name in rows.dtype.fields or ():
        rows[name] = boxes[name]
    with whole_file(path) as file:
        np.save(file, rows)
