"""Resampling of rendered frames: each cell goes to the cells it covers in a smaller, larger or mirrored frame."""

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from data.representation import Frames, RepresentationConfig, RepresentationName

Places = npt.NDArray[np.int64]

_COUNT, _SIGNED, _LATEST = range(3)  # what becomes of cells that fall into one: sum, signed sum, maximum
_BLOCK = 16  # cells that are looked at together, since most frames are nearly empty


@dataclass(frozen=True, slots=True)
class Axis:
    """Where the cells of one axis go: cell i covers the places low[i]..high[i] - 1, none if it leaves the frame."""

    low: Places
    high: Places


def axis(cells: int, scale: float, shift: float, mirrored: bool, start: int, end: int) -> Axis:
    """The places that so many cells cover, cut to `start`..`end` - 1.

    Shrunk, a cell goes where rendering at the smaller size would put its events, floor(i * scale). Enlarged, each
    place shows the cell that its middle lies in.

    Args:
        cells: how many the axis has.
        scale: places a cell.
        shift: places the first cell is moved by.
        mirrored: whether the axis is turned round before it is scaled.
        start: first place that may be covered.
        end: the place after the last that may be.
    """
    if scale <= 1:
        low = np.floor(np.arange(cells) * scale + shift).astype(np.int64)
        high = low + 1
    else:
        edges = np.ceil(np.arange(cells + 1) * scale + shift - 0.5).astype(np.int64)
        low, high = edges[:-1], edges[1:]
    low, high = np.clip(low, start, end), np.clip(high, start, end)
    return Axis(low[::-1].copy(), high[::-1].copy()) if mirrored else Axis(low, high)


@dataclass(frozen=True, slots=True)
class Recolouring:
    """What happens to steps and channels, and to events, while cells move."""

    polarity_flip: bool = False  # ON and OFF change places
    time_flip: bool = False  # the last step is the first, and brightening is darkening
    event_drop: float = 0.0  # share of events left out
    seed: int = 0  # of which are left out


def scatter(
    frames_TCHW: Frames, rows: Axis, columns: Axis, change: Recolouring, kind: RepresentationConfig, out_TCHW: Frames
) -> None:
    """Add frames to others of the same representation, each cell at its places.

    Args:
        frames_TCHW: the frames; rows and columns beyond the axes' cells are padding.
        rows: where rows go.
        columns: where columns go.
        change: what happens to polarities, time and events.
        kind: the representation: counts are summed up to their ceiling, differences with their sign, of times the
            latest stays.
        out_TCHW: the frames added to; to begin with, all 0.
    """
    T, C = frames_TCHW.shape[:2]
    steps = np.arange(T)[::-1] if change.time_flip else np.arange(T)
    mode, ceiling = _reduction(kind)
    swapped = change.polarity_flip != change.time_flip
    _scatter(
        frames_TCHW,
        out_TCHW,
        np.ascontiguousarray(steps),
        _channels(C, kind, swapped, change.time_flip),
        (rows.low, rows.high),
        (columns.low, columns.high),
        mode,
        ceiling,
        swapped and mode == _SIGNED,
        1.0 - change.event_drop,
        np.random.default_rng(change.seed),
    )


def _reduction(kind: RepresentationConfig) -> tuple[int, int]:
    """How cells are joined, and the largest value they reach."""
    match kind.name:
        case RepresentationName.HISTO3D:
            return _COUNT, 255
        case RepresentationName.DIFF3D:
            return _SIGNED, 127
        case RepresentationName.STACKED_HISTOGRAM:
            return _COUNT, kind.count_cutoff
        case RepresentationName.TIME_SURFACE:
            return _LATEST, 255


def _channels(count: int, kind: RepresentationConfig, swapped: bool, backwards: bool) -> Places:
    """Where each channel goes. Polarities are the outermost part of a channel's number, bins the inner."""
    if kind.name is RepresentationName.DIFF3D:
        return np.arange(count)
    places_PB = np.arange(count).reshape(2, -1)
    if swapped:
        places_PB = places_PB[::-1]
    if backwards:
        places_PB = places_PB[:, ::-1]
    return places_PB.flatten()


@numba.njit(cache=True, nogil=True)
def _scatter(
    frames_TCHW: Frames,
    out_TCHW: Frames,
    steps: Places,
    channels: Places,
    rows: tuple[Places, Places],
    columns: tuple[Places, Places],
    mode: int,
    ceiling: int,
    negated: bool,
    keep: float,
    random: np.random.Generator,
) -> None:  # pragma: no cover - compiled
    width = len(columns[0])
    for t in range(frames_TCHW.shape[0]):
        for c in range(frames_TCHW.shape[1]):
            source_HW, target_HW = frames_TCHW[t, c], out_TCHW[steps[t], channels[c]]
            for y in range(len(rows[0])):
                covered = (rows[0][y], rows[1][y])
                if covered[0] >= covered[1]:
                    continue
                for start in range(0, width, _BLOCK):
                    end = min(start + _BLOCK, width)
                    cells = source_HW[y, start:end]
                    if end - start < _BLOCK or not _is_empty(cells):
                        places = (columns[0][start:end], columns[1][start:end])
                        _add(cells, target_HW, covered, places, mode, ceiling, negated, keep, random)


@numba.njit(cache=True, nogil=True)
def _is_empty(cells: npt.NDArray[np.uint8]) -> bool:  # pragma: no cover - compiled
    found = np.uint8(0)
    for i in range(_BLOCK):  # so many, always: the compiler makes few instructions of it
        found |= cells[i]
    return bool(found == 0)


@numba.njit(cache=True, nogil=True)
def _add(
    cells: npt.NDArray[np.uint8],
    target_HW: npt.NDArray[np.uint8],
    rows: tuple[int, int],
    columns: tuple[Places, Places],
    mode: int,
    ceiling: int,
    negated: bool,
    keep: float,
    random: np.random.Generator,
) -> None:  # pragma: no cover - compiled
    """Add a few cells of one row to all that they cover."""
    for i in range(len(cells)):
        value = np.int64(cells[i])
        if value != 0 and keep < 1.0:
            value = _thinned(value, mode, keep, random)
        if value == 0:
            continue
        for row in range(rows[0], rows[1]):
            for column in range(columns[0][i], columns[1][i]):
                old = np.int64(target_HW[row, column])
                target_HW[row, column] = _joined(old, value, mode, ceiling, negated)


@numba.njit(cache=True, nogil=True)
def _thinned(value: int, mode: int, keep: float, random: np.random.Generator) -> int:  # pragma: no cover - compiled
    """Each counted event stays with chance `keep`; of other values, the whole cell does."""
    if mode != _COUNT:
        return value if random.random() < keep else 0
    kept = 0
    for _ in range(value):
        if random.random() < keep:
            kept += 1
    return kept


@numba.njit(cache=True, nogil=True)
def _joined(old: int, value: int, mode: int, ceiling: int, negated: bool) -> np.uint8:  # pragma: no cover - compiled
    if mode == _COUNT:
        return np.uint8(min(old + value, ceiling))
    if mode == _LATEST:
        return np.uint8(max(old, value))
    signed = value - 256 if value > 127 else value  # two's complement
    total = (old - 256 if old > 127 else old) + (-signed if negated else signed)
    return np.uint8(max(-ceiling, min(total, ceiling)) & 0xFF)
