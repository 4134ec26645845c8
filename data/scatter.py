"""Scatter: the loops that add events to the cells of a frame, one after the other."""

import numba
import numpy as np
import numpy.typing as npt

from data.packing import WordColumn
from data.pixel_tables import PixelTables, cell_of
from data.time_rows import Rows, first_row, time_of_row

_MOST = 127  # a signed cell's largest difference; -127 and not -128 is its smallest, so that negation is exact


@numba.njit(cache=True, nogil=True)
def add_counts(
    words: WordColumn, rows: Rows, tables: PixelTables, most: np.uint8, frames: npt.NDArray[np.uint8]
) -> None:  # pragma: no cover - compiled
    """Count the events of rows[k] to rows[k + 1] in each flat frame k, at most `most` in a cell."""
    for step in range(len(frames)):
        frames[step, :] = 0  # right before it is written to, so that it is still near
        _count(words, rows[step], rows[step + 1], tables, most, frames[step])


@numba.njit(cache=True, nogil=True)
def _count(
    words: WordColumn, first: int, end: int, tables: PixelTables, most: np.uint8, cells: npt.NDArray[np.uint8]
) -> None:  # pragma: no cover - compiled
    size = np.uint32(len(cells))
    for row in range(np.uint64(first), np.uint64(end)):  # unsigned, as the cells: a signed index is tested for < 0
        cell = cell_of(words[row], tables)
        if cell < size:
            count = cells[cell]
            if count < most:
                cells[cell] = count + np.uint8(1)


@numba.njit(cache=True, nogil=True)
def stack_counts(
    words: WordColumn,
    offsets: Rows,
    rows: Rows,
    tables: PixelTables,
    bins: int,
    most: np.uint8,
    frames: npt.NDArray[np.uint8],
) -> None:  # pragma: no cover - compiled
    """Count the events of rows[k] to rows[k + 1] in flat frame k by their bin, whose plane follows the bin's before."""
    plane = frames.shape[1] // (2 * bins)
    for step in range(len(frames)):
        frames[step, :] = 0
        first, end = rows[step], rows[step + 1]
        if first == end:
            continue
        first_us = time_of_row(words, offsets, first, tables)
        span_us = time_of_row(words, offsets, end - 1, tables) - first_us
        low = first
        for b in range(bins):
            high = end
            if b < bins - 1:
                begin_us = first_us + _bin_start(b + 1, bins, span_us)
                high = max(low, min(end, first_row(words, offsets, begin_us, tables)))
            cells = frames[step, b * plane :]
            _count(words, low, high, tables, most, cells)
            low = high


@numba.njit(cache=True, nogil=True)
def _bin_start(b: int, bins: int, span_us: int) -> int:  # pragma: no cover - compiled
    """The first microsecond after the first event that lies in bin b or a later one, by RVT's float32 arithmetic."""
    low, high = 0, span_us + 1
    while low < high:
        middle = (low + high) // 2
        share = np.float32(np.float32(middle) / np.float32(max(span_us, 1)))
        if np.floor(np.float32(share * np.float32(bins))) < b:
            low = middle + 1
        else:
            high = middle
    return low


@numba.njit(cache=True, nogil=True)
def add_differences(
    words: WordColumn, rows: Rows, tables: PixelTables, frames: npt.NDArray[np.int8]
) -> None:  # pragma: no cover - compiled
    """ON minus OFF events of rows[k] to rows[k + 1] in each flat frame k, cut to -127 and 127 at the end."""
    for step in range(len(frames)):
        cells = frames[step]
        cells[:] = 0
        if not _difference(words, rows[step], rows[step + 1], tables, cells):
            # Rare: some cell went beyond a byte and may have come back, so the step is counted again in wide ones.
            wide = np.zeros(len(cells), np.int32)
            _difference(words, rows[step], rows[step + 1], tables, wide)
            for cell in range(len(cells)):
                cells[cell] = max(-_MOST, min(_MOST, wide[cell]))


@numba.njit(cache=True, nogil=True)
def _difference(
    words: WordColumn, first: int, end: int, tables: PixelTables, cells: npt.NDArray[np.int8] | npt.NDArray[np.int32]
) -> bool:  # pragma: no cover - compiled
    """Add to the cells; False as soon as a byte would not do, which leaves wide cells untroubled."""
    size = np.uint32(len(cells))
    narrow = cells.itemsize == 1
    for row in range(np.uint64(first), np.uint64(end)):
        word = words[row]
        cell = cell_of(word, tables)
        if cell < size:
            on = np.int64(word >> tables.on_shift) & 1
            difference = np.int64(cells[cell]) + 2 * on - 1
            if narrow and abs(difference) > _MOST:
                return False
            cells[cell] = difference
    return True
