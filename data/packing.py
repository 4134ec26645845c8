"""Packed events: one word an event, and an index of their milliseconds."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.events import Events, SensorSize

LARGEST = SensorSize(2048, 1024)  # what 11 bits of x and 10 bits of y can hold


@dataclass(frozen=True, slots=True)
class PackedSlice:
    """Events of M whole milliseconds, 4 bytes each."""

    first_ms: int  # the millisecond (t // 1000) of offsets[0]
    offsets: npt.NDArray[np.int64]  # [M+1]: words[offsets[i]:offsets[i+1]] happened in millisecond first_ms + i
    words: npt.NDArray[np.uint32]  # x in bits 0..10, y in 11..20, p in bit 21, µs within the millisecond in bits 22..31


def pack(events: Events) -> npt.NDArray[np.uint32]:
    """One word an event; its millisecond is t // 1000."""
    words = (events.t % 1000).astype(np.uint32)
    for column, bits in ((events.p, 1), (events.y, 10), (events.x, 11)):
        words <<= np.uint32(bits)
        words |= column
    return words


def unpack(packed: PackedSlice) -> Events:
    """The events of a slice."""
    words = packed.words
    starts_us = (packed.first_ms + np.arange(len(packed.offsets) - 1)) * 1000
    t = np.repeat(starts_us, np.diff(packed.offsets)) + (words >> 22)
    x, y = (words & 0x7FF).astype(np.uint16), (words >> 11 & 0x3FF).astype(np.uint16)
    return Events(t, x, y, (words >> 21 & 1).astype(np.uint8))
