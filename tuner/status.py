"""How a search stands: what it has spent and found, what runs and what is left."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from tuner.faults import Failure, failures, lost_legs
from tuner.overview import Overview
from tuner.recording.spool import waiting_records
from tuner.schedulers.names import SchedulerName
from tuner.study.history import TrialHistory
from tuner.study.record import DEFAULT_TRIAL, TrialKind, TrialRecord, TrialState


@dataclass(frozen=True)
class Underway:
    """What a trial on a worker is doing."""

    number: int
    node: str | None  # until its first report it is not known
    after_epoch: int
    epochs: int  # that it may have
    value: float | None  # the first objective after its last epoch
    begun_s: float | None  # when its worker took it up, Unix seconds


@dataclass(frozen=True)
class Leader:
    """A trial's value at its best epoch."""

    number: int
    epoch: int
    value: float  # the first objective
    map: float | None


@dataclass(frozen=True)
class Status:
    """How a search stands; times are Unix seconds."""

    search_id: str
    folder: str
    dataset: str  # its location
    running: bool
    finished: bool  # nothing is left to do
    halted: str | None  # why it ended before its budget
    since_s: float | None  # it is running
    last_s: float | None  # something was reported
    states: dict[str, int]
    trials_begun: int  # of the budget's
    trials_budget: int
    epochs_done: int
    epochs_left: float  # about
    left_s: float | None  # at the pace of this session; None if it is not running or nothing was reported in it yet
    objective: str
    best: Leader | None
    default: Leader | None
    hours: float  # on the clock
    gpu_hours: float
    money: float
    limits: dict[str, float]  # of the budget, where there is one
    underway: tuple[Underway, ...]
    lost_workers: int
    failures: tuple[Failure, ...]
    records_waiting: int  # for MLflow

    def as_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        return asdict(self)


def status_of(search: Overview, clock: Callable[[], float] = time.time) -> Status:
    """How the search stands now."""
    file, records = search.file, search.records
    busy_s = sum(record.busy_s for record in records)
    begun = sum(r.origin.kind is TrialKind.SEARCH and r.origin.replaces is None for r in records)
    left = 0.0 if search.finished else _epochs_left(search, begun)
    limits = {name: getattr(file.budget, name) for name in ("total_epochs", "hours", "gpu_hours", "money")}
    running = [trial for trial in search.trials if trial.record.state is TrialState.RUNNING]
    return Status(
        search_id=search.study.search_id,
        folder=str(search.folder),
        dataset=search.identity.dataset,
        running=search.running_since_s is not None,
        finished=search.finished,
        halted=None if search.summary is None else search.summary["halted"],
        since_s=search.running_since_s,
        last_s=max((time_s for trial in search.trials for time_s in _times(trial)), default=None),
        states=search.states,
        trials_begun=begun,
        trials_budget=file.budget.trials,
        epochs_done=sum(record.epochs for record in records),
        epochs_left=left,
        left_s=_seconds_left(search, left, clock()),
        objective=file.objective.metric,
        best=_leader(search.best),
        default=_leader(search.default),
        hours=search.study.clock_s / 3600,
        gpu_hours=busy_s * file.resources.gpus / 3600,
        money=sum(record.cost for record in records),
        limits={name: limit for name, limit in limits.items() if limit is not None},
        underway=tuple(_underway(trial, file.budget.epochs) for trial in running) if search.running_since_s else (),
        lost_workers=sum(len(lost_legs(trial)) for trial in search.trials),
        failures=tuple(failures(search.trials)),
        records_waiting=waiting_records(search.folder),
    )


def _epochs_left(search: Overview, begun: int) -> float:
    """Trials to come take as many epochs as those took that have left their workers, on average."""
    file, budget = search.file, search.file.budget
    mine = [record for record in search.records if record.origin.kind is TrialKind.SEARCH]
    if file.scheduler.name is SchedulerName.PBT:  # each place of the population is filled to the end
        left = float(budget.trials * budget.epochs - sum(record.epochs for record in mine))
    else:
        off = [record.epochs for record in mine if record.state is not TrialState.RUNNING]
        mean = sum(off) / len(off) if off else float(budget.epochs)
        on = [record for record in mine if record.state is TrialState.RUNNING]
        targets = [budget.epochs if record.number == DEFAULT_TRIAL else mean for record in on]
        left = mean * max(budget.trials - begun, 0)
        left += sum(max(target - record.last_epoch, 0) for target, record in zip(targets, on, strict=True))
    if file.repeat is not None:
        repeated = sum(record.epochs for record in search.records if record.origin.kind is TrialKind.REPEAT)
        left += max(file.repeat.top * file.repeat.seeds * budget.epochs - repeated, 0)
    if budget.total_epochs is not None:
        left = min(left, budget.total_epochs - sum(record.epochs for record in search.records))
    return max(left, 0.0)


def _seconds_left(search: Overview, epochs: float, now_s: float) -> float | None:
    since = search.running_since_s
    if since is None:
        return None
    told = [told.at_s for trial in search.trials for told in trial.epochs if told.at_s is not None]
    reports = sum(at_s >= since for at_s in told)
    if not reports:
        return None
    left = epochs * (now_s - since) / reports
    hours = search.file.budget.hours
    return left if hours is None else min(left, max(3600 * hours - search.study.clock_s, 0.0))


def _times(trial: TrialHistory) -> list[float]:
    last = trial.epochs[-1].at_s if trial.epochs else None
    return [time_s for time_s in (trial.begun_s, last, trial.ended_s) if time_s is not None]


def _leader(record: TrialRecord | None) -> Leader | None:
    if record is None or record.best_epoch is None or record.metrics is None:
        return None
    return Leader(record.number, record.best_epoch, record.values[0], record.metrics.get("map"))


def _underway(trial: TrialHistory, epochs: int) -> Underway:
    record = trial.record
    value = record.curve[record.last_epoch][0] if record.curve else None
    begun_s = trial.legs[-1].at_s if trial.legs else None
    epochs = int(record.config.get("training.epochs", epochs))
    return Underway(record.number, record.node, record.last_epoch, epochs, value, begun_s)
