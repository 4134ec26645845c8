"""Pixel tables: where in a flat frame an event lands, looked up instead of computed anew for every event."""

import functools
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from data.errors import ConfigError
from data.packing import layout

_OUTSIDE = 1 << 30  # further than any cell of a frame; two of them still fit uint32
Bits = np.uint32 | np.uint64  # of the words' type, since numba would make a float of two types


class PixelTables(NamedTuple):
    """An event's cell is columns[x] + lines[y and p]; beyond the frame's cells where the pixel is outside.

    The bits of a word that follow x hold y and, above it, p: `word >> line_shift & line_mask` indexes `lines`.
    """

    columns: npt.NDArray[np.uint32]
    lines: npt.NDArray[np.uint32]
    column_mask: Bits
    line_shift: Bits
    line_mask: Bits
    on_shift: Bits  # of p alone, which is the lowest bit then
    time_shift: Bits
    time_mask: Bits


@functools.lru_cache(maxsize=16)  # narrow words take 16 KB, wide ones 768 KB
def pixel_tables(
    words: np.dtype[np.generic], scale: float, on_plane: int, channels: int, height: int, width: int
) -> PixelTables:
    """The tables for frames of [C, H, W] cells.

    Args:
        words: dtype of the packed words.
        scale: output pixels a sensor pixel.
        on_plane: the channel in which an ON event lands whose OFF twin lands in channel 0.
        channels: C.
        height: H.
        width: W.

    Raises:
        ConfigError: a frame has more than 2**30 cells.
    """
    if channels * height * width > _OUTSIDE:
        raise ConfigError(
            f"a frame of {channels} x {height} x {width} has more than 2**30 cells, the most that is rendered; "
            "lower scale, or bins"
        )
    place = layout(words)
    y_bits = place.p_shift - place.y_shift
    columns = _places(place.x_mask + 1, scale, width)
    lines_OFF = _places(1 << y_bits, scale, height)
    inside = lines_OFF != _OUTSIDE
    lines_OFF[inside] *= width
    lines_ON = np.where(inside, lines_OFF + on_plane * height * width, _OUTSIDE)
    bits: type[Bits] = np.uint32 if words == np.uint32 else np.uint64
    return PixelTables(
        columns.astype(np.uint32),
        np.concatenate([lines_OFF, lines_ON]).astype(np.uint32),
        column_mask=bits(place.x_mask),
        line_shift=bits(place.y_shift),
        line_mask=bits((2 << y_bits) - 1),
        on_shift=bits(place.p_shift),
        time_shift=bits(place.dt_shift),
        time_mask=bits(0x3FF),  # 10 bits, whatever lies above them
    )


def _places(count: int, scale: float, side: int) -> npt.NDArray[np.int64]:
    """The output column or line of each sensor column or line."""
    places = np.floor(np.arange(count) * scale).astype(np.int64)
    return np.where(places < side, places, _OUTSIDE)


@numba.njit(cache=True, nogil=True)
def cell_of(word: Bits, tables: PixelTables) -> np.uint32:  # pragma: no cover - compiled
    """The cell of a word's event in the flat frame; beyond its last where the pixel is outside."""
    line = tables.lines[(word >> tables.line_shift) & tables.line_mask]
    return np.uint32(tables.columns[word & tables.column_mask] + line)


@numba.njit(cache=True, nogil=True)
def us_in_ms(word: Bits, tables: PixelTables) -> np.int64:  # pragma: no cover - compiled
    """The microseconds of a word's event within its millisecond."""
    return np.int64((word >> tables.time_shift) & tables.time_mask)
