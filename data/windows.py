"""Causal windows: which stretch of a recording is shown for which labels."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SKIPPED_US = 500_000  # Prophesee protocol: nothing at or before 0.5 s of a recording is evaluated


@dataclass(frozen=True, slots=True)
class Window:
    """Events of [start_us, end_us) of one recording, and the time of the labels they answer for."""

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

    The end is drawn evenly from the label's time minus to plus the buffer, so one label teaches from many windows.
    A buffer of 0 gives the causal window. Training only: evaluation windows never move.
    """
    reach_us = int(temporal_buffer * window_us)
    shift_us = int(random.integers(-reach_us, reach_us + 1))
    causal = causal_window(recording, label_us, window_us)
    return Window(recording, causal.start_us + shift_us, causal.end_us + shift_us, label_us)


def evenly_spaced(count: int, at_most: int | None) -> npt.NDArray[np.int64]:
    """At most so many positions out of `count`, evenly spread from the first to the last."""
    if at_most is None or at_most >= count:
        return np.arange(count)
    return np.round(np.linspace(0, count - 1, at_most)).astype(np.int64)
