"""What went wrong in a search: trials that failed, by what they failed of, and workers that were lost."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tuner.schedulers.decision import Decision
from tuner.study.history import Leg, TrialHistory
from tuner.study.record import LOST, TrialRecord, TrialState

_NUMBERS = re.compile(r"\d+(?:\.\d+)?(?:e[-+]?\d+)?")


@dataclass(frozen=True)
class Failure:
    """Trials that ended alike."""

    state: TrialState
    error: str  # of the first of them; the others' differ in numbers at most
    trials: tuple[int, ...]


def failures(trials: Iterable[TrialHistory]) -> list[Failure]:
    """Trials that came to nothing for reasons of their own, the most frequent reason first."""
    failed = [trial.record for trial in trials if trial.record.state in LOST - {TrialState.INFEASIBLE}]
    found = [
        Failure(group[0].state, group[0].error or "no error was told", tuple(record.number for record in group))
        for group in alike(failed)
    ]
    return sorted(found, key=lambda failure: (-len(failure.trials), failure.trials))


def alike(records: Iterable[TrialRecord]) -> list[list[TrialRecord]]:
    """Trials together where state and words of the error are the same but for numbers."""
    groups: dict[tuple[TrialState, str], list[TrialRecord]] = {}
    for record in records:
        groups.setdefault((record.state, _NUMBERS.sub("#", record.error or "")), []).append(record)
    return list(groups.values())


def lost_legs(trial: TrialHistory) -> Sequence[Leg]:
    """The workers that left the trial unasked, for another to go on with it: they died, or the whole search did."""
    decisions = {told.epoch: told.decision for told in trial.epochs}
    lost = []
    for leg, following in zip(trial.legs, trial.legs[1:], strict=False):
        progress = following.after_epoch > leg.after_epoch
        if not (progress and decisions.get(following.after_epoch) is Decision.PAUSE):
            lost.append(leg)
    return lost
