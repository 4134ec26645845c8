"""Why a trial is where it is, in one sentence."""

import math
from dataclasses import dataclass
from enum import StrEnum

from tuner.explanation.comparison import AtRung, against_median, at_rungs
from tuner.history import SearchHistory
from tuner.schedulers.decision import Decision
from tuner.schedulers.names import SchedulerName
from tuner.search_folder import held_since
from tuner.spec.search_spec import EPOCHS
from tuner.study.record import TrialRecord, TrialState
from tuner.wording import metric_told


class Cause(StrEnum):
    """What decided on a trial."""

    RUNNING = "running"
    WAITING = "waiting"
    INTERRUPTED = "interrupted"  # with its search, which may go on
    COMPLETE = "complete"
    PATIENCE = "patience"
    RUNG = "rung"
    MEDIAN = "median"
    POPULATION = "population"
    NOT_PROMOTED = "not promoted"
    SEARCH_ENDED = "search ended"
    HEALTH = "health"
    BUDGET = "budget"
    CONSTRAINT = "constraint"
    NOT_FINITE = "not finite"
    ERROR = "error"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Reason:
    """What decided on a trial, and how."""

    cause: Cause
    told: str


def reason_of(search: SearchHistory, number: int) -> Reason:
    """Why the trial ended, or what it is doing."""
    record = search.trials[number].record
    epochs = int(record.config.get(EPOCHS, search.result.spec.file.budget.epochs))
    after = f"after epoch {record.last_epoch}" if record.last_epoch else "before its first epoch"
    match record.state:
        case TrialState.RUNNING if held_since(search.result.folder) is None:
            return Reason(
                Cause.INTERRUPTED, f"its search ended while it trained, {after}; a resumed one goes on with it"
            )
        case TrialState.RUNNING:
            where = f" on {record.node}" if record.node else ""
            return Reason(Cause.RUNNING, f"it trains{where}, {after} of {epochs}")
        case TrialState.PREEMPTED:
            return Reason(Cause.INTERRUPTED, f"its worker was lost or its search interrupted {after}; it may go on")
        case TrialState.PAUSED:
            return _paused(search, record)
        case TrialState.COMPLETE if record.last_epoch >= epochs:
            return Reason(Cause.COMPLETE, f"trained for its whole budget of {epochs} epochs")
        case TrialState.COMPLETE:
            return Reason(Cause.PATIENCE, f"ended by itself {after} of {epochs}, as training.patience asks")
        case TrialState.STOPPED:
            return _stopped(search, record, after)
        case TrialState.INFEASIBLE:
            by = f" (by {record.violation:.0%} of the bound)" if record.violation else ""
            return Reason(Cause.CONSTRAINT, f"broke a constraint before training: {record.error}{by}")
    return Reason(Cause.ERROR, f"{record.state.value} {after}: {record.error or 'no error was told'}")


def _paused(search: SearchHistory, record: TrialRecord) -> Reason:
    rungs = at_rungs(search, record.number)
    if search.result.spec.file.scheduler.name is SchedulerName.PBT or not rungs:
        return Reason(Cause.WAITING, f"waits after epoch {record.last_epoch} for trials that are not as far")
    return Reason(Cause.WAITING, f"waits at epoch {rungs[-1].epoch}: {_standing(search, rungs[-1])}")


def _stopped(search: SearchHistory, record: TrialRecord, after: str) -> Reason:
    if record.error is not None:
        cause = Cause.BUDGET if record.error.startswith("budget.") else Cause.HEALTH
        told = f"stopped {after}: " if cause is Cause.BUDGET else "stopped by the health check: "
        return Reason(cause, f"{told}{record.error}")
    if record.curve and record.decision is Decision.STOP:
        return _stopped_by_scheduler(search, record)
    rungs = at_rungs(search, record.number)
    if record.decision is Decision.PAUSE and rungs:
        return _not_promoted(search, rungs[-1])
    return Reason(Cause.SEARCH_ENDED, f"the search ended while it waited for a worker, {after}")


def _not_promoted(search: SearchHistory, rung: AtRung) -> Reason:
    if search.result.spec.file.scheduler.name is SchedulerName.PBT:
        return Reason(Cause.SEARCH_ENDED, f"the search ended while it waited at epoch {rung.epoch}")
    standing = _standing(search, rung)
    if rung.passes:
        return Reason(Cause.SEARCH_ENDED, f"the search ended before it could go on from epoch {rung.epoch}: {standing}")
    return Reason(Cause.NOT_PROMOTED, f"stopped at epoch {rung.epoch}, not promoted: {standing}")


def _stopped_by_scheduler(search: SearchHistory, record: TrialRecord) -> Reason:
    file, last = search.result.spec.file, record.last_epoch
    metric = metric_told(file.objective.metric)
    if not math.isfinite(record.curve[last][0]):
        return Reason(Cause.NOT_FINITE, f"stopped after epoch {last}: its {metric} was no finite number")
    if file.scheduler.name is SchedulerName.MEDIAN:
        return _below_median(search, record, metric)
    rungs = at_rungs(search, record.number)
    if not rungs or (rungs[-1].as_decided and rungs[-1].passes):
        return _unknown(last)
    population = file.scheduler.name is SchedulerName.PBT
    cause = Cause.POPULATION if population else Cause.RUNG
    return Reason(cause, f"stopped at epoch {last}: {_standing(search, rungs[-1])}")


def _unknown(epoch: int) -> Reason:
    return Reason(Cause.UNKNOWN, f"stopped after epoch {epoch}; its process died before it could say why")


def _below_median(search: SearchHistory, record: TrialRecord, metric: str) -> Reason:
    found = against_median(search, record.number)
    if found is None:
        return _unknown(record.last_epoch)
    told = (
        f"stopped at epoch {found.epoch}: its best {metric} so far, {found.best:.4g}, is worse than "
        f"{found.median:.4g}, the median of what {found.others} others were on average up to this epoch"
    )
    return Reason(Cause.MEDIAN, told + ("" if found.as_decided else _NOW))


def _standing(search: SearchHistory, rung: AtRung) -> str:
    """mAP 0.005, 9th of 12 at this rung, of which the best 4 go on: the cut is 0.0083."""
    file = search.result.spec.file
    place = "in the population" if file.scheduler.name is SchedulerName.PBT else "at this rung"
    told = f"{metric_told(file.objective.metric)} {rung.value:.4g}, {ordinal(rung.rank)} of {rung.trials} {place}, "
    if rung.cut is None:
        told += "of which none goes on"
    else:
        told += f"of which the best {rung.passing} go on; the cut was {rung.cut:.4g}"
    if rung.went_on is not None:
        told += f", {rung.went_on} went on"
    return told + ("" if rung.as_decided else _NOW)


_NOW = " (as all stand now: the study does not tell when what was reported)"


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th."""
    last = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{last}"
