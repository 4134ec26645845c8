"""What a trial was compared with: the schedulers are put back to where they stood when they decided on it."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from tuner.assembly import scheduler_of
from tuner.history import SearchHistory
from tuner.schedulers.decision import Decision, Past, Rung, Scheduler
from tuner.schedulers.levels import best_share
from tuner.schedulers.median import MedianStopping
from tuner.schedulers.names import SchedulerName
from tuner.schedulers.population import SHARE, Population
from tuner.study.history import TrialHistory
from tuner.study.record import TrialKind


@dataclass(frozen=True)
class AtRung:
    """A trial among others. Values are the first objective as reported."""

    bracket: int
    epoch: int  # the rung's
    value: float
    rank: int  # the best is first
    trials: int  # at the rung, this one included
    passing: int  # so many of the best may go on
    cut: float | None  # the value of the last of those; None if there are none
    went_on: int | None  # how many have, where trials wait for it
    as_decided: bool  # as the rung was when the trial reported; else as it is now

    @property
    def passes(self) -> bool:
        """Whether the trial is among the best."""
        return self.rank <= self.passing


@dataclass(frozen=True)
class AgainstMedian:
    """A trial's best value so far, and the median of what the others' values were on average up to the same epoch."""

    epoch: int
    best: float
    median: float
    others: int
    as_decided: bool


def at_rungs(search: SearchHistory, number: int) -> list[AtRung]:
    """The trial at each rung it has reached, lowest first; none where the scheduler has no rungs, or for a repeat."""
    trial = search.trials[number]
    section = search.result.spec.file.scheduler
    if not section.has_rungs or trial.record.origin.kind is TrialKind.REPEAT:
        return []
    reached: list[AtRung] = []
    for rung in _scheduler(search, None).rungs():
        if number in rung.values:
            epoch = min(epoch for epoch in trial.record.curve if epoch >= rung.epoch)
            reached.append(_at_rung(search, trial, rung, epoch))
    return reached


def against_median(search: SearchHistory, number: int) -> AgainstMedian | None:
    """The trial against the others at its last epoch; None if nobody was compared there."""
    trial, objective = search.trials[number], search.result.spec.file.objective
    epoch, until_s = trial.record.last_epoch, _reported_s(trial, trial.record.last_epoch)
    before = [past for past in _pasts(search, until_s) if past.number != number]
    scheduler = scheduler_of(search.result.spec)
    assert isinstance(scheduler, MedianStopping), "asked of the median rule alone"
    scheduler.restore(before)
    median = scheduler.median(epoch)
    finite = [worth for worth in map(objective.worth, trial.record.curve.values()) if math.isfinite(worth)]
    if median is None or not finite:
        return None
    sign = search.result.spec.file.objective.mode.sign
    others = sum(math.isfinite(past.curve.get(epoch, math.nan)) for past in before)
    return AgainstMedian(epoch, sign * max(finite), sign * median, others, until_s is not None)


def _at_rung(search: SearchHistory, trial: TrialHistory, rung: Rung, epoch: int) -> AtRung:
    """At the time of its report; where trials wait at rungs, now, for until now they could have gone on."""
    waits = search.result.spec.file.scheduler.name is SchedulerName.PROMOTION
    until_s = None if waits else _reported_s(trial, epoch)
    scheduler = _scheduler(search, until_s)
    found = next(one for one in scheduler.rungs() if (one.bracket, one.epoch) == (rung.bracket, rung.epoch))
    number = trial.record.number
    if isinstance(scheduler, Population):
        values = {other: _last(found.epoch, scheduler, other) for other in scheduler.ranked(found.epoch)}
        values.setdefault(number, found.values[number])
    else:
        values = dict(found.values)
    ranked = sorted(values, key=lambda other: (-values[other], other))
    passing = _passing(search, len(ranked))
    sign = search.result.spec.file.objective.mode.sign
    return AtRung(
        bracket=found.bracket,
        epoch=found.epoch,
        value=sign * values[number],
        rank=1 + ranked.index(number),
        trials=len(ranked),
        passing=passing,
        cut=sign * values[ranked[passing - 1]] if passing else None,
        went_on=len(found.promoted) if waits else None,
        as_decided=waits or until_s is not None,
    )


def _last(epoch: int, scheduler: Population, number: int) -> float:
    """What a member of the population had at the latest comparison that it has come to, up to this one."""
    return next(
        rung.values[number] for rung in reversed(scheduler.rungs()) if rung.epoch <= epoch and number in rung.values
    )


def _passing(search: SearchHistory, trials: int) -> int:
    section = search.result.spec.file.scheduler
    match section.name:
        case SchedulerName.PBT:
            return trials - best_share(trials, SHARE)
        case SchedulerName.PROMOTION:
            return best_share(trials, section.reduction_factor)
        case _:
            return max(1, best_share(trials, section.reduction_factor))


def _scheduler(search: SearchHistory, until_s: float | None) -> Scheduler:
    """As it stood then, or as it stands now."""
    scheduler = scheduler_of(search.result.spec)
    scheduler.restore(_pasts(search, until_s))
    return scheduler


def _pasts(search: SearchHistory, until_s: float | None) -> Sequence[Past]:
    """What was reported up to then, or until now."""
    worth = search.result.spec.file.objective.worth
    pasts = [(t, t.record.past(worth)) for t in search.trials if t.record.origin.kind is TrialKind.SEARCH]
    if until_s is None:
        return [past for _, past in pasts]
    return [_until(trial, past, until_s) for trial, past in pasts]


def _until(trial: TrialHistory, past: Past, until_s: float) -> Past:
    told = [told for told in trial.epochs if told.at_s is not None and told.at_s <= until_s]
    stopped = any(one.decision is Decision.STOP and one.at_s != until_s for one in told)
    ended = stopped or (trial.ended_s is not None and trial.ended_s < until_s)
    return dataclasses.replace(
        past, curve={one.epoch: past.curve[one.epoch] for one in told}, ended=ended, waiting=False
    )


def _reported_s(trial: TrialHistory, epoch: int) -> float | None:
    return next((told.at_s for told in trial.epochs if told.epoch == epoch), None)
