"""When a training's steps were done, heard as its watcher."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from model.detector import SpikingDetector
from model.prediction import WindowResult
from model.training.report import EpochReport, StepReport


@dataclass(frozen=True, slots=True)
class Epoch:
    """The training of an epoch, without evaluation and checkpoints."""

    start: float  # s of a clock that all processes share
    end: float
    windows: int
    waiting: float  # s for data
    peak_bytes: int  # resident at most, of the process so far

    @property
    def seconds(self) -> float:
        """From where it was asked for to the last step done."""
        return self.end - self.start


@dataclass(slots=True)
class Stopwatch:
    """Hears of every step of a training."""

    start: float = field(default_factory=time.monotonic)
    first: float | None = None  # when the first step of all was done
    end: float = 0.0
    windows: int = 0
    waiting: float = 0.0

    def stepped(self, step: StepReport) -> None:
        self.end = time.monotonic()
        self.first = self.first or self.end
        self.windows += step.windows
        self.waiting += step.seconds.data

    def measured(self, report: EpochReport, detector: SpikingDetector, results: Sequence[WindowResult]) -> None:
        """Evaluation is not timed."""

    def epoch(self) -> Epoch:
        """What was trained since the last restart."""
        return Epoch(self.start, self.end, self.windows, self.waiting, peak_bytes())

    def restart(self) -> None:
        """Begin with the next epoch."""
        self.windows, self.waiting, self.start = 0, 0.0, time.monotonic()


def seconds_a_window(epochs: Sequence[Epoch]) -> float:
    """The median epoch's."""
    return statistics.median(epoch.seconds / epoch.windows for epoch in epochs)


def waiting_share(epochs: Sequence[Epoch]) -> float:
    """How much of the time of these epochs went into waiting for data."""
    return sum(epoch.waiting for epoch in epochs) / sum(epoch.seconds for epoch in epochs)


def peak_bytes() -> int:
    """The most that has been resident of this process."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not say how much memory a process took")
