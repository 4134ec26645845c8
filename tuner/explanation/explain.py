"""All that is known of one trial, gathered for who asks what became of it."""

import shlex
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import yaml

from data.errors import InputError
from model.diagnosis.findings import REMEDIES
from model.diagnosis.findings import Cause as FaultCause
from model.trial_config import TrialConfig
from tuner.explanation.comparison import AtRung, at_rungs
from tuner.explanation.reason import Reason, reason_of
from tuner.faults import lost_legs
from tuner.history import SearchHistory
from tuner.study.history import Leg, TrialHistory
from tuner.study.record import TrialRecord
from tuner.wording import trial_told


@dataclass(frozen=True)
class Setting:
    """A leaf that the search chose, and what the default configuration has there."""

    leaf: str
    value: Any
    default: Any


@dataclass(frozen=True)
class Kept:
    """A constraint, and what the trial has there."""

    rule: str
    value: float
    violation: float  # as a share of the bound; 0 if it is kept


@dataclass(frozen=True)
class Explanation:
    """What became of a trial. Times are Unix seconds."""

    search_id: str
    number: int
    name: str
    state: str
    won: bool
    reason: Reason
    rungs: tuple[AtRung, ...]
    settings: tuple[Setting, ...]
    begun_with: str | None  # another trial's weights, if so
    objective: str
    curve: Mapping[int, float]  # the first objective by epoch
    best_epoch: int | None
    constraints: tuple[Kept, ...]
    diagnosis: str | None
    remedy: str | None
    error: str | None
    legs: tuple[Leg, ...]
    lost: tuple[int, ...]  # numbers of the legs whose workers left it unasked
    begun_s: float | None
    ended_s: float | None
    busy_s: float
    epoch_s: float | None  # the median
    cost: float
    files: str | None  # of its last epoch
    checkpoint: str | None  # its best weights, if they are still there
    mlflow_run_id: str | None
    commands: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        return asdict(self)


def explain(search: SearchHistory, number: int) -> Explanation:
    """What became of the trial.

    Raises:
        InputError: there is none of this number.
    """
    if not 0 <= number < len(search.trials):
        there = f"0 to {len(search.trials) - 1}" if search.trials else "none yet"
        raise InputError(f"trial {number}: the search has no such trial; its numbers are {there}")
    trial, result = search.trials[number], search.result
    record, objective = trial.record, result.spec.file.objective
    best = result.best
    checkpoint = None if record.checkpoint is None else result.folder / record.checkpoint
    kept = checkpoint if checkpoint is not None and checkpoint.is_file() else None
    return Explanation(
        search_id=result.search_id,
        number=number,
        name=trial_told(record, result.spec.file.names),
        state=record.state.value,
        won=best is not None and best.number == number,
        reason=reason_of(search, number),
        rungs=tuple(at_rungs(search, number)),
        settings=tuple(Setting(leaf, value, record.default.get(leaf)) for leaf, value in record.sampled.items()),
        begun_with=_begun_with(record),
        objective=objective.metric,
        curve={epoch: values[0] for epoch, values in record.curve.items()},
        best_epoch=record.best_epoch,
        constraints=_constraints(search, trial),
        diagnosis=record.diagnosis,
        remedy=_remedy(record.diagnosis),
        error=record.error,
        legs=trial.legs,
        lost=tuple(leg.number for leg in lost_legs(trial)),
        begun_s=trial.begun_s,
        ended_s=trial.ended_s,
        busy_s=record.busy_s,
        epoch_s=_epoch_s(trial),
        cost=record.cost,
        files=None if record.files is None else str(result.folder / record.files),
        checkpoint=None if kept is None else str(kept),
        mlflow_run_id=record.mlflow_run_id,
        commands=tuple(_commands(search, record, None if kept is None else str(kept))),
    )


def _begun_with(record: TrialRecord) -> str | None:
    if record.origin.donor is None:
        return None
    return f"weights of trial {record.origin.donor} after its epoch {record.origin.epoch}"


def _constraints(search: SearchHistory, trial: TrialHistory) -> tuple[Kept, ...]:
    metrics = trial.epochs[-1].metrics if trial.epochs else {}
    rules = [rule for rule in search.result.spec.constraints if rule.metric in metrics]
    return tuple(Kept(str(rule), metrics[rule.metric], rule.violation(metrics)) for rule in rules)


def _remedy(diagnosis: str | None) -> str | None:
    """The line begins with severity and cause, unless no fault was found."""
    words = (diagnosis or "").split(":")[0].split()
    return REMEDIES[FaultCause(words[1])] if len(words) == 2 and words[1] in list(FaultCause) else None


def _epoch_s(trial: TrialHistory) -> float | None:
    """What a worker's first epoch took includes its start, and is left out where there are others."""
    ends = {told.epoch: told.busy_s for told in trial.epochs}
    firsts = {leg.after_epoch + 1 for leg in trial.legs}
    took = {epoch: busy_s - ends.get(epoch - 1, 0.0) for epoch, busy_s in ends.items()}
    later = [seconds for epoch, seconds in took.items() if epoch not in firsts]
    return statistics.median(later or took.values()) if took else None


def _commands(search: SearchHistory, record: TrialRecord, checkpoint: str | None) -> Sequence[str]:
    data = shlex.quote(search.identity.dataset)
    plain = TrialConfig().leaves()
    given = [
        f"--set {shlex.quote(f'{leaf}={_written(value)}')}"
        for leaf, value in record.config.items()
        if value != plain.get(leaf)
    ]
    commands = [f"spiketune train --data {data} --out trial-{record.number} {' '.join(given)}".rstrip()]
    if checkpoint is not None:
        commands += [f"spiketune {word} {shlex.quote(checkpoint)} --data {data}" for word in ("evaluate", "diagnose")]
    return commands


def _written(value: Any) -> str:
    """As YAML on one line, which `--set` reads."""
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("\n").removesuffix("\n...")
