"""An event camera's pixels: log intensity against a contrast threshold, with the faults that real pixels have.

Crossing times follow ESIM (Rebecq et al. 2018: linear interpolation between frames), noise v2e (Hu et al. 2021).
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit
from pydantic import Field

from data.config import Config
from data.events import Events, SensorSize

# Photocurrent of a pixel in the dark, as a share of full white. It sets how far contrast sinks at night.
DARK_CURRENT = 0.02
# The intensity at which a pixel's noise rate is `shot_noise_hz`.
REFERENCE_INTENSITY = 0.5
HOT_PIXEL_HZ = 60.0
# A pixel's threshold stays within these multiples of the nominal one, however unlucky the draw.
THRESHOLD_RANGE = (0.5, 1.5)
ROOM = 1 << 16  # events the kernel's buffers hold; it is called again until the frame is done

Columns = tuple[npt.NDArray[Any], ...]  # offset µs, x, y, p


class CameraConfig(Config):
    """The pixels of the camera."""

    threshold: float = Field(0.22, ge=0.05, le=1.0)  # change of log intensity that makes an event; 0.2 to 0.25 is usual
    mismatch: float = Field(0.03, ge=0.0, le=0.2)  # standard deviation of the threshold over pixels; v2e's default
    refractory_us: int = Field(500, ge=0, le=50_000)  # dead time of a pixel after an event, µs
    shot_noise_hz: float = Field(0.4, ge=0.0, le=50.0)  # background events of a mid-grey pixel per second
    hot_pixel_share: float = Field(0.0003, ge=0.0, le=0.05)  # share of pixels that fire on their own


class EventCamera:
    """Turns frames of linear intensity into events; buffers are reused, so a frame costs no allocation of its size."""

    def __init__(
        self,
        size: SensorSize,
        config: CameraConfig,
        rng: np.random.Generator,
        first_frame_HW: npt.NDArray[np.float32],
    ) -> None:
        shape = (size.height, size.width)
        self._size, self._config, self._rng = size, config, rng
        self._on_HW, self._off_HW = (self._thresholds(shape) for _ in range(2))
        self._hot = np.flatnonzero(rng.random(size.width * size.height) < config.hot_pixel_share)
        self._before_HW = np.log(first_frame_HW + np.float32(DARK_CURRENT))
        self._after_HW = np.empty_like(self._before_HW)
        self._memory_HW = self._before_HW.copy()
        self._last_HW = np.full(shape, -config.refractory_us, np.int64)
        self._out: Columns = tuple(np.empty(ROOM, dtype) for dtype in (np.uint16, np.uint16, np.uint16, np.uint8))

    def _thresholds(self, shape: tuple[int, int]) -> npt.NDArray[np.float32]:
        nominal = self._config.threshold
        low, high = (nominal * limit for limit in THRESHOLD_RANGE)
        return self._rng.normal(nominal, self._config.mismatch, shape).clip(low, high).astype(np.float32)

    def expose(self, frame_HW: npt.NDArray[np.float32], start_us: int, end_us: int) -> Events:
        """The events between the previous frame, at `start_us`, and this one, at `end_us`, sorted in time.

        `end_us - start_us` must stay below 65,536; intensities are linear, 1 is white.
        """
        np.add(frame_HW, np.float32(DARK_CURRENT), out=self._after_HW)
        np.log(self._after_HW, out=self._after_HW)
        parts = [*self._crossings(start_us, end_us), self._noise(start_us, end_us)]
        self._before_HW, self._after_HW = self._after_HW, self._before_HW
        offset, x, y, p = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        order = np.argsort(offset, kind="stable")  # a radix sort, because the offsets are 16 bits wide
        return Events(start_us + offset[order].astype(np.int64), x[order], y[order], p[order])

    def _crossings(self, start_us: int, end_us: int) -> list[Columns]:
        parts, row = [], 0
        while row < self._size.height:
            row, count = cross(
                self._before_HW,
                self._after_HW,
                self._memory_HW,
                self._last_HW,
                self._on_HW,
                self._off_HW,
                (start_us, end_us, self._config.refractory_us),
                row,
                self._out,
            )
            parts.append(tuple(column[:count].copy() for column in self._out))
        return parts

    def _noise(self, start_us: int, end_us: int) -> Columns:
        """Background events by thinning: drawn at a black pixel's rate, kept in proportion to their own pixel's."""
        rng, seconds = self._rng, (end_us - start_us) * 1e-6
        # The relative noise of a photocurrent I falls as 1 / sqrt(I), and with it the rate of false crossings.
        black_hz = self._config.shot_noise_hz * np.sqrt(REFERENCE_INTENSITY / DARK_CURRENT)
        drawn = rng.integers(0, self._after_HW.size, rng.poisson(black_hz * self._after_HW.size * seconds))
        kept = rng.random(len(drawn)) < np.exp((np.log(DARK_CURRENT) - self._after_HW.ravel()[drawn]) / 2)
        shot = drawn[kept]
        hot = self._hot[rng.random(len(self._hot)) < HOT_PIXEL_HZ * seconds]
        pixel = np.concatenate([shot, hot])
        offset = rng.integers(0, end_us - start_us, len(pixel)).astype(np.uint16)
        p = rng.integers(0, 2, len(pixel)).astype(np.uint8)
        p[len(shot) :] = 1  # a leaking pixel drifts towards ON
        free = awake(self._last_HW, pixel, start_us + offset.astype(np.int64), self._config.refractory_us)
        y, x = np.divmod(pixel[free], self._size.width)
        return offset[free], x.astype(np.uint16), y.astype(np.uint16), p[free]


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def cross(before_HW, after_HW, memory_HW, last_HW, on_HW, off_HW, times, first_row, out):  # type: ignore[no-untyped-def]
    """Threshold crossings between two frames of log intensity; `memory_HW` and `last_HW` (µs) are the pixels' state.

    `times` is (start, end, refractory) in µs, `out` the columns offset, x, y, p to fill. A crossing within the
    refractory period moves the memory but makes no event, as in ESIM. Returns the row to go on from and how many
    events were written: a call stops early for want of room, and pixels that are done stay quiet in the next.
    """
    start_us, end_us, refractory_us = times
    offsets, xs, ys, ps = out
    count = 0
    height, width = after_HW.shape
    for y in range(first_row, height):
        busy = 0
        for x in range(width):  # without branches, so that the compiler makes SIMD of it: most pixels see no change
            change = after_HW[y, x] - memory_HW[y, x]
            busy += (change >= on_HW[y, x]) | (change <= -off_HW[y, x])
        if busy == 0:
            continue
        for x in range(width):
            before, after = before_HW[y, x], after_HW[y, x]
            polarity = after > memory_HW[y, x]
            step = on_HW[y, x] if polarity else -off_HW[y, x]
            crossings = int((after - memory_HW[y, x]) / step)
            if count + crossings + 1 > len(offsets):
                return y, count
            while abs(after - memory_HW[y, x]) >= abs(step):
                memory_HW[y, x] += step
                share = (memory_HW[y, x] - before) / (after - before) if after != before else 1.0
                offset = round(min(max(share, 0.0), 1.0) * (end_us - start_us))
                if start_us + offset - last_HW[y, x] >= refractory_us:
                    last_HW[y, x] = start_us + offset
                    offsets[count], xs[count], ys[count], ps[count] = offset, x, y, polarity
                    count += 1
    return height, count


@njit(cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def awake(last_HW, pixel, t_us, refractory_us):  # type: ignore[no-untyped-def]
    """Which noise events find their pixel ready; those that do put it to sleep.

    One that falls before its pixel's last event of the frame is lost: too few to matter.
    """
    free = np.empty(len(pixel), np.bool_)
    last = last_HW.ravel()
    for index in range(len(pixel)):
        at = pixel[index]
        free[index] = t_us[index] - last[at] >= refractory_us
        if free[index]:
            last[at] = t_us[index]
    return free
