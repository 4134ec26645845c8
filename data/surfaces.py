"""Time surfaces: how lately the last event of each polarity was, at the end of each time step.

Lagorce et al., HOTS: A Hierarchy of Event-Based Time-Surfaces for Pattern Recognition, TPAMI 2017; with the surface
taken at one time for all pixels, as Sironi et al., HATS, CVPR 2018, store it, instead of around each event.
"""

import functools

import numba
import numpy as np
import numpy.typing as npt

from data.packing import WordColumn
from data.pixel_tables import PixelTables, cell_of, us_in_ms
from data.time_rows import Rows

_MS_US = 1000


@functools.lru_cache(maxsize=8)
def decay_table(tau_us: int, span_us: int) -> npt.NDArray[np.uint8]:
    """What a surface shows of an event by its age in µs, 255 at age 0; the last entry holds for every greater age."""
    faded_us = int(tau_us * np.log(2 * 255)) + 2  # 255 * exp(-age / tau) < 1 / 2, so it rounds to 0
    ages = np.arange(min(span_us, faded_us))
    return np.floor(255 * np.exp(-ages / tau_us) + 0.5).astype(np.uint8)


@numba.njit(cache=True, nogil=True)
def draw_surfaces(
    words: WordColumn,
    offsets: Rows,
    since_us: int,
    span_us: int,
    rows: Rows,
    tables: PixelTables,
    decay: npt.NDArray[np.uint8],
    frames: npt.NDArray[np.uint8],
) -> None:  # pragma: no cover - compiled
    """Draw the surface at the end of each step into its flat frame.

    The window of `span_us` starts `since_us` after the slice's first millisecond; `rows` [T + 1] bound its steps.
    """
    T, size = frames.shape
    latest = np.zeros(size, np.uint32)  # µs since the window's start, and 1: 0 is no event yet
    touched = np.empty(min(size, rows[T] - rows[0]), np.uint32)  # few of a frame's cells, and the only ones to draw
    count = 0
    ms = np.searchsorted(offsets, rows[0], side="right") - 1
    for step in range(T):
        row = rows[step]
        while row < rows[step + 1]:
            while offsets[ms + 1] <= row:
                ms += 1
            end = min(rows[step + 1], offsets[ms + 1])
            ms_us = ms * _MS_US - since_us + 1
            for i in range(np.uint64(row), np.uint64(end)):
                word = words[i]
                cell = cell_of(word, tables)
                if cell < np.uint32(size):
                    if latest[cell] == 0:
                        touched[count] = cell
                        count += 1
                    latest[cell] = max(1, ms_us + us_in_ms(word, tables))  # words out of order must not pass for 0
            row = end
        end_us = -(-(step + 1) * span_us // T)
        frames[step, :] = 0
        for cell in touched[:count]:
            age_us = end_us - np.int64(latest[cell])
            frames[step, cell] = decay[max(0, min(age_us, len(decay) - 1))]
