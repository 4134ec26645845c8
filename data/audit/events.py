"""Statistics of a recording's events, in one pass and bounded memory."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from data.audit.gaps import BINS, BUSY_EVENTS, OCTAVE, WINDOW_US, Gaps, Rhythm, SilenceWatch
from data.audit.pixels import BIN_US, HotPixels, hot_pixels
from data.boxes import Boxes
from data.events import Events, Repairs, SensorSize

PEAK_US = 10_000  # bin of the peak rate; long enough for a number, short enough for a headlight that passes
LIVELY_US = 50_000  # a box is without events if this long before its time nothing happened inside: a usual window
PRINT_EVENTS = 100_000  # the first events that make a fingerprint, some milliseconds of a recording
_NEVER = -(1 << 62)

_COUNT, _SEEN_US, _BUSY = range(3)  # of a pixel: its events, the time of the last, bins of BIN_US it reported in

# Places in the state of the scan.
_ON, _BIN, _IN_BIN, _PEAK, _WINDOW, _IN_WINDOW, _LONGEST, _LATEST, _BOX, _PLACES = range(10)


@dataclass(frozen=True, slots=True)
class EventAudit:
    """What a recording's events are like."""

    events: int  # after repairs
    first_us: int
    last_us: int
    mean_rate: float  # events a second
    peak_rate: float  # events a second, in the fullest PEAK_US
    on_share: float
    repairs: Repairs
    gaps: Gaps  # holes in the data
    silences: Gaps  # long stretches in which the scene may have been empty
    rhythm: Rhythm
    hot: HotPixels
    fingerprint: str  # equal for the same events under another name, or with another start of the clock

    @property
    def duration_us(self) -> int:
        """From the first event's microsecond to the last's, both counted."""
        return self.last_us - self.first_us + 1 if self.events else 0


class EventScan:
    """Takes a recording's events chunk by chunk; then tells what they are like and which boxes hold events."""

    def __init__(self, size: SensorSize, boxes_from: Callable[[int], Boxes]) -> None:
        """Args:
        size: of the sensor.
        boxes_from: gives the boxes in time order, once the time of the first event in µs is known.
        """
        self.boxes = Boxes.empty()  # from the first event on
        self._boxes_from = boxes_from
        self._areas = np.empty((0, 4), np.int64)  # of the boxes: first column and row, and those after the last
        self._lively = np.empty(0, np.bool_)
        self._pixels = np.zeros((size.height, size.width, 3), np.int64)  # side by side, for the processor's cache
        self._pixels[..., _SEEN_US] = _NEVER
        self._histogram = np.zeros(BINS, np.int64)
        self._state = np.zeros(_PLACES, np.int64)
        self._state[[_BIN, _WINDOW, _LATEST]] = _NEVER
        self._silence = SilenceWatch()
        self._head: list[Events] = []
        self._repairs = Repairs()
        self.events = 0
        self.first_us = self.last_us = 0

    def add(self, events: Events, repairs: Repairs) -> None:
        """The next events, in time order and inside the frame."""
        self._repairs += repairs
        if not len(events):
            return
        height, width, _ = self._pixels.shape
        assert events.x.max() < width, "compiled code would write past the pixels"
        assert events.y.max() < height, "compiled code would write past the pixels"
        if not self.events:
            self.first_us = int(events.t[0])
            self._take_boxes()
        if self.events < PRINT_EVENTS:
            self._head.append(events.take(slice(0, PRINT_EVENTS - self.events)))
        columns = (events.t, events.x, events.y, events.p)
        _scan(*columns, self._pixels, self._state, self._histogram, *self._box_columns())
        self._silence.add(events.t)
        self.events += len(events)
        self.last_us = int(events.t[-1])

    def finish(self) -> EventAudit:
        """The statistics, when all events were added."""
        _end(self._pixels, self._state, self._histogram, *self._box_columns())
        rhythm = Rhythm.of(self._histogram)
        duration_us = max(self.last_us - self.first_us + 1, 1)
        gaps, silences = self._silence.judged(rhythm, self.events / duration_us)
        return EventAudit(
            events=self.events,
            first_us=self.first_us,
            last_us=self.last_us,
            mean_rate=self.events / duration_us * 1e6,
            peak_rate=int(self._state[_PEAK]) / PEAK_US * 1e6,
            on_share=int(self._state[_ON]) / max(self.events, 1),
            repairs=self._repairs,
            gaps=gaps,
            silences=silences,
            rhythm=rhythm,
            hot=hot_pixels(self._pixels[..., _COUNT], self._pixels[..., _BUSY], duration_us),
            fingerprint=self._fingerprint(),
        )

    @property
    def lively(self) -> npt.NDArray[np.bool_]:
        """[N]: whether an event lay inside each box within LIVELY_US before its time; after `finish`."""
        return self._lively

    def _take_boxes(self) -> None:
        self.boxes = self._boxes_from(self.first_us)
        corners = self.boxes.xywh.astype(np.float64)
        corners[:, 2:] += corners[:, :2]
        # A pixel belongs to a box if any part of it does.
        edges = np.concatenate([np.floor(corners[:, :2]), np.ceil(corners[:, 2:])], axis=1)
        height, width, _ = self._pixels.shape
        self._areas = np.clip(edges, 0, [width, height, width, height]).astype(np.int64)
        self._lively = np.zeros(len(self.boxes), np.bool_)

    def _box_columns(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        return self.boxes.t, self._areas, self._lively

    def _fingerprint(self) -> str:
        """Equal whatever the chunks were: columns are joined before they are hashed."""
        digest = hashlib.sha256(f"{self.events} {self.last_us - self.first_us}".encode())
        for name, dtype in (("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1")):
            for events in self._head:
                values = events.t - self.first_us if name == "t" else getattr(events, name)
                digest.update(values.astype(dtype).tobytes())
        return digest.hexdigest()


@numba.njit(cache=True, nogil=True)
def _scan(
    t: npt.NDArray[np.int64],
    x: npt.NDArray[np.uint16],
    y: npt.NDArray[np.uint16],
    p: npt.NDArray[np.uint8],
    pixels: npt.NDArray[np.int64],
    state: npt.NDArray[np.int64],
    histogram: npt.NDArray[np.int64],
    box_t: npt.NDArray[np.int64],
    areas: npt.NDArray[np.int64],
    lively: npt.NDArray[np.bool_],
) -> None:  # pragma: no cover - compiled
    latest, since, on = state[_LATEST], 0, 0
    bin_us = latest // BIN_US * BIN_US
    for i in range(len(t)):
        now = t[i]
        if now != latest:
            _step(now, i - since, state, histogram)
            latest, since = now, i
            if now >= bin_us + BIN_US:
                bin_us = now // BIN_US * BIN_US
            while state[_BOX] < len(box_t) and box_t[state[_BOX]] < now:
                box = state[_BOX]
                lively[box] = _is_lively(pixels, areas[box], box_t[box])
                state[_BOX] += 1
        on += p[i]
        pixel = pixels[y[i], x[i]]
        pixel[_COUNT] += 1
        if pixel[_SEEN_US] < bin_us:
            pixel[_BUSY] += 1
        pixel[_SEEN_US] = now
    state[_ON] += on
    state[_IN_BIN] += len(t) - since
    state[_IN_WINDOW] += len(t) - since


@numba.njit(cache=True, nogil=True)
def _step(
    now: int, more: int, state: npt.NDArray[np.int64], histogram: npt.NDArray[np.int64]
) -> None:  # pragma: no cover - compiled
    """Time goes on to `now` after `more` events: close the bin and the window that are over."""
    state[_IN_BIN] += more
    state[_IN_WINDOW] += more
    if state[_LATEST] != _NEVER:
        state[_LONGEST] = max(state[_LONGEST], now - state[_LATEST])
    if now // PEAK_US != state[_BIN]:
        state[_PEAK] = max(state[_PEAK], state[_IN_BIN])
        state[_BIN], state[_IN_BIN] = now // PEAK_US, 0
    if now // WINDOW_US != state[_WINDOW]:
        _close_window(state, histogram)
        state[_WINDOW] = now // WINDOW_US
    state[_LATEST] = now


@numba.njit(cache=True, nogil=True)
def _close_window(
    state: npt.NDArray[np.int64], histogram: npt.NDArray[np.int64]
) -> None:  # pragma: no cover - compiled
    if state[_IN_WINDOW] >= BUSY_EVENTS:
        histogram[int(OCTAVE * np.log2(state[_LONGEST] + 1.0))] += 1
    state[_IN_WINDOW], state[_LONGEST] = 0, 0


@numba.njit(cache=True, nogil=True)
def _is_lively(
    pixels: npt.NDArray[np.int64], area: npt.NDArray[np.int64], time_us: int
) -> bool:  # pragma: no cover - compiled
    for row in range(area[1], area[3]):
        for column in range(area[0], area[2]):
            if pixels[row, column, _SEEN_US] > time_us - LIVELY_US:
                return True
    return False


@numba.njit(cache=True, nogil=True)
def _end(
    pixels: npt.NDArray[np.int64],
    state: npt.NDArray[np.int64],
    histogram: npt.NDArray[np.int64],
    box_t: npt.NDArray[np.int64],
    areas: npt.NDArray[np.int64],
    lively: npt.NDArray[np.bool_],
) -> None:  # pragma: no cover - compiled
    """The events are over: the last bin and window count too, and the boxes that come after."""
    state[_PEAK] = max(state[_PEAK], state[_IN_BIN])
    _close_window(state, histogram)
    for box in range(state[_BOX], len(box_t)):
        lively[box] = _is_lively(pixels, areas[box], box_t[box])
    state[_BOX] = len(box_t)
