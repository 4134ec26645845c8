"""Columns in HDF5, from first to last: gzip by libdeflate, twice as fast as HDF5's own, everything else by h5py."""

import math
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import deflate
import h5py
import hdf5plugin  # noqa: F401 - importing it registers blosc, zstd and the other filters a file may use
import numba
import numpy as np
import numpy.typing as npt

from data.errors import RecordingError
from data.events import Column

BLOCK_ROWS = 1 << 20  # read through h5py at once; chunks of a few thousand rows one by one would be slow
LARGEST_CHUNK_BYTES = 128 << 20  # more in one chunk is no recording but a damaged number
# What h5py raises for damage, by where it lies.
DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, MemoryError, OverflowError)


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """The file, open to read.

    Raises:
        RecordingError: it is no HDF5 file, or h5py finds damage while it is open.
    """
    try:
        # Best effort: datasets often lie on read-only or network disks that cannot lock.
        with h5py.File(path, "r", locking="best-effort") as file:
            yield file
    except DAMAGE as error:
        said = str(error) or type(error).__name__
        raise RecordingError(
            f"{path}: cannot be read as HDF5, it is damaged or cut short ({said}); fetch it again"
        ) from None


def check_stored(dataset: h5py.Dataset, path: Path) -> None:
    """Whether all that the dataset says it has is there: what was never written reads as zeros, without end.

    Raises:
        RecordingError: it is not, or is stored in chunks too large to read.
    """
    where, itemsize = f"{path}: {dataset.name}", dataset.dtype.itemsize
    if not dataset.size:
        return
    if not dataset.chunks:
        written = dataset.id.get_storage_size() >= dataset.size * itemsize
    else:
        if math.prod(dataset.chunks) * itemsize > LARGEST_CHUNK_BYTES:
            raise RecordingError(
                f"{where} is stored in chunks of {'x'.join(map(str, dataset.chunks))}, but at most "
                f"{LARGEST_CHUNK_BYTES >> 20} MiB are read at once; write it in smaller chunks"
            )
        chunks = math.prod(-(-side // part) for side, part in zip(dataset.shape, dataset.chunks, strict=True))
        written = dataset.id.get_num_chunks() >= chunks
    if not written:
        raise RecordingError(f"{where} says it has {dataset.shape[0]} rows, but not all were written; fetch it again")


class Hdf5Column:
    """A one-dimensional dataset of whole numbers, whose rows are asked for in rising order."""

    def __init__(self, dataset: h5py.Dataset, path: Path) -> None:
        self._dataset = dataset
        self._where = f"{path}: {dataset.name}"
        check_stored(dataset, path)
        chunk_rows = dataset.chunks[0] if dataset.chunks else 1
        self._shuffled = _gzip_shuffled(dataset)
        self._block_rows = chunk_rows if self._shuffled is not None else -(-BLOCK_ROWS // chunk_rows) * chunk_rows
        self._block: tuple[int, Column] = (-1, np.empty(0, dataset.dtype))

    def __len__(self) -> int:
        return len(self._dataset)

    def read(self, first: int, last: int) -> Column:
        """The rows from first to last, without last.

        Raises:
            RecordingError: a chunk unpacks to more than it may hold. What else is damaged, h5py raises.
        """
        out = np.empty(last - first, self._dataset.dtype)
        for index in range(first // self._block_rows, -(-last // self._block_rows)):
            if self._block[0] != index:
                self._block = (index, self._read_block(index * self._block_rows))
            start = index * self._block_rows
            low, high = max(first, start), min(last, start + self._block_rows)
            out[low - first : high - first] = self._block[1][low - start : high - start]
        return out

    def _read_block(self, start: int) -> Column:
        if self._shuffled is not None:
            chunk = self._unpack(start)
            if chunk is not None:
                return chunk
        rows: Column = self._dataset[start : start + self._block_rows]
        return rows

    def _unpack(self, start: int) -> Column | None:
        """One gzip chunk; None where h5py has to look at it: damage, or filters left out for this chunk."""
        skipped, packed = self._dataset.id.read_direct_chunk((start,))
        dtype = self._dataset.dtype
        wanted = self._block_rows * dtype.itemsize
        plain = None if skipped else _inflated(packed, wanted)
        if plain is None or len(plain) < wanted:
            return None
        if len(plain) > wanted:  # HDF5 itself would go on, however much comes out
            raise RecordingError(
                f"{self._where}, row {start}: the chunk unpacks to more than its {wanted} bytes; fetch the file again"
            )
        return _unshuffled(plain, dtype) if self._shuffled else np.frombuffer(plain, dtype)


def _gzip_shuffled(dataset: h5py.Dataset) -> bool | None:
    """Whether gzip is preceded by byte shuffling; None if the column is stored in any other way."""
    if sys.byteorder != "little" or not dataset.dtype.isnative or not dataset.chunks:
        return None
    if not dataset.id.get_type().equal(h5py.h5t.py_create(dataset.dtype, logical=True)):
        return None
    plan = dataset.id.get_create_plist()
    filters = [plan.get_filter(index)[0] for index in range(plan.get_nfilters())]
    known = {(h5py.h5z.FILTER_DEFLATE,): False, (h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE): True}
    return known.get(tuple(filters))


def _inflated(packed: bytes, wanted: int) -> bytes | None:
    """The bytes in a zlib stream, at most one more than wanted; None on damage."""
    try:
        plain: bytes = deflate.zlib_decompress(packed, wanted)
    except deflate.DeflateError:  # it does not say whether that is damage, or more than wanted
        unpacking = zlib.decompressobj()
        try:
            plain = unpacking.decompress(packed, wanted + 1)
        except zlib.error:
            return None
        return plain if unpacking.eof or len(plain) > wanted else None
    return plain


def _unshuffled(plain: bytes, dtype: np.dtype[np.integer]) -> Column:
    """All lowest bytes, then all second bytes and so on become the words they were."""
    planes = np.frombuffer(plain, np.uint8).reshape(dtype.itemsize, -1)
    words = np.zeros(planes.shape[1], f"u{dtype.itemsize}")
    if dtype.itemsize == 8:
        _join_8(planes, words)
    else:
        for byte, plane in enumerate(planes):
            words |= plane.astype(words.dtype) << words.dtype.type(8 * byte)
    return words.view(dtype)


@numba.njit(cache=True, nogil=True)
def _join_8(planes: npt.NDArray[np.uint8], words: npt.NDArray[np.uint64]) -> None:
    # Written out: so the compiler joins many rows in one instruction, eight times as fast as a loop over bytes.
    b0, b1, b2, b3, b4, b5, b6, b7 = (
        planes[0], planes[1], planes[2], planes[3], planes[4], planes[5], planes[6], planes[7],
    )  # fmt: skip
    for row in range(len(words)):
        low = np.uint64(b0[row]) | np.uint64(b1[row]) << np.uint64(8)
        low |= np.uint64(b2[row]) << np.uint64(16) | np.uint64(b3[row]) << np.uint64(24)
        high = np.uint64(b4[row]) | np.uint64(b5[row]) << np.uint64(8)
        high |= np.uint64(b6[row]) << np.uint64(16) | np.uint64(b7[row]) << np.uint64(24)
        words[row] = low | high << np.uint64(32)
