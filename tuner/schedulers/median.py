"""The median stopping rule: a trial ends whose best is below the median of what the others were on average."""

import math
from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass

from tuner.schedulers.decision import Decision, Past, Rung
from tuner.schedulers.without_waiting import WithoutWaiting

MIN_TRIALS = 3  # others that have come as far, before anyone is compared; Ray's default


@dataclass
class _Progress:
    """A trial's reports so far, folded."""

    last: int = 0  # epoch
    reports: int = 0
    total: float = 0.0
    best: float = -math.inf
    stopped: int | None = None  # from this epoch on

    def take(self, epoch: int, value: float) -> float:
        """Fold in the next report; the average of all so far."""
        self.last = epoch
        self.reports += 1
        self.total += value
        self.best = max(self.best, value)
        return self.total / self.reports


class MedianStopping(WithoutWaiting):
    """Google Vizier's rule (Golovin et al. 2017, section 3.2.1), against all that came as far instead of the completed.

    At an epoch, a trial is stopped whose best value so far is strictly below the median of the other trials' averages
    of all values up to that epoch. A trial that skipped the epoch is not among the others.
    """

    def __init__(self, *, epochs: int, grace: int, protected: frozenset[int], min_trials: int = MIN_TRIALS) -> None:
        self._epochs = epochs
        self._grace = grace  # no trial is stopped before this epoch
        self._protected = protected  # they count, and are never stopped
        self._min_trials = min_trials
        self._begin()

    def _begin(self) -> None:
        self._progress: dict[int, _Progress] = {}
        self._averages: dict[int, list[float]] = {}  # ascending, by epoch

    def report(self, number: int, epoch: int, value: float) -> Decision:
        """Take in an epoch's value; a value that is not a finite number stops the trial and counts nowhere."""
        progress = self._progress.setdefault(number, _Progress())
        if epoch > progress.last and self._loses(progress, epoch, value) and number not in self._protected:
            progress.stopped = epoch if progress.stopped is None else progress.stopped
        stopped = progress.stopped is not None and epoch >= progress.stopped
        return Decision.STOP if stopped else Decision.CONTINUE

    def restore(self, trials: Iterable[Past]) -> None:
        """Begin where the study stands. An epoch told again is not compared anew."""
        self._begin()
        for past in trials:
            progress = self._progress.setdefault(past.number, _Progress())
            for epoch in sorted(past.curve):
                if math.isfinite(past.curve[epoch]):
                    self._averages.setdefault(epoch, []).append(progress.take(epoch, past.curve[epoch]))
        for averages in self._averages.values():
            averages.sort()

    def median(self, epoch: int) -> float | None:
        """Of the averages of those that have reported this epoch; None where nobody is compared with it."""
        averages = self._averages.get(epoch, [])
        enough = self._grace <= epoch < self._epochs and len(averages) >= self._min_trials
        return _median(averages) if enough else None

    def rungs(self) -> list[Rung]:
        """None: averages are compared at every epoch."""
        return []

    def _loses(self, progress: _Progress, epoch: int, value: float) -> bool:
        if not math.isfinite(value):
            return True
        median = self.median(epoch)
        insort(self._averages.setdefault(epoch, []), progress.take(epoch, value))
        return median is not None and progress.best < median


def _median(ascending: list[float]) -> float:
    middle = len(ascending) // 2
    return ascending[middle] if len(ascending) % 2 else (ascending[middle - 1] + ascending[middle]) / 2
