"""The ledger: what a search has spent of its budget, and whether the rest is enough to begin something."""

import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tuner.spec.budget import Budget
from tuner.spec.search_spec import SearchSpec
from tuner.study.record import TrialKind, TrialRecord, TrialState

_PACE = 50  # epochs the pace is taken from


@dataclass(frozen=True)
class Spent:
    """What trials have cost so far."""

    trials: int
    epochs: int
    hours: float
    gpu_hours: float
    money: float


class Ledger:
    """Adds up as reports come in, so that a question costs nothing however long the search is.

    Args:
        spec: what may be spent.
        earlier_s: seconds that earlier sessions took.
        clock: seconds, ever rising.
    """

    def __init__(self, spec: SearchSpec, earlier_s: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._budget: Budget = spec.file.budget
        self._gpus = spec.file.resources.gpus
        self._first_rung = spec.file.scheduler.grace if spec.file.scheduler.has_rungs else spec.file.budget.epochs
        self._earlier_s, self._clock, self._began = earlier_s, clock, clock()
        self._trials = self._epochs = 0
        self._busy_s = self._money = 0.0
        self._pace: deque[float] = deque(maxlen=_PACE)

    def restore(self, records: Sequence[TrialRecord]) -> None:
        """Take over what earlier sessions spent."""
        for record in records:
            self.began(record)
            self._epochs += record.epochs
            self._busy_s += record.busy_s
            self._money += record.cost
            if record.epochs and record.busy_s:
                self._pace.append(record.busy_s / record.epochs)

    def began(self, record: TrialRecord) -> None:
        """A trial has been added to the study."""
        self._trials += record.origin.kind is TrialKind.SEARCH and record.origin.replaces is None

    def reported(self, before: TrialRecord, after: TrialRecord) -> None:
        """A trial has reported an epoch."""
        new = after.epochs - before.epochs
        self._epochs += new
        self._busy_s += after.busy_s - before.busy_s
        self._money += after.cost - before.cost
        if new and after.epochs > after.leg_from + 1:  # a leg's first epoch carries its start
            self._pace.append((after.busy_s - before.busy_s) / new)

    @property
    def session_s(self) -> float:
        """Seconds of this session."""
        return self._clock() - self._began

    @property
    def spent(self) -> Spent:
        """What has been spent so far."""
        hours = (self._earlier_s + self.session_s) / 3600
        return Spent(self._trials, self._epochs, hours, self._busy_s * self._gpus / 3600, self._money)

    @property
    def epoch_s(self) -> float | None:
        """Seconds an epoch takes; None before the first."""
        return statistics.median(self._pace) if self._pace else None

    def over(self, underway: int = 0) -> str | None:
        """What is spent, in words, if anything is; `underway` epochs are being trained. Running trials end then too."""
        budget, spent = self._budget, self.spent
        limits = (
            ("total_epochs", budget.total_epochs, spent.epochs + underway),
            ("hours", budget.hours, spent.hours),
            ("gpu_hours", budget.gpu_hours, spent.gpu_hours),
            ("money", budget.money, spent.money),
        )
        for name, limit, value in limits:
            if limit is not None and value >= limit:
                return f"budget.{name}={limit:g} is spent"
        return None

    def has_trials(self) -> bool:
        """Whether the budget has another new trial."""
        return self._trials < self._budget.trials

    def affords(self, epochs: int, running: Sequence[TrialRecord]) -> bool:
        """Whether so many more epochs fit beside what the running trials still need to their next rung."""
        budget, spent = self._budget, self.spent
        promised = sum(max(self._first_rung - record.last_epoch, 1) for record in running)
        if budget.total_epochs is not None and spent.epochs + promised + epochs > budget.total_epochs:
            return False
        pace = self.epoch_s
        if pace is None:
            return self.over() is None
        hours = epochs * pace / 3600
        if budget.hours is not None and spent.hours + hours > budget.hours:
            return False
        more_gpu = (epochs + promised) * pace * self._gpus / 3600
        if budget.gpu_hours is not None and spent.gpu_hours + more_gpu > budget.gpu_hours:
            return False
        price = spent.money / self._busy_s if self._busy_s else 0.0
        return budget.money is None or spent.money + (epochs + promised) * pace * price <= budget.money

    def affords_trial(self, running: Sequence[TrialRecord]) -> bool:
        """Whether a new trial could reach its first comparison."""
        return self.has_trials() and self.affords(self._first_rung, running)


def plateaued(records: Sequence[TrialRecord], spec: SearchSpec) -> str | None:
    """Why nothing more is expected of this search, in words; None while something is.

    The last `budget.plateau.trials` trials that have left their workers must not have lifted the best by `min_gain`.
    Where the sampler says what it expects of a trial, it must have expected less than that of each of them.
    """
    plateau = spec.file.budget.plateau
    if plateau is None:
        return None
    searched = (record for record in records if record.origin.kind is TrialKind.SEARCH)
    mine = [record for record in searched if record.state is not TrialState.RUNNING]
    if len(mine) <= plateau.trials:
        return None
    recent = mine[-plateau.trials :]
    expected = [record.origin.expected_gain for record in recent if record.origin.expected_gain is not None]
    if any(gain >= plateau.min_gain for gain in expected):
        return None
    worth = spec.file.objective.worth
    before = [worth(record.values) for record in mine[: -plateau.trials] if record.best_epoch is not None]
    after = [worth(record.values) for record in recent if record.best_epoch is not None]
    if not before or max(after, default=-float("inf")) >= max(before) + plateau.min_gain:
        return None
    return f"the last {plateau.trials} trials brought less than {plateau.min_gain:g} (budget.plateau)"
