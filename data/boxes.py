"""Boxes: the labels of a recording, and the label sets that name their classes."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.errors import ConfigError
from data.events import SensorSize

# One row of eTraM's NAME_bbox.npy: 40 bytes, aligned to 8 as numpy's C layout does it, not packed.
BOX_DTYPE = np.dtype(
    {
        "names": ["t", "x", "y", "w", "h", "class_id", "track_id", "class_confidence"],
        "formats": ["<i8", "<f4", "<f4", "<f4", "<f4", "<u4", "<u4", "<f4"],
        "offsets": [0, 8, 12, 16, 20, 24, 28, 32],
        "itemsize": 40,
    }
)


@dataclass(frozen=True)
class LabelSet:
    """Named classes. The same number means another class in another set, so the set is named, never guessed."""

    name: str
    classes: tuple[str, ...]


LABEL_SETS = {
    label_set.name: label_set
    for label_set in (
        LabelSet("etram3", ("pedestrian", "vehicle", "micromobility")),
        LabelSet("etram8", ("pedestrian", "car", "bicycle", "bus", "motorbike", "truck", "tram", "wheelchair")),
        LabelSet("gen1", ("car", "pedestrian")),
        LabelSet("1mpx", ("pedestrian", "two wheeler", "car", "truck", "bus", "traffic sign", "traffic light")),
        LabelSet("1mpx3", ("pedestrian", "two wheeler", "car")),  # the three that detectors are compared on
        LabelSet("pedro", ("person",)),
    )
}


def label_set(name: str) -> LabelSet:
    """The shipped label set of this name.

    Raises:
        ConfigError: there is none.
    """
    if name not in LABEL_SETS:
        raise ConfigError(f"label set '{name}' is unknown; {nearest(name, LABEL_SETS)}")
    return LABEL_SETS[name]


def nearest(name: str, known: Iterable[str]) -> str:
    """What to say of a name that does not exist: the nearest that does, and all of them."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return (f"did you mean '{near[0]}'? " if near else "") + f"known: {', '.join(names)}"


@dataclass(frozen=True, slots=True)
class Boxes:
    """N labelled boxes, sorted by time. Sensor pixels; x, y is the top-left corner."""

    t: npt.NDArray[np.int64]  # [N] µs
    xywh: npt.NDArray[np.float32]  # [N, 4] px
    class_id: npt.NDArray[np.int64]  # [N] index into the label set's classes
    track_id: npt.NDArray[np.int64]  # [N] persists over a recording

    def __len__(self) -> int:
        return len(self.t)

    @staticmethod
    def empty() -> "Boxes":
        """No boxes."""
        ids = np.empty(0, np.int64)
        return Boxes(ids, np.empty((0, 4), np.float32), ids, ids)

    def times(self) -> npt.NDArray[np.int64]:
        """The label times, each once, in order."""
        return np.unique(self.t)

    def at(self, time_us: int) -> "Boxes":
        """The boxes labelled at exactly this time."""
        first, last = np.searchsorted(self.t, [time_us, time_us + 1])
        return self.take(slice(int(first), int(last)))

    def take(self, rows: "slice | npt.NDArray[np.bool_] | npt.NDArray[np.intp]") -> "Boxes":
        """The boxes of these rows."""
        return Boxes(self.t[rows], self.xywh[rows], self.class_id[rows], self.track_id[rows])

    def in_time_order(self) -> "Boxes":
        """The boxes in time order; those of one time keep theirs."""
        return self.take(np.argsort(self.t, kind="stable"))


def clip(boxes: Boxes, size: SensorSize) -> tuple[Boxes, int, int]:
    """Cut boxes to the frame and drop those of which nothing is left; also how many were cut, how many dropped."""
    right_bottom = np.array(size, np.float64)
    corners = boxes.xywh.astype(np.float64)
    corners[:, 2:] += corners[:, :2]
    inside = np.clip(corners, 0, np.tile(right_bottom, 2))
    kept = (inside[:, 2] > inside[:, 0]) & (inside[:, 3] > inside[:, 1])
    cut = (inside != corners).any(axis=1)  # boxes that fit keep their numbers to the bit
    inside[:, 2:] -= inside[:, :2]
    xywh = np.where(cut[:, None], inside.astype(np.float32), boxes.xywh)
    mended = Boxes(boxes.t, xywh, boxes.class_id, boxes.track_id).take(kept)
    return mended, int(np.count_nonzero(cut & kept)), int(np.count_nonzero(~kept))
