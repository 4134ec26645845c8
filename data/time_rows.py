"""Time rows: at which row of a packed slice a time begins.

Words are in time order, so a search finds it.
"""

import numba
import numpy as np
import numpy.typing as npt

from data.packing import WordColumn
from data.pixel_tables import PixelTables, us_in_ms

Rows = npt.NDArray[np.int64]
_MS_US = 1000


@numba.njit(cache=True, nogil=True)
def step_rows(
    words: WordColumn, offsets: Rows, since_us: int, span_us: int, time_steps: int, tables: PixelTables
) -> Rows:  # pragma: no cover - compiled
    """The rows [T + 1] between which the events of each of T equal steps of a window lie.

    The window starts `since_us` after the slice's first millisecond.
    """
    rows = np.empty(time_steps + 1, np.int64)
    for step in range(time_steps + 1):
        # An event at s belongs to step floor(s * T / span), so step k begins at ceil(k * span / T).
        begin_us = since_us - (-step * span_us // time_steps)
        rows[step] = first_row(words, offsets, begin_us, tables)
    return rows


@numba.njit(cache=True, nogil=True)
def first_row(
    words: WordColumn, offsets: Rows, time_us: int, tables: PixelTables
) -> np.int64:  # pragma: no cover - compiled
    """The first row at or after a time, which counts from the slice's first millisecond."""
    ms = time_us // _MS_US
    if ms < 0:
        return np.int64(offsets[0])
    if ms >= len(offsets) - 1:
        return np.int64(offsets[-1])
    low, high = offsets[ms], offsets[ms + 1]
    while low < high:
        middle = (low + high) // 2
        if us_in_ms(words[middle], tables) < time_us - ms * _MS_US:
            low = middle + 1
        else:
            high = middle
    return np.int64(low)


@numba.njit(cache=True, nogil=True)
def time_of_row(
    words: WordColumn, offsets: Rows, row: np.int64, tables: PixelTables
) -> np.int64:  # pragma: no cover - compiled
    """The time of a row, counted from the slice's first millisecond."""
    ms = np.searchsorted(offsets, row, side="right") - 1
    return np.int64(ms * _MS_US + us_in_ms(words[row], tables))
