"""Events of a window become frames: one uint8 count for each time bin, polarity and pixel."""

import numba
import numpy as np
import numpy.typing as npt

from data.packing import PackedSlice

POLARITIES = 2  # channel 0 is OFF (p = 0), channel 1 is ON: SpikingJelly's order


def histo3d(
    events: PackedSlice, start_us: int, end_us: int, scale: float, frames_TCHW: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """Count the events of [start_us, end_us) by time bin, polarity and output pixel.

    A pixel of the sensor falls into output pixel floor(x * scale), floor(y * scale): the frame is rendered at the
    size it is used at, since rendering at full size and shrinking by nearest loses cells. A bin holds
    floor((t - start) * T / (end - start)). Counts saturate at 255.

    Args:
        events: packed words that cover the window; those outside it are passed over.
        start_us: first microsecond of the window.
        end_us: the microsecond after the window.
        scale: output pixels a sensor pixel, at most 1.
        frames_TCHW: uint8 [T, 2, H, W], overwritten; rows and columns beyond the scaled sensor stay 0.
    """
    frames_TCHW.fill(0)
    _count(events.words, events.offsets, events.first_ms * 1000, start_us, end_us, np.float64(scale), frames_TCHW)
    return frames_TCHW


@numba.njit(cache=True, nogil=True)
def _count(
    words: npt.NDArray[np.uint32],
    offsets: npt.NDArray[np.int64],
    first_us: int,
    start_us: int,
    end_us: int,
    scale: float,
    frames_TCHW: npt.NDArray[np.uint8],
) -> None:  # pragma: no cover - compiled
    T, _, H, W = frames_TCHW.shape
    span_us = end_us - start_us
    for ms in range(len(offsets) - 1):
        ms_us = first_us + ms * 1000 - start_us
        for i in range(offsets[ms], offsets[ms + 1]):
            word = words[i]
            since_us = ms_us + (word >> 22)
            if since_us < 0 or since_us >= span_us:
                continue
            x = int((word & 0x7FF) * scale)
            y = int(((word >> 11) & 0x3FF) * scale)
            if x >= W or y >= H:  # a rounding of the scale must never write past the frame
                continue
            t = since_us * T // span_us
            p = (word >> 21) & 1
            count = frames_TCHW[t, p, y, x]
            if count < 255:
                frames_TCHW[t, p, y, x] = count + 1
