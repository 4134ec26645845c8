"""Packed events: one word an event, and an index of their milliseconds."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numba
import numpy as np
import numpy.typing as npt

from data.events import Events, SensorSize

WordColumn: TypeAlias = npt.NDArray[np.uint32] | npt.NDArray[np.uint64]
LARGEST = SensorSize(65_535, 65_535)  # what 16 bits of x and of y can hold
_LARGEST_NARROW = SensorSize(2048, 1024)
_MS_US = 1000


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a word keeps its event; x lies in the lowest bits, the microseconds in the highest that are used."""

    y_shift: int
    x_mask: int
    y_mask: int  # after the shift, as x_mask
    p_shift: int
    dt_shift: int  # µs within the millisecond, 0 to 999


_NARROW = Layout(y_shift=11, x_mask=0x7FF, y_mask=0x3FF, p_shift=21, dt_shift=22)
_WIDE = Layout(y_shift=16, x_mask=0xFFFF, y_mask=0xFFFF, p_shift=32, dt_shift=33)


class Words(StrEnum):
    """The kinds of words: 4 bytes an event for sensors up to 2048x1024, 8 beyond."""

    NARROW = "narrow"
    WIDE = "wide"

    @classmethod
    def of(cls, size: SensorSize) -> "Words":
        """The smallest words that hold the pixels of a sensor of at most LARGEST."""
        fits = size.width <= _LARGEST_NARROW.width and size.height <= _LARGEST_NARROW.height
        return cls.NARROW if fits else cls.WIDE

    @property
    def dtype(self) -> np.dtype[np.uint32] | np.dtype[np.uint64]:
        """Of a column of these words."""
        return np.dtype(np.uint32) if self is Words.NARROW else np.dtype(np.uint64)


def layout(dtype: np.dtype[np.generic]) -> Layout:
    """How words of this dtype, uint32 or uint64, are laid out."""
    return {np.dtype(np.uint32): _NARROW, np.dtype(np.uint64): _WIDE}[np.dtype(dtype)]


@dataclass(frozen=True, slots=True)
class PackedSlice:
    """Events of M whole milliseconds, 4 or 8 bytes each."""

    first_ms: int  # the millisecond (t // 1000) of offsets[0]
    offsets: npt.NDArray[np.int64]  # [M+1]: words[offsets[i]:offsets[i+1]] happened in millisecond first_ms + i
    words: WordColumn  # as `layout(words.dtype)` says


class Packer:
    """Fills one run of words after another, each with its index of milliseconds, in buffers made once.

    A run ends when it is full, when its index is, or before a pause: a recording of few events must cost few bytes.
    A millisecond may go on in the next run.
    """

    def __init__(self, words: Words, run_events: int, run_ms: int, pause_ms: int) -> None:
        self._words = np.empty(run_events, words.dtype)
        self._offsets = np.empty(run_ms + 1, np.int64)
        self._pause_ms = pause_ms
        self._run = np.zeros(3, np.int64)  # events in it, its first and its last millisecond

    def __len__(self) -> int:
        return int(self._run[0])

    @property
    def dtype(self) -> np.dtype[np.uint32] | np.dtype[np.uint64]:
        """Of the words."""
        return self._words.dtype

    def fill(self, events: Events, first: int) -> int:
        """Take events from row `first` on into the run; the row of the first that belongs to the next run."""
        place = layout(self._words.dtype)
        shifts = (place.y_shift, place.p_shift, place.dt_shift)
        columns = (events.t, events.x, events.y, events.p)
        return int(_fill(*columns, first, self._words, self._offsets, self._run, *shifts, self._pause_ms))

    def take(self) -> PackedSlice:
        """The run, which is over; its arrays are views that hold until the next `fill`."""
        count, first_ms, last_ms = self._run.tolist()
        end = last_ms - first_ms + 1
        self._offsets[end] = count
        self._run[0] = 0
        return PackedSlice(first_ms, self._offsets[: end + 1], self._words[:count])


@numba.njit(cache=True, nogil=True)
def _fill(
    t: npt.NDArray[np.int64],
    x: npt.NDArray[np.uint16],
    y: npt.NDArray[np.uint16],
    p: npt.NDArray[np.uint8],
    row: int,
    words: WordColumn,
    offsets: npt.NDArray[np.int64],
    run: npt.NDArray[np.int64],
    y_shift: int,
    p_shift: int,
    dt_shift: int,
    pause_ms: int,
) -> int:  # pragma: no cover - compiled
    count, first_ms, ms = run
    end_us = (ms + 1) * _MS_US
    while row < len(t) and count < len(words):
        if count == 0:
            first_ms = ms = t[row] // _MS_US
            end_us = (ms + 1) * _MS_US
            offsets[0] = 0
        elif t[row] >= end_us:
            next_ms = t[row] // _MS_US
            if next_ms - ms > pause_ms or next_ms - first_ms >= len(offsets) - 1:
                break
            offsets[ms - first_ms + 1 : next_ms - first_ms + 1] = count
            ms = next_ms
            end_us = (ms + 1) * _MS_US
        word = np.uint64(x[row]) | np.uint64(y[row]) << np.uint64(y_shift) | np.uint64(p[row]) << np.uint64(p_shift)
        words[count] = word | np.uint64(t[row] - ms * _MS_US) << np.uint64(dt_shift)
        count += 1
        row += 1
    run[:] = count, first_ms, ms
    return row


def unpack(packed: PackedSlice) -> Events:
    """The events of a slice."""
    words, place = packed.words, layout(packed.words.dtype)
    starts_us = (packed.first_ms + np.arange(len(packed.offsets) - 1)) * _MS_US
    t = np.repeat(starts_us, np.diff(packed.offsets)) + (words >> place.dt_shift).astype(np.int64)
    x, y = (words & place.x_mask).astype(np.uint16), (words >> place.y_shift & place.y_mask).astype(np.uint16)
    return Events(t, x, y, (words >> place.p_shift & 1).astype(np.uint8))
