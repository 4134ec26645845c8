"""Windows: which stretch of a recording is shown for which labels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from pydantic import Field

from data.config import Config

SKIPPED_US = 500_000  # Prophesee protocol: nothing at or before 0.5 s of a recording is evaluated
BUFFER_GRID = 40  # places a window may be shifted to, a window's length: few enough to meet a rendered one again


class Sampling(StrEnum):
    """Where the training windows of a recording lie."""

    LABELS = "labels"  # one for each label time
    STRIDE = "stride"  # at a regular stride over the whole recording


class WindowConfig(Config):
    """How a recording is cut into windows, and which labels a window answers for."""

    window_us: int = Field(50_000, ge=1_000, le=1_000_000)  # µs of events a window holds (RVT: 50 ms)
    time_steps: int = Field(4, ge=1, le=32)  # T, equal steps of a window
    # Share of a window its end may lie off the label, in steps of 1/40; a smaller one counts as 1/40. Training only.
    temporal_buffer: float = Field(0.0, ge=0, le=1)
    sampling: Sampling = Sampling.LABELS  # where training windows lie; evaluation windows always end at their labels
    overlap: float = Field(0.25, ge=0, le=0.9)  # share of itself a window has in common with the next along a recording
    max_windows_per_recording: int | None = Field(None, ge=1)  # the most training windows one recording gives
    label_gap_us: int = Field(200_000, ge=0)  # µs; labels of a track this close are joined (eTraM 33 ms; GEN1 250 not)
    max_events_per_window: int | None = Field(None, ge=1)  # of a window with more events only the latest are shown

    @property
    def stride_us(self) -> int:
        """From the start of a window to that of the next along a recording."""
        return round(self.window_us * (1 - self.overlap))


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """Events of [start_us, end_us) of one recording, and the time of the labels its last step answers for."""

    recording: int  # position in the split's recordings
    start_us: int
    end_us: int
    label_us: int


def evaluation_times(label_times: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The label times [N] µs that count at evaluation: those after the first half second."""
    return label_times[label_times > SKIPPED_US]


def causal_window(recording: int, label_us: int, window_us: int) -> Window:
    """The window that ends with the label's own microsecond, so that a live camera could have answered."""
    return Window(recording, label_us + 1 - window_us, label_us + 1, label_us)


def buffered_window(
    recording: int, label_us: int, window_us: int, temporal_buffer: float, random: np.random.Generator
) -> Window:
    """A training window whose end lies within `temporal_buffer` * `window_us` of its label.

    The end is drawn evenly from places a fortieth of a window apart, from the label's time minus to plus the buffer:
    one label teaches from many windows, yet a window drawn again is the same to the microsecond, so its frames can be
    kept. A buffer below one fortieth, too small for any place but the label's own, counts as one fortieth; a buffer
    of 0 gives the causal window. Training only: evaluation windows never move. `label_us` stays the label's time; the
    boxes the shifted window is taught are those at its own steps' times.
    """
    steps = grid_steps(temporal_buffer)
    shift_us = int(random.integers(-steps, steps + 1)) * (window_us // BUFFER_GRID)
    causal = causal_window(recording, label_us, window_us)
    return Window(recording, causal.start_us + shift_us, causal.end_us + shift_us, label_us)


def grid_steps(temporal_buffer: float) -> int:
    """The places on either side of the label that a buffer reaches."""
    within = math.floor(temporal_buffer * BUFFER_GRID + 1e-9)  # 0.575 * 40 is 22.999999999999996
    return max(1, within) if temporal_buffer > 0 else 0


def label_windows(recording: int, label_times: npt.NDArray[np.int64], config: WindowConfig) -> list[Window]:
    """The causal window of each label time [N] µs."""
    return [causal_window(recording, label_us, config.window_us) for label_us in label_times.tolist()]


def stride_windows(recording: int, first_us: int, last_us: int, config: WindowConfig) -> list[Window]:
    """The windows at a regular stride whose events all lie within the recording, each answering for its own end.

    Args:
        recording: position in the split's recordings.
        first_us: the recording's first microsecond, with which the first window starts.
        last_us: the recording's last microsecond. A recording shorter than a window gives none.
        config: the windows' length and overlap.
    """
    ends = range(first_us + config.window_us, last_us + 2, config.stride_us)
    return [causal_window(recording, end_us - 1, config.window_us) for end_us in ends]


def chosen_windows(
    windows: Sequence[Window],
    annotated: npt.NDArray[np.bool_],
    classes: Sequence[npt.NDArray[np.int64]],
    most: int | None,
    random: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """The positions [min(most, N)] of the windows a recording gives when it may not give all, in time order.

    Annotated windows go first. Where even they are too many, each pick is a window of the class that so far was
    picked least, so that K classes get at least `most // K` windows each or all they have: a rare class is kept whole
    before a common one fills the rest. Within a class, and among windows without boxes, the draw is even.

    Args:
        windows: the N windows to choose from.
        annotated: [N] whether a label answers for the window.
        classes: the class ids of each window's boxes, in any order and number.
        most: how many to choose; None takes all.
        random: source of every draw.
    """
    order = random.permutation(len(windows))
    if most is None or most >= len(windows):
        chosen = order.tolist()
    else:
        held = {int(row): set(classes[row].tolist()) for row in order if annotated[row] and len(classes[row])}
        chosen = _class_balanced(held, most)
        others = [int(row) for row in order if row not in held]
        others.sort(key=lambda row: not annotated[row])  # a window known to hold nothing before one not known at all
        chosen += others[: most - len(chosen)]
    return np.array(sorted(chosen, key=windows.__getitem__), np.int64)


def _class_balanced(held: dict[int, set[int]], most: int) -> list[int]:
    """At most so many rows, each of the class picked least so far; `held` names each row's classes, in drawn order."""
    if len(held) <= most:
        return list(held)
    waiting: dict[int, list[int]] = {}
    for row in reversed(held):  # so that pop() follows the drawn order
        for class_id in held[row]:
            waiting.setdefault(class_id, []).append(row)
    picked = dict.fromkeys(sorted(waiting), 0)
    chosen: dict[int, None] = {}
    while len(chosen) < most:
        rarest = min(waiting, key=lambda class_id: (picked[class_id], class_id))
        row = waiting[rarest].pop()
        if not waiting[rarest]:
            del waiting[rarest]
        if row not in chosen:
            chosen[row] = None
            for class_id in held[row]:
                picked[class_id] += 1
    return list(chosen)


def evenly_spaced(count: int, at_most: int | None) -> npt.NDArray[np.int64]:
    """At most so many positions out of `count`, evenly spread from the first to the last."""
    if at_most is None or at_most >= count:
        return np.arange(count)
    return np.round(np.linspace(0, count - 1, at_most)).astype(np.int64)
