"""Frames whose cells are mostly zero, as one short buffer: how far it is to the next cell, and what that cell holds.

A buffer is a head of 8 bytes (its kind, then the number of cells) and n entries: n uint16 steps from cell to cell, then
n uint8 values. A gap of more than 65535 cells is bridged by entries of value 0; entries left over at the end step
nowhere. Frames of which more than a third of the cells are set gain nothing by this, and follow their head as they are.
Numbers are little end first.
"""

import numba
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

_HEAD_BYTES = 8
_ENTRY_BYTES = 3
_SPARSE, _DENSE = 0x53, 0x44
_FARTHEST = 0xFFFF  # cells that one entry can step over

# The place of a word's only bit, by the six bits that a de Bruijn sequence times that word has at its top.
_DE_BRUIJN = 0x03F79D71B4CB0A89
_PLACE = np.argsort([(_DE_BRUIJN << place) % 2**64 >> 58 for place in range(64)]).astype(np.uint8)


class DamagedBufferError(ValueError):
    """A buffer does not hold frames of the size that was asked for."""


def encode(frames: Bytes) -> Bytes:
    """The shorter of the sparse and the dense form of these frames, of any shape."""
    cells = np.ascontiguousarray(frames).reshape(-1)
    entries = int(np.count_nonzero(cells)) + len(cells) // _FARTHEST  # no fewer than are needed
    dense = entries * _ENTRY_BYTES >= len(cells)
    buffer = np.empty(_HEAD_BYTES + (len(cells) if dense else entries * _ENTRY_BYTES), np.uint8)
    head = (_DENSE if dense else _SPARSE) | len(cells) << 8
    buffer[:_HEAD_BYTES] = np.frombuffer(head.to_bytes(_HEAD_BYTES, "little"), np.uint8)
    if dense:
        buffer[_HEAD_BYTES:] = cells
    else:
        steps, values = np.split(buffer[_HEAD_BYTES:], [entries * 2])
        _write(cells, steps.view("<u2"), values)
    return buffer


def expand(buffer: Bytes | memoryview | bytes, frames_out: Bytes) -> None:
    """Overwrite the whole of `frames_out`, which must lie in memory without gaps, with the frames of a buffer.

    Raises:
        DamagedBufferError: it is damaged, or of frames of another size; nothing is written outside `frames_out`.
    """
    if frames_out.dtype != np.uint8 or not frames_out.flags.c_contiguous:
        raise ValueError(
            f"frames_out is {frames_out.dtype}, or has gaps in memory; pass an array of uint8 without gaps"
        )
    out = frames_out.reshape(-1)
    content = np.frombuffer(buffer, np.uint8)
    head = int.from_bytes(content[:_HEAD_BYTES].tobytes(), "little")
    kind, cells = head & 0xFF, head >> 8
    if len(content) < _HEAD_BYTES or kind not in (_SPARSE, _DENSE) or cells != len(out):
        raise DamagedBufferError(
            f"the buffer (kind {kind}, {cells} cells) is not one of {len(out)} cells; render it again"
        )
    body = content[_HEAD_BYTES:]
    if kind == _DENSE and len(body) == cells:
        out[:] = body
    elif kind == _SPARSE and len(body) % _ENTRY_BYTES == 0 and _farthest(body) < cells:
        out.fill(0)
        _scatter(body, out)
    else:
        raise DamagedBufferError(f"the buffer's {len(body)} bytes do not describe {cells} cells; render it again")


@numba.njit(cache=True, nogil=True)
def _write(cells: Bytes, steps: npt.NDArray[np.uint16], values: Bytes) -> None:  # pragma: no cover - compiled
    words = cells[: len(cells) // 64 * 64].view(np.uint64)
    one, top, farthest = np.uint64(1), np.uint64(58), np.uint64(_FARTHEST)
    entry = last = np.uint64(0)  # unsigned: of a signed place it would be asked whether it counts from the end
    for first in range(0, len(cells), 64):
        set_cells = _set_cells(cells, words, first)
        while set_cells:
            lowest = set_cells & (~set_cells + one)
            set_cells ^= lowest
            cell = np.uint64(first) + np.uint64(_PLACE[lowest * np.uint64(_DE_BRUIJN) >> top])
            while cell - last > farthest:
                steps[entry], values[entry] = _FARTHEST, 0
                last += farthest
                entry += one
            steps[entry], values[entry] = cell - last, cells[cell]
            last = cell
            entry += one
    for rest in range(entry, len(steps)):
        steps[rest], values[rest] = 0, cells[last]


@numba.njit(cache=True, nogil=True)
def _set_cells(cells: Bytes, words: npt.NDArray[np.uint64], first: int) -> np.uint64:  # pragma: no cover - compiled
    """Which of up to 64 cells are not zero, one bit each, the first cell in the lowest; `words` are the same cells."""
    bits = np.uint64(0)
    if first + 64 > len(cells):
        for cell in range(first, len(cells)):
            bits |= np.uint64(cells[cell] != 0) << np.uint64(cell - first)
        return bits
    low_bits = np.uint64(0x7F7F7F7F7F7F7F7F)
    for byte in range(8):  # a byte's highest bit tells whether it is set; the product gathers the eight of a word
        word = words[np.uint64(first // 8 + byte)]
        high_bits = ((word & low_bits) + low_bits | word) & ~low_bits
        gathered = (high_bits >> np.uint64(7)) * np.uint64(0x0102040810204080) >> np.uint64(56)
        bits |= gathered << np.uint64(8 * byte)
    return bits


@numba.njit(cache=True, nogil=True)
def _farthest(body: Bytes) -> np.int64:  # pragma: no cover - compiled
    """The last cell that the entries lead to, which no other lies beyond, as no step leads back."""
    cell = np.int64(0)
    for entry in range(len(body) // _ENTRY_BYTES):
        cell += np.int64(body[2 * entry]) | np.int64(body[2 * entry + 1]) << 8
    return cell


@numba.njit(cache=True, nogil=True)
def _scatter(body: Bytes, out: Bytes) -> None:  # pragma: no cover - compiled
    entries = len(body) // _ENTRY_BYTES
    values = body[2 * entries :]
    cell = np.uint64(0)
    for entry in range(entries):
        cell += np.uint64(body[2 * entry]) | np.uint64(body[2 * entry + 1]) << np.uint64(8)
        out[cell] = values[entry]
