"""Passing events: a recording read once from its first event to its last, of which only the latest stretch is held."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from data.boxes import Boxes
from data.errors import RecordingError
from data.events import LONGEST_US, NO_EVENTS, Events, SensorSize
from data.packing import PackedSlice, Packer, Words


class PassingEvents:
    """Chunks of events in time order, read as far as they are asked for and forgotten behind that."""

    def __init__(self, chunks: Iterable[Events], size: SensorSize) -> None:
        """Args:
        chunks: the events, sound and in time order across chunks.
        size: of their sensor.
        """
        self.size = size
        self._first_us: int | None = None
        self._last_us = 0  # of the latest event read
        self._chunks = iter(chunks)
        self._held: list[Events] = []
        self._words = Words.of(size)

    @property
    def first_us(self) -> int | None:
        """The time of the first event; None if there is none."""
        while self._first_us is None and self._read():
            pass
        return self._first_us

    def reaches(self, time_us: int) -> bool:
        """Whether there is an event of this time or a later one.

        Raises:
            RecordingError: the events last longer than a day.
        """
        while self._first_us is None or self._last_us < time_us:
            if not self._read():
                return False
        return True

    def parts(self, start_us: int, end_us: int) -> list[Events]:
        """The events of [start_us, end_us), by chunk; starts never fall from one call to the next."""
        self.reaches(end_us)
        self._held = [chunk for chunk in self._held if chunk.t[-1] >= start_us]
        spans = [np.searchsorted(chunk.t, [start_us, end_us]).tolist() for chunk in self._held]
        return [chunk.take(slice(*span)) for chunk, span in zip(self._held, spans, strict=True)]

    def packed(self, start_us: int, end_us: int) -> PackedSlice:
        """The events of [start_us, end_us); starts never fall from one call to the next."""
        parts = self.parts(start_us, end_us)
        count = sum(map(len, parts))
        if not count:
            return PackedSlice(start_us // 1000, np.zeros(1, np.int64), np.empty(0, self._words.dtype))
        span_ms = (end_us - start_us) // 1000 + 2
        packer = Packer(self._words, count, span_ms, span_ms)
        for part in parts:
            packer.fill(part, 0)
        return packer.take()

    def _read(self) -> bool:
        """Read one more chunk; False if there is none."""
        chunk = next(self._chunks, None)
        if chunk is None:
            return False
        if len(chunk):
            self._held.append(chunk)
            self._last_us = int(chunk.t[-1])
            if self._first_us is None:
                self._first_us = int(chunk.t[0])
            if self._last_us - self._first_us > LONGEST_US:
                raise RecordingError(
                    f"the times of the events run from {self._first_us} to {self._last_us} µs, more than a day; "
                    "a time is damaged: mend it, or leave the recording out"
                )
        return True


@dataclass(frozen=True)
class PassingRecording:
    """A recording without labels whose events pass by, for those who look at it from its first time to its last."""

    name: str
    passing: PassingEvents
    first_us: int
    last_us: int

    @property
    def size(self) -> SensorSize:
        """Of the sensor."""
        return self.passing.size

    @property
    def boxes(self) -> Boxes:
        """None are labelled."""
        return Boxes.empty()

    def events(self, start_us: int, end_us: int) -> Events:
        """The events of [start_us, end_us); starts never fall from one call to the next."""
        parts = [NO_EVENTS, *self.passing.parts(start_us, end_us)]
        t, x, y, p = (np.concatenate([getattr(part, column) for part in parts]) for column in "txyp")
        return Events(t, x, y, p)
