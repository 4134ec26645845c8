"""Recording: what every reader of event files offers, and how a file's geometry and the user's are settled."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from data.boxes import Boxes
from data.errors import RecordingError
from data.events import Events, Repairs, SensorSize

CHUNK_EVENTS = 1 << 20  # read at a time: some 15 MB, which the allocator hands out again and again
LARGEST_SIDE = 1 << 16  # coordinates are uint16


class Recording(Protocol):
    """A file of events, and its labels where it carries them itself; cheap to make, read when asked."""

    @property
    def path(self) -> Path:
        """The file of events."""

    @property
    def name(self) -> str:
        """The file's name without its ending."""

    @property
    def size(self) -> SensorSize:
        """The sensor; RecordingError if the file is damaged or does not tell."""

    @property
    def row_count(self) -> int | None:
        """Events in the file before repairs, where that is known without reading all; RecordingError on damage."""

    def chunks(self) -> Iterator[tuple[Events, Repairs]]:
        """The events in time order, mended, in chunks of bounded size; RecordingError if the file is damaged."""

    def boxes(self) -> Boxes | None:
        """The labels, sorted by time, not clipped to the frame; None where the file itself carries none."""


def settled_size(
    path: Path, named: SensorSize | None, given: SensorSize | None, usual: SensorSize | None = None
) -> SensorSize:
    """The geometry the file names, else the one given by --size, else the usual one.

    Raises:
        RecordingError: there is none, the two contradict each other, or a side is no possible one.
    """
    if named is not None and given is not None and named != given:
        raise RecordingError(
            f"{path}: names the geometry {named.width}x{named.height}, but {given.width}x{given.height} was given; "
            "leave --size out, or correct it"
        )
    size = named or given or usual
    if size is None:
        raise RecordingError(f"{path}: names no geometry; give it with --size WIDTHxHEIGHT")
    if not all(1 <= side <= LARGEST_SIDE for side in size):
        raise RecordingError(
            f"{path}: names the geometry {size.width}x{size.height}, but a side has 1 to {LARGEST_SIDE} pixels; "
            "the file is damaged: fetch or export it again"
        )
    return size
