"""Trials read at one epoch, so that no value is larger only because its trial was trained for longer."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuner.history import SearchHistory
from tuner.report.view import searched
from tuner.space import Branch, Space
from tuner.study.record import TrialRecord

ENOUGH = 10  # trials that importance rests on at least
MOST_SHOWN = 3  # epochs


@dataclass(frozen=True)
class Read:
    """A trial at the epoch of its reading."""

    trial: TrialRecord
    value: float  # of the first objective, as reported
    settings: Mapping[str, Any]  # by branch of the space, of those that hold for it


@dataclass(frozen=True)
class Reading:
    """All trials that reached an epoch, as they were then."""

    epoch: int
    reads: tuple[Read, ...]

    def of(self, branch: Branch) -> list[Read]:
        """Those for which a branch of the space holds."""
        return [read for read in self.reads if branch.name in read.settings]


def reading_at(history: SearchHistory, epoch: int) -> Reading:
    """The trials at an epoch; those without heritage, and the default where the space could have given it."""
    space = history.result.spec.space
    counted = [trial for trial in searched(history.result) if _counts(trial, epoch)]
    return Reading(epoch, tuple(Read(one, one.curve[epoch][0], _settings(space, one)) for one in counted))


def readings(history: SearchHistory, least: int = ENOUGH) -> list[Reading]:
    """Readings at the epochs that at least so many trials have reached, the latest first, no more than three.

    Of all epochs that the same trials have reached the last counts.
    """
    last = history.result.spec.file.budget.epochs
    trials, most = searched(history.result), 0
    found: list[int] = []
    for epoch in range(last, 0, -1):
        count = sum(_counts(trial, epoch) for trial in trials)
        if count >= least and count > most:
            found.append(epoch)
            most = count
    if len(found) > MOST_SHOWN:
        found = [found[0], found[len(found) // 2], found[-1]]
    return [reading_at(history, epoch) for epoch in found]


def widest(history: SearchHistory) -> Reading | None:
    """The reading for pictures: the latest epoch that most trials have reached; None if none reported."""
    return max(readings(history, 1), key=lambda reading: (len(reading.reads), reading.epoch), default=None)


def _counts(trial: TrialRecord, epoch: int) -> bool:
    return epoch in trial.curve and trial.origin.donor is None and math.isfinite(trial.curve[epoch][0])


def _settings(space: Space, trial: TrialRecord) -> dict[str, Any]:
    return {branch.name: value for branch, value in space.observed(trial.config)}
