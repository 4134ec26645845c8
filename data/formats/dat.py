"""Prophesee DAT, versions 1 and 2: the recordings of GEN1, N-CARS and of the 1 megapixel dataset."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from data.errors import RecordingError
from data.events import Column, Events, Repairs, SensorSize, mend_chunks
from data.formats.recording import CHUNK_EVENTS, settled_size

GEN1_ATIS = SensorSize(304, 240)  # taken for files whose header names no geometry
EVENT_DTYPE = np.dtype([("t", "<u4"), ("xyp", "<u4")])
EVENT_TYPES = (0x00, 0x0C)  # Event2D and EventCD: the same bits under an older and a newer name
CLOCK_US = 1 << 32  # the 32-bit µs clock starts anew after 71.6 minutes
HEADER_BYTES = 1 << 16  # a header is a few hundred bytes; more of it is no DAT file


class Bits(NamedTuple):
    """How x, y and polarity share a word, from bit 0 up."""

    x: int  # bits of x
    y: int  # bits of y
    p: int  # bits of polarity


VERSIONS = {b"1": Bits(9, 8, 1), b"2": Bits(14, 14, 4)}


class DatHeader(NamedTuple):
    """What stands before the events."""

    size: SensorSize | None  # None: not named
    bits: Bits
    first_byte: int  # of the first event


@dataclass(frozen=True)
class DatRecording:
    """NAME_td.dat."""

    path: Path
    given_size: SensorSize | None = None

    @property
    def name(self) -> str:
        """The file's name without its ending and without _td."""
        return self.path.name.removesuffix(".dat").removesuffix("_td")

    @cached_property
    def header(self) -> DatHeader:
        """The header, read once."""
        return read_header(self.path)

    @property
    def size(self) -> SensorSize:
        """The sensor, from the header, else the given one, else GEN1's 304x240."""
        return settled_size(self.path, self.header.size, self.given_size, usual=GEN1_ATIS)

    @property
    def row_count(self) -> int:
        """What lies behind the header, in events."""
        return _event_count(self.path, self.header)

    def chunks(self) -> Iterator[tuple[Events, Repairs]]:
        """The events in time order, mended, some 1 M at a time; a clock that starts anew goes on.

        Raises:
            RecordingError: the file ends within an event, or its events do not fit a geometry it does not name.
        """
        return mend_chunks(self._columns(), self.size, str(self.path))

    def boxes(self) -> None:
        """None: the boxes of DAT recordings lie in files of their own."""

    def _columns(self) -> Iterator[tuple[Column, Column, Column, Column]]:
        header, size = self.header, self.size
        last_us = np.empty(0, np.int64)
        with _opened(self.path) as file:
            _event_count(self.path, header)
            file.seek(header.first_byte)
            while len(events := np.fromfile(file, EVENT_DTYPE, CHUNK_EVENTS)):
                t = _unwound(events["t"], last_us)
                last_us = t[-1:]
                word = events["xyp"]
                x = word & ((1 << header.bits.x) - 1)
                y = (word >> header.bits.x) & ((1 << header.bits.y) - 1)
                p = (word >> (header.bits.x + header.bits.y)) & ((1 << header.bits.p) - 1)
                if header.size is None and (x.max() >= size.width or y.max() >= size.height):
                    raise RecordingError(
                        f"{self.path}: the header names no Width and Height, and events lie outside "
                        f"{size.width}x{size.height}; give the geometry with --size, or export it again"
                    )
                yield t, x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8)


def read_header(path: Path) -> DatHeader:
    """Read the lines that open with '%' and the two bytes after them: the event's type and size.

    Raises:
        RecordingError: this is no DAT file of version 1 or 2 that holds events of change.
    """
    with _opened(path) as file:
        start = file.read(HEADER_BYTES)
    lines = re.match(rb"(?:%[^\n]*\n)*", start)
    marks_byte = lines.end() if lines else 0
    named = dict(re.findall(rb"^% *(\w+) +(\d+)\s*$", start[:marks_byte], re.MULTILINE))
    version = named.get(b"Version", b"2")
    if not marks_byte or version not in VERSIONS:
        raise RecordingError(f"{path}: is no DAT file of version 1 or 2; export it as one")
    marks = start[marks_byte : marks_byte + 2]
    if len(marks) < 2 or marks[0] not in EVENT_TYPES or marks[1] != EVENT_DTYPE.itemsize:
        raise RecordingError(
            f"{path}: event type and size after the header are {marks.hex(' ') or 'missing'}, but must be "
            "0c 08 or 00 08; fetch the file again, or export its change events"
        )
    sides = [int(named[side][:9]) for side in (b"Width", b"Height") if side in named]
    return DatHeader(SensorSize(*sides) if len(sides) == 2 else None, VERSIONS[version], marks_byte + 2)


def _event_count(path: Path, header: DatHeader) -> int:
    count, left_over = divmod(path.stat().st_size - header.first_byte, EVENT_DTYPE.itemsize)
    if left_over:
        raise RecordingError(f"{path}: ends {left_over} bytes into an event, so it was cut short; fetch it again")
    return count


def _unwound(clock: npt.NDArray[np.uint32], last_us: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The times, gone on from the last one, if any, where the 32-bit clock starts anew.

    Each step is read as the shorter way around the clock, so late events at its end do no harm.
    """
    if not len(last_us):
        last_us = clock[:1].astype(np.int64)
    steps = np.diff(clock, prepend=np.uint32(last_us[0] % CLOCK_US)).view(np.int32)
    t: npt.NDArray[np.int64] = last_us[0] + np.cumsum(steps, dtype=np.int64)
    return t


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read ({error}); check the disk, or fetch it again") from None
