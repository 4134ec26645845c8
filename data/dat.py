"""Prophesee DAT version 2: the recordings of GEN1 and of the 1 megapixel dataset."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from data.boxes import Boxes, LabelSet
from data.errors import RecordingError
from data.events import Column, Events, Repairs, SensorSize, mend_chunks
from data.prophesee_boxes import read_boxes

GEN1_ATIS = SensorSize(304, 240)  # taken for files whose header names no geometry
EVENT_DTYPE = np.dtype([("t", "<u4"), ("xyp", "<u4")])
EVENT_TYPES = (0x00, 0x0C)  # Event2D and EventCD: the same bits under an older and a newer name
CHUNK_EVENTS = 1 << 22
CLOCK_US = 1 << 32  # the 32-bit µs clock starts anew after 71.6 minutes
HEADER_BYTES = 1 << 16  # a header is a few hundred bytes; more of it is no DAT file


class DatHeader(NamedTuple):
    """What stands before the events."""

    size: SensorSize
    assumed: bool  # no geometry in the header: the GEN1 sensor's was taken
    first_byte: int  # of the first event


@dataclass(frozen=True)
class DatRecording:
    """NAME_td.dat and the box table NAME_bbox.npy beside it, if any."""

    path: Path
    label_set: LabelSet

    @property
    def name(self) -> str:
        """The file's name without _td.dat."""
        return self.path.name.removesuffix("_td.dat")

    @cached_property
    def header(self) -> DatHeader:
        """The header, read once."""
        return read_header(self.path)

    @property
    def size(self) -> SensorSize:
        """The sensor, from the header, else GEN1's 304x240."""
        return self.header.size

    def chunks(self) -> Iterator[tuple[Events, Repairs]]:
        """The events in time order, mended, some 4 M at a time; a clock that starts anew goes on.

        Raises:
            RecordingError: the file ends within an event, or its events do not fit the assumed sensor.
        """
        return mend_chunks(_columns(self.path, self.header), self.size, str(self.path))

    def boxes(self) -> Boxes:
        """The labels beside the events; none if there are none."""
        beside = self.path.with_name(f"{self.name}_bbox.npy")
        return read_boxes(beside, self.label_set) if beside.exists() else Boxes.empty()


def read_header(path: Path) -> DatHeader:
    """Read the lines that open with '%' and the two bytes after them: the event's type and size.

    Raises:
        RecordingError: this is no DAT file of version 2 that holds events of change.
    """
    with _opened(path) as file:
        start = file.read(HEADER_BYTES)
    lines = re.match(rb"(?:%[^\n]*\n)*", start)
    marks_byte = lines.end() if lines else 0
    named = dict(re.findall(rb"^% *(\w+) +(\d+)\s*$", start[:marks_byte], re.MULTILINE))
    if not marks_byte or named.get(b"Version", b"2") != b"2":
        raise RecordingError(f"{path}: is no DAT file of version 2; export it as one")
    marks = start[marks_byte : marks_byte + 2]
    if len(marks) < 2 or marks[0] not in EVENT_TYPES or marks[1] != EVENT_DTYPE.itemsize:
        raise RecordingError(
            f"{path}: event type and size after the header are {marks.hex(' ') or 'missing'}, but must be "
            "0c 08 or 00 08; fetch the file again, or export its change events"
        )
    assumed = not {b"Width", b"Height"} <= named.keys()
    size = GEN1_ATIS if assumed else SensorSize(int(named[b"Width"]), int(named[b"Height"]))
    return DatHeader(size, assumed, marks_byte + 2)


def _columns(path: Path, header: DatHeader) -> Iterator[tuple[Column, Column, Column, Column]]:
    last_us: Column = np.empty(0, np.int64)
    with _opened(path) as file:
        left_over = (path.stat().st_size - header.first_byte) % EVENT_DTYPE.itemsize
        if left_over:
            raise RecordingError(f"{path}: ends {left_over} bytes into an event, so it was cut short; fetch it again")
        file.seek(header.first_byte)
        while len(events := np.fromfile(file, EVENT_DTYPE, CHUNK_EVENTS)):
            # Each step is read as the shorter way around the clock, so late events at its end do no harm.
            clock = np.concatenate([last_us, events["t"].astype(np.int64)])
            t = np.unwrap(clock, period=CLOCK_US)[len(last_us) :]
            last_us = t[-1:]
            xyp = events["xyp"]
            x, y, p = xyp & 0x3FFF, (xyp >> 14) & 0x3FFF, xyp >> 28
            if header.assumed and (x.max() >= header.size.width or y.max() >= header.size.height):
                raise RecordingError(
                    f"{path}: the header names no Width and Height, and events lie outside {header.size.width}x"
                    f"{header.size.height}; export it with its geometry"
                )
            yield t, x, y, p


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read ({error}); check the disk, or fetch it again") from None
