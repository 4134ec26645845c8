"""Events: what an event camera reports, as time-sorted columns."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from data.errors import RecordingError

Column: TypeAlias = npt.NDArray[np.integer]


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


@dataclass(frozen=True, slots=True)
class Repairs:
    """What had to be dropped or mended to make a recording's events sound."""

    out_of_frame: int = 0  # events dropped: outside the sensor, as a flipped bit 15 of y leaves them
    backward_times: int = 0  # events whose time was raised to the running maximum
    signed_polarity: bool = False  # polarity was {-1, 1}

    def __add__(self, other: "Repairs") -> "Repairs":
        return Repairs(
            self.out_of_frame + other.out_of_frame,
            self.backward_times + other.backward_times,
            self.signed_polarity or other.signed_polarity,
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
    strange = (p < -1) | (p > 1)
    if strange.any():
        row = int(np.argmax(strange))
        raise PolarityError(row, int(p[row]))
    inside = (x >= 0) & (x < size.width) & (y >= 0) & (y < size.height)
    dropped = len(t) - int(np.count_nonzero(inside))
    if dropped:
        t, x, y, p = t[inside], x[inside], y[inside], p[inside]
    times = t.astype(np.int64)
    start = times[:1] if latest_us is None else np.array([latest_us], np.int64)
    mended = np.maximum.accumulate(np.concatenate([start, times]))[1:]
    repairs = Repairs(dropped, int(np.count_nonzero(mended != times)), bool((p < 0).any()))
    events = Events(mended, x.astype(np.uint16), y.astype(np.uint16), (p > 0).astype(np.uint8))
    return events, repairs


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
