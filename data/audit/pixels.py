"""Hot pixels: those that report without cause, told from busy scenery by their lone neighbourhood."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LEAST_EVENTS = 30  # with fewer, a quiet pixel's chance neighbours decide
LEAST_RATE = 10.0  # events a second; the background activity of a sensor in the dark stays below
PERCENTILE = 99.0  # of all pixels
# What passes is busy for a moment, a broken pixel always: at 10 events a second in two of three tenths of a second. Of
# pixels alone in their rate, nine in ten of one GEN1 recording were quiet a quarter of a second later.
BIN_US = 100_000
LEAST_BINS = 10  # in a shorter recording the two cannot be told apart
BUSY_SHARE = 0.5  # of the bins
# A lens spreads any real edge or lamp over several pixels, so a pixel is only alone in its rate if it is broken. The
# busiest neighbour may be another hot pixel; the next one is what counts.
TIMES_NEIGHBOUR = 10
TOLD = 5  # pixels in the report


@dataclass(frozen=True, slots=True)
class HotPixel:
    """A pixel that reports without cause."""

    x: int
    y: int
    events: int
    rate: float  # events a second
    share: float  # of all events


@dataclass(frozen=True, slots=True)
class HotPixels:
    """All hot pixels of a recording."""

    count: int
    share: float  # of all events
    worst: tuple[HotPixel, ...]  # busiest first


def hot_pixels(counts: npt.NDArray[np.int64], busy_bins: npt.NDArray[np.int64], duration_us: int) -> HotPixels:
    """Find the hot pixels of a recording.

    Args:
        counts: [H, W] events of each pixel.
        busy_bins: [H, W] bins of BIN_US in which each pixel reported.
        duration_us: of the recording; of less than LEAST_BINS bins it has none.
    """
    total = max(int(counts.sum()), 1)
    bins = duration_us / BIN_US
    if bins < LEAST_BINS:
        return HotPixels(0, 0.0, ())
    least = max(LEAST_EVENTS, LEAST_RATE * duration_us / 1e6, float(np.percentile(counts, PERCENTILE)))
    rows, columns = np.nonzero((counts >= least) & (busy_bins >= BUSY_SHARE * bins))
    padded = np.pad(counts, 1)
    around = [(row, column) for row in range(3) for column in range(3) if (row, column) != (1, 1)]
    neighbours = np.stack([padded[rows + row, columns + column] for row, column in around], axis=1)
    alone = counts[rows, columns] >= TIMES_NEIGHBOUR * np.maximum(np.sort(neighbours, axis=1)[:, -2], 1)
    rows, columns = rows[alone], columns[alone]
    events = counts[rows, columns]
    busiest = np.argsort(-events, kind="stable")[:TOLD]
    worst = tuple(
        HotPixel(int(columns[i]), int(rows[i]), int(n := events[i]), float(n / duration_us * 1e6), float(n / total))
        for i in busiest
    )
    return HotPixels(len(events), int(events.sum()) / total, worst)
