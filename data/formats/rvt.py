"""Sequences preprocessed by RVT (Gehrig and Scaramuzza, CVPR 2023): stacked histograms become events again."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import h5py
import numba
import numpy as np
import numpy.typing as npt

from data.boxes import Boxes, LabelSet
from data.errors import RecordingError
from data.events import Column, Events, Repairs, SensorSize, mend_chunks
from data.formats.hdf5_column import check_stored, opened
from data.formats.numpy_file import read_array
from data.formats.recording import CHUNK_EVENTS, settled_size
from data.formats.rvt_labels import read_labels

# In order of preference: at full size, then every second pixel of every second row.
FILES = {"event_representations.h5": 1, "event_representations_ds2_nearest.h5": 2}
LARGEST_FRAME_BYTES = 256 << 20  # one representation; 18 MB at 1280x720
LATEST_US = 1 << 62


@dataclass(frozen=True)
class RvtRecording:
    """A sequence's folder, with event_representations_v2 and labels_v2 in it.

    Such a tree holds no events, only how many of each polarity fell on a pixel within a bin of time, at most 10. Each
    count becomes that many events in the middle of its bin: exact when rendered at the same bins, else right to half
    a bin. RVT stretches the bins from a window's first event to its last, which the tree does not tell; they are taken
    to share the whole window.
    """

    folder: Path
    label_set: LabelSet

    @cached_property
    def path(self) -> Path:
        """The file of representations: at full size where there is one.

        Raises:
            RecordingError: there is none, or several representations have one.
        """
        inside = self.folder / "event_representations_v2"
        for name in FILES:
            found = sorted(inside.glob(f"stacked_histogram_dt=*_nbins=*/{name}"))
            if len(found) > 1:
                raise RecordingError(f"{found[0]}: the sequence has another representation, {found[1]}; keep one")
            if found:
                return found[0]
        raise RecordingError(
            f"{inside}: holds no stacked_histogram_dt=.._nbins=../{' or '.join(FILES)}; "
            "of RVT's representations only this one can be turned into events"
        )

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @cached_property
    def size(self) -> SensorSize:
        """The frames' size."""
        with opened(self.path) as file:
            _, _, height, width = self._frames(file).shape
        return settled_size(self.path, SensorSize(width, height), None)

    @property
    def row_count(self) -> None:
        """Not known without adding up all counts."""

    def chunks(self) -> Iterator[tuple[Events, Repairs]]:
        """The events in time order, those of at most one representation at a time.

        Raises:
            RecordingError: the file is damaged, or its windows of time overlap.
        """
        return mend_chunks(self._columns(), self.size, str(self.path))

    def boxes(self) -> Boxes:
        """The labels, in the frames' pixels: RVT stores them in those of the full sensor.

        Raises:
            RecordingError: the file is damaged, a number is not finite, or a class is not in the label set.
        """
        boxes = read_labels(self.folder / "labels_v2" / "labels.npz", self.label_set)
        return Boxes(boxes.t, boxes.xywh / np.float32(FILES[self.path.name]), boxes.class_id, boxes.track_id)

    @cached_property
    def _bins(self) -> tuple[int, int]:
        """The window in µs, and the number of its bins, from the folder's name."""
        named = re.search(r"dt=(\d{1,6})_nbins=(\d{1,3})", self.path.parent.name)
        if named is None or int(named[1]) < 1 or int(named[2]) < 1:
            raise RecordingError(f"{self.path.parent}: must be named for milliseconds and bins, as dt=50_nbins=10")
        return int(named[1]) * 1000, int(named[2])

    def _frames(self, file: h5py.File) -> h5py.Dataset:
        frames, (_, bins) = file.get("data"), self._bins
        if not isinstance(frames, h5py.Dataset) or frames.ndim != 4 or frames.dtype != np.uint8:
            raise RecordingError(f"{self.path}: has no dataset 'data' of uint8 counts [window, channel, row, column]")
        _, channels, height, width = frames.shape
        if channels != 2 * bins:
            raise RecordingError(
                f"{self.path}: has {channels} channels, but 2 polarities of {bins} bins are {2 * bins}"
            )
        if channels * height * width > LARGEST_FRAME_BYTES:
            raise RecordingError(
                f"{self.path}: a window of {channels}x{height}x{width} counts is more than "
                f"{LARGEST_FRAME_BYTES >> 20} MiB; the file is damaged: fetch or make it again"
            )
        check_stored(frames, self.path)
        return frames

    def _ends(self, count: int) -> npt.NDArray[np.int64]:
        """When each window ends, in µs."""
        path, (window_us, _) = self.path.with_name("timestamps_us.npy"), self._bins
        ends = read_array(path)
        if ends.ndim != 1 or ends.dtype.kind not in "iu" or len(ends) != count:
            raise RecordingError(f"{path}: must hold {count} whole numbers, one for each window of {self.path.name}")
        if count and not (window_us <= ends.min() and ends.max() < LATEST_US):
            raise RecordingError(
                f"{path}: holds times of {ends.min()} to {ends.max()} µs, but windows of {window_us} µs that start "
                f"at 0 or later end from {window_us} µs on; the file is damaged: fetch or make it again"
            )
        strides = np.diff(ends.astype(np.int64))
        if (strides < window_us).any():
            row = int(np.argmax(strides < window_us))
            raise RecordingError(
                f"{path}: row {row + 1} ends {strides[row]} µs after the one before, but a window lasts {window_us}; "
                "where windows overlap, events would count twice: preprocess with a stride of at least a window"
            )
        return ends.astype(np.int64)

    def _columns(self) -> Iterator[tuple[Column, Column, Column, Column]]:
        with opened(self.path) as file:
            frames, (window_us, bins) = self._frames(file), self._bins
            middles_us = (2 * np.arange(bins) + 1) * window_us // (2 * bins) - window_us
            for row, end_us in enumerate(self._ends(len(frames))):
                counts = frames[row].reshape(2, bins, *frames.shape[2:])
                yield from _expanded(counts, end_us + middles_us)


def _expanded(
    counts_PBHW: npt.NDArray[np.uint8], times_us: npt.NDArray[np.int64]
) -> Iterator[tuple[Column, Column, Column, Column]]:
    """The events of one window, bin by bin, in parts of at most CHUNK_EVENTS."""
    left, position = int(counts_PBHW.sum(dtype=np.int64)), 0
    while left:
        room = min(left, CHUNK_EVENTS)
        t, p = np.empty(room, np.int64), np.empty(room, np.uint8)
        x, y = np.empty(room, np.uint16), np.empty(room, np.uint16)
        filled, position = _fill(counts_PBHW, times_us, position, t, x, y, p)
        left -= filled
        yield t[:filled], x[:filled], y[:filled], p[:filled]


@numba.njit(cache=True, nogil=True)
def _fill(
    counts_PBHW: npt.NDArray[np.uint8], times_us: npt.NDArray[np.int64], position: int,
    t: Column, x: Column, y: Column, p: Column,
) -> tuple[int, int]:  # fmt: skip
    """Write whole cells from `position` on, counted bin, polarity, pixel, while there is room."""
    polarities, bins, height, width = counts_PBHW.shape
    counts_PBN = counts_PBHW.reshape(polarities, bins, height * width)
    filled = 0
    for plane in range(position // (height * width), bins * polarities):
        time_bin, polarity = divmod(plane, polarities)
        for pixel in range(position - plane * height * width, height * width):
            count = counts_PBN[polarity, time_bin, pixel]
            if filled + count > len(t):
                return filled, plane * height * width + pixel
            for event in range(filled, filled + count):
                t[event], p[event] = times_us[time_bin], polarity
                y[event], x[event] = divmod(pixel, width)
            filled += count
        position = (plane + 1) * height * width
    return filled, position
