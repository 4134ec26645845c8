"""Files that numpy wrote, from strangers: one array a file, or one of an archive."""

import tokenize
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data.errors import RecordingError

LARGEST_MEMBER_BYTES = 256 << 20  # of an archive: it could unpack to anything
# What numpy raises for damage, by where it lies.
DAMAGE = (
    OSError, ValueError, EOFError, KeyError, RuntimeError, MemoryError, OverflowError, TypeError, AttributeError,
    SyntaxError, RecursionError, NotImplementedError, tokenize.TokenError, zipfile.BadZipFile, zlib.error, UserWarning,
)  # fmt: skip


def read_array(path: Path, mapped: bool = False) -> npt.NDArray[Any]:
    """The array in NAME.npy, or a map of the file where only few of its rows are wanted.

    Raises:
        RecordingError: the file cannot be read, or is none of numpy's.
    """
    return _read(path, None, mapped)


def read_member(path: Path, name: str) -> npt.NDArray[Any]:
    """An array of the archive NAME.npz.

    Raises:
        RecordingError: the file cannot be read, is none of numpy's, or has no such array.
    """
    return _read(path, name, mapped=False)


def _read(path: Path, member: str | None, mapped: bool) -> npt.NDArray[Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # a header that has to be guessed at is a damaged one
            content = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
            if member is not None and isinstance(content, np.lib.npyio.NpzFile):
                with content:
                    _check_member(content, member)
                    content = content[member]
    except DAMAGE as error:
        said = str(error) or type(error).__name__
        raise RecordingError(f"{path}: cannot be read as a numpy file ({said}); fetch it again") from None
    if not isinstance(content, np.ndarray):
        content.close()
        raise RecordingError(f"{path}: is an archive of arrays, but must be one array; save it as NAME.npy")
    return content


def _check_member(archive: Any, member: str) -> None:
    stored = archive.zip.getinfo(f"{member}.npy").file_size
    if stored > LARGEST_MEMBER_BYTES:
        raise ValueError(f"'{member}' unpacks to {stored >> 20} MiB, more than {LARGEST_MEMBER_BYTES >> 20}")
