"""Between the study's records and Optuna's trials, which are what the database holds.

A trial's user attributes: `origin` (what it was begun with), `leg N` (the worker that took it up: node, epoch after
which it began), `epoch N` (values of the study's `metrics` in their order, files, decision, seconds), `end`, and single
facts by their names.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from tuner.samplers.mirror import distribution
from tuner.schedulers.decision import Decision
from tuner.space import Branch, Leaves
from tuner.study.record import Origin, Told, TrialRecord, TrialState

OPTUNA_STATES = {
    TrialState.RUNNING: OptunaState.RUNNING,
    TrialState.PAUSED: OptunaState.WAITING,
    TrialState.PREEMPTED: OptunaState.WAITING,
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.STOPPED: OptunaState.PRUNED,
    TrialState.DIVERGED: OptunaState.FAIL,
    TrialState.OUT_OF_MEMORY: OptunaState.FAIL,
    TrialState.INFEASIBLE: OptunaState.FAIL,
    TrialState.FAILED: OptunaState.FAIL,
}
FACTS = ("diagnosis", "violation")
RUN = "mlflow_run"  # with the number: an attribute of the study


def new_row(origin: Origin, observed: Sequence[tuple[Branch, Any]]) -> FrozenTrial:
    """A trial as it begins, with the parameters that lie in their domains."""
    return create_trial(
        state=OptunaState.RUNNING,
        params={branch.name: value for branch, value in observed},
        distributions={branch.name: distribution(branch.domain) for branch, _ in observed},
        user_attrs={"origin": origin.as_json()},
    )


def epoch_row(told: Told, names: Sequence[str]) -> list[Any]:
    """One epoch as an attribute; a metric that was not reported is null."""
    values = [told.metrics.get(name) for name in names]
    return [values, told.checkpoint, told.decision.value, round(told.busy_s, 3), round(told.cost, 6)]


def read_epoch(number: int, row: Sequence[Any], names: Sequence[str]) -> Told:
    """The inverse of `epoch_row`; a row written when fewer metrics were known is shorter."""
    metrics = {name: float(value) for name, value in zip(names, row[0], strict=False) if value is not None}
    return Told(number, metrics, row[1], Decision(row[2]), row[3], row[4])


def read_record(trial: FrozenTrial, default: Leaves, names: Sequence[str], objectives: Sequence[str]) -> TrialRecord:
    """The record that a row stands for; a row without `origin` was never ours to begin with."""
    facts: Mapping[str, Any] = trial.user_attrs
    record = TrialRecord.begun(trial.number, Origin.from_json(facts["origin"]), default)
    for told in read_epochs(trial, names):
        record = record.told(told, tuple(told.metrics.get(name, float("nan")) for name in objectives))
    legs = _numbered(facts, "leg")
    if legs:
        node, began = facts[f"leg {max(legs)}"]
        record = dataclasses.replace(record, legs=max(legs), node=node, leg_from=began)
    end = facts.get("end", {})
    return dataclasses.replace(
        record,
        state=TrialState(end["state"]) if end else _unfinished(trial, record),
        error=end.get("error"),
        **{name: facts[name] for name in FACTS if name in facts},
    )


def with_run(record: TrialRecord, study_facts: Mapping[str, Any]) -> TrialRecord:
    """The record with its MLflow run, if the study knows it."""
    return dataclasses.replace(record, mlflow_run_id=study_facts.get(f"{RUN} {record.number}"))


def read_epochs(trial: FrozenTrial, names: Sequence[str]) -> list[Told]:
    """Everything the trial reported, by epoch."""
    facts: Mapping[str, Any] = trial.user_attrs
    return [read_epoch(epoch, facts[f"epoch {epoch}"], names) for epoch in _numbered(facts, "epoch")]


def _numbered(facts: Mapping[str, Any], word: str) -> list[int]:
    return sorted(int(key.removeprefix(f"{word} ")) for key in facts if key.startswith(f"{word} "))


def _unfinished(trial: FrozenTrial, record: TrialRecord) -> TrialState:
    """What the attributes say of a trial without an end: a process that died may not have come to the state itself."""
    if record.decision is Decision.PAUSE and record.leg_from < record.last_epoch:
        return TrialState.PAUSED
    return TrialState.RUNNING if trial.state is OptunaState.RUNNING else TrialState.PREEMPTED
