"""Trials read at one epoch, so that no value is larger only because its trial was trained for longer."""

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
    found = []
    for trial in searched(history.result):
        values = trial.curve.get(epoch)
        if values is not None and trial.origin.donor is None and values[0] == values[0]:
            found.append(Read(trial, values[0], _settings(history.result.spec.space, trial)))
    return Reading(epoch, tuple(found))


def readings(history: SearchHistory, least: int = ENOUGH) -> list[Reading]:
    """Readings at the epochs that at least so many trials have reached, the latest first, no more than three.

    Of all epochs that the same trials have reached the last counts.
    """
    last = history.result.spec.file.budget.epochs
    found: list[Reading] = []
    for epoch in range(last, 0, -1):
        reading = reading_at(history, epoch)
        if len(reading.reads) >= least and (not found or len(reading.reads) > len(found[-1].reads)):
            found.append(reading)
    if len(found) <= MOST_SHOWN:
        return found
    return [found[0], found[len(found) // 2], found[-1]]


def widest(history: SearchHistory) -> Reading | None:
    """The reading for pictures: the latest epoch that most trials have reached; None if none reported."""
    return max(readings(history, 1), key=lambda reading: (len(reading.reads), reading.epoch), default=None)


def _settings(space: Space, trial: TrialRecord) -> dict[str, Any]:
    return {branch.name: value for branch, value in space.observed(trial.config)}
