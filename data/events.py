"""Events: what an event camera reports, as time-sorted columns."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numba
import numpy as np
import numpy.typing as npt

from data.errors import RecordingError

Column: TypeAlias = npt.NDArray[np.integer]

LONGEST_US = 24 * 3600 * 1_000_000  # a longer recording has a damaged time in it
BIT_15 = 1 << 15  # a coordinate that carries it was 32768 smaller: the damage known in eTraM


class SensorSize(NamedTuple):
    """Pixels of a sensor: eTraM's is 1280 wide and 720 high."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Events:
    """N events in time order, inside the frame."""

    t: npt.NDArray[np.int64]  # µs, never falling
    x: npt.NDArray[np.uint16]  # column, from the left
    y: npt.NDArray[np.uint16]  # row, from the top
    p: npt.NDArray[np.uint8]  # 0 = OFF (darker), 1 = ON (brighter)

    def __len__(self) -> int:
        return len(self.t)

    def take(self, rows: "slice | npt.NDArray[np.bool_]") -> "Events":
        """The events of these rows."""
        return Events(self.t[rows], self.x[rows], self.y[rows], self.p[rows])


NO_EVENTS = Events(np.empty(0, np.int64), np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, np.uint8))


@dataclass(frozen=True, slots=True)
class Repairs:
    """What had to be dropped or mended to make a recording's events sound."""

    out_of_frame: int = 0  # events dropped: outside the sensor
    backward_times: int = 0  # events whose time was raised to the running maximum
    signed_polarity: bool = False  # polarity was {-1, 1}
    bit15: int = 0  # of out_of_frame, those with bit 15 of x or y set, as y=33014 has it

    def __add__(self, other: "Repairs") -> "Repairs":
        return Repairs(
            self.out_of_frame + other.out_of_frame,
            self.backward_times + other.backward_times,
            self.signed_polarity or other.signed_polarity,
            self.bit15 + other.bit15,
        )


class PolarityError(ValueError):
    """A polarity that is none of -1, 0, 1; `row` is the first that breaks the rule."""

    def __init__(self, row: int, value: int) -> None:
        super().__init__(f"row {row}: polarity p={value} is none of -1, 0, 1")
        self.row = row
        self.value = value


def mend(
    t: Column, x: Column, y: Column, p: Column, size: SensorSize, latest_us: int | None = None
) -> tuple[Events, Repairs]:
    """Raw columns of one length become sound events, and what that took is counted.

    Events outside the frame are dropped; a time behind its predecessor is raised to the running maximum, which
    starts at `latest_us` when the columns go on a recording; polarity {-1, 1} becomes {0, 1}.

    Raises:
        PolarityError: a polarity is none of -1, 0, 1.
    """
    count = len(t)
    events = Events(
        np.empty(count, np.int64), np.empty(count, np.uint16), np.empty(count, np.uint16), np.empty(count, np.uint8)
    )
    first_us = np.iinfo(np.int64).min if latest_us is None else latest_us
    strange, kept, backward, negative, bit15 = _mend(
        _column(t, ()), _column(x, (np.uint16,)), _column(y, (np.uint16,)), _column(p, (np.int16, np.uint8)),
        size.width, size.height, first_us, events.t, events.x, events.y, events.p,
    )  # fmt: skip
    if strange >= 0:
        raise PolarityError(strange, int(p[strange]))
    return events.take(slice(kept)), Repairs(count - kept, backward, negative > 0, bit15)


def _column(column: Column, as_it_is: tuple[type[np.integer], ...]) -> Column:
    """The column in one of the few types `_mend` is compiled for: those that are common, else int64."""
    if column.dtype == np.bool_:
        column = column.view(np.uint8)
    if column.dtype in as_it_is:
        return np.ascontiguousarray(column)
    if column.dtype == np.uint64:  # stays too large, instead of turning negative
        column = np.minimum(column, np.uint64(np.iinfo(np.int64).max))
    return np.ascontiguousarray(column, np.int64)


@numba.njit(cache=True, nogil=True)
def _mend(
    t: Column, x: Column, y: Column, p: Column, width: int, height: int, latest_us: int,
    out_t: Column, out_x: Column, out_y: Column, out_p: Column,
) -> tuple[int, int, int, int, int]:  # fmt: skip
    """One pass; returns the first row of strange polarity or -1, and the counts kept, backward, negative, bit 15."""
    strange, kept, backward, negative, bit15 = -1, 0, 0, 0, 0
    latest = latest_us
    for row in range(len(t)):
        column, line, polarity = np.int64(x[row]), np.int64(y[row]), np.int64(p[row])
        if polarity < -1 or polarity > 1:
            strange = row
            break
        if not (0 <= column < width and 0 <= line < height):
            bit15 += ((column | line) & BIT_15) != 0
            continue
        time_us = int(t[row])
        backward += time_us < latest
        latest = max(latest, time_us)
        negative += int(polarity < 0)
        out_t[kept], out_x[kept], out_y[kept], out_p[kept] = latest, column, line, polarity > 0
        kept += 1
    return strange, kept, backward, negative, bit15


def mend_chunks(
    chunks: Iterable[tuple[Column, Column, Column, Column]], size: SensorSize, where: str
) -> Iterator[tuple[Events, Repairs]]:
    """Mend a recording's raw columns t, x, y, p chunk by chunk; the running maximum of time goes on across chunks.

    Raises:
        RecordingError: a polarity is none of -1, 0, 1; `where` names the recording, the row counts from its start.
    """
    latest_us, first_row = None, 0
    for t, x, y, p in chunks:
        try:
            events, repairs = mend(t, x, y, p, size, latest_us)
        except PolarityError as error:
            raise RecordingError(
                f"{where}: row {first_row + error.row}: polarity p={error.value} is none of -1, 0, 1; "
                "the file is damaged or holds something else: fetch or export it again"
            ) from None
        first_row += len(t)
        if len(events):
            latest_us = int(events.t[-1])
        yield events, repairs
