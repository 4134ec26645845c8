"""Silences of a recording: which are holes in the data, which an empty scene, and which the rhythm of video frames.

A hole is told from a scene that falls silent by its edges: real activity fades within milliseconds, lost data break
off at full rate. And it is told from a light that flickers, or from events made of video frames, by being much longer
than the silences the recording is full of.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# A camera that sees anything reports far more often; Prophesee's holes are 20 ms. Flicker of 100 Hz stays below.
LEAST_US = 10_000
# At each edge of a hole, within LEAST_US. A Poisson process of that rate stays silent as long with odds of e^-50.
EDGE_EVENTS = 50
RHYTHMS = 3  # so many times the recording's own usual longest silence; flicker and frames vary by less
SILENCE_US = 1_000_000  # shorter ones are a scene between two movements
EXPECTED = 50  # events a silence would hold at the mean rate; with fewer a sparse recording is merely sparse
WINDOW_US = 50_000  # the rhythm is the longest silence that begins in each of these, its lower quartile
BUSY_EVENTS = 50  # in such a window; evenly spread they would be 1 ms apart, with fewer a silence means nothing
FRAME_WINDOWS = 10  # busy windows, half a second: with fewer, a single burst would make a rhythm
SLOWEST_FRAME_US = 200_000  # five frames a second; no video is slower
MOST = 1 << 16  # silences remembered; of more, the longest
TOLD = 5  # of them in the report
OCTAVE = 8  # bins an octave in the histogram of silences: exact to 9 %
BINS = OCTAVE * 64


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch without events."""

    start_us: int  # of the last event before
    length_us: int  # to the first event after


@dataclass(frozen=True, slots=True)
class Gaps:
    """Stretches without events of one kind."""

    count: int = 0
    total_us: int = 0
    largest: tuple[Gap, ...] = ()  # longest first

    @classmethod
    def of(cls, rows: npt.NDArray[np.int64]) -> "Gaps":
        """From rows [N, 2] of start and length in µs."""
        longest = rows[np.argsort(-rows[:, 1], kind="stable")[:TOLD]]
        largest = tuple(Gap(int(start), int(length)) for start, length in longest)
        return cls(len(rows), int(rows[:, 1].sum()), largest)


@dataclass(frozen=True, slots=True)
class Rhythm:
    """The usual longest silence of a recording, over its busy windows."""

    longest_us: float  # the lower quartile over windows, so that holes in some of them do not count
    windows: int  # busy ones

    @classmethod
    def of(cls, histogram: npt.NDArray[np.int64]) -> "Rhythm":
        """From the histogram [BINS] of each busy window's longest silence, OCTAVE bins an octave."""
        windows = int(histogram.sum())
        position = int(np.searchsorted(np.cumsum(histogram), 0.25 * windows)) if windows else 0
        return cls(float(2.0 ** (position / OCTAVE) - 1), windows)

    @property
    def in_frames(self) -> bool:
        """Whether the recording comes in bursts, as one made from a video does."""
        return self.windows >= FRAME_WINDOWS and LEAST_US <= self.longest_us <= SLOWEST_FRAME_US


class SilenceWatch:
    """Watches the times of a stream of events for silences of LEAST_US and more."""

    def __init__(self) -> None:
        self._tail = np.empty(0, np.int64)  # times of the last LEAST_US
        # Columns: start, length, events in the LEAST_US before, events in the LEAST_US after.
        self._done = np.empty((0, 4), np.int64)
        self._open = self._done  # those whose LEAST_US after them may go on

    def add(self, t: npt.NDArray[np.int64]) -> None:
        """The next times, never falling."""
        if not len(t):
            return
        self._open[:, 3] += np.searchsorted(t, self._open[:, 0] + self._open[:, 1] + LEAST_US)
        times = np.concatenate([self._tail, t])
        seen = max(len(self._tail) - 1, 0)  # steps within the tail were looked at before
        rows = np.flatnonzero(np.diff(times[seen:]) >= LEAST_US) + seen
        starts, ends = times[rows], times[rows + 1]
        before = rows + 1 - np.searchsorted(times, starts - LEAST_US, "right")
        after = np.searchsorted(times, ends + LEAST_US) - rows - 1
        found = np.stack([starts, ends - starts, before, after], axis=1)
        self._settle(np.concatenate([self._open, found]), int(times[-1]))
        self._tail = times[np.searchsorted(times, times[-1] - LEAST_US, "right") :]

    def _settle(self, rows: npt.NDArray[np.int64], last_us: int) -> None:
        """Put away the silences whose LEAST_US after them are over, and keep the others open."""
        over = rows[:, 0] + rows[:, 1] + LEAST_US <= last_us
        self._open = rows[~over]
        self._done = np.concatenate([self._done, rows[over]])
        if len(self._done) > 2 * MOST:
            longest = np.argpartition(-self._done[:, 1], MOST)[:MOST]
            self._done = self._done[np.sort(longest)]

    def judged(self, rhythm: Rhythm, events_per_us: float) -> tuple[Gaps, Gaps]:
        """The holes, which break off at full rate and which the rhythm does not explain; and the silences.

        A silence is any other stretch of SILENCE_US and more that the mean rate does not explain.
        """
        rows = np.concatenate([self._done, self._open])
        length = rows[:, 1]
        broken_off = (rows[:, 2] >= EDGE_EVENTS) & (rows[:, 3] >= EDGE_EVENTS)
        hole = broken_off & (length >= RHYTHMS * rhythm.longest_us)
        long = length * events_per_us >= EXPECTED
        return Gaps.of(rows[hole, :2]), Gaps.of(rows[~hole & long & (length >= SILENCE_US), :2])
