"""Between the study's records and the attributes of trials, which are what the database holds of them.

A trial's user attributes: `origin` (what it was begun with), `leg N` (the worker that took it up: node, epoch after
which it began, when), `epoch N` (values of the study's `metrics` in their order, files, decision, seconds, money,
when), `end` (state, error, when), and single facts by their names. Rows of earlier versions lack the times.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tuner.schedulers.decision import Decision
from tuner.space import Leaves
from tuner.study.reading import Row
from tuner.study.record import Origin, Told, TrialRecord, TrialState

FACTS = ("diagnosis", "violation")
RUN = "mlflow_run"  # with the number: an attribute of the study


def epoch_row(told: Told, names: Sequence[str]) -> list[Any]:
    """One epoch as an attribute; a metric that was not reported is null."""
    values = [told.metrics.get(name) for name in names]
    return [values, told.checkpoint, told.decision.value, round(told.busy_s, 3), round(told.cost, 6), told.at_s]


def read_epoch(number: int, row: Sequence[Any], names: Sequence[str]) -> Told:
    """The inverse of `epoch_row`; values written when fewer metrics were known are fewer."""
    metrics = dict(zip(names, row[0], strict=False))
    if None in row[0]:
        metrics = {name: value for name, value in metrics.items() if value is not None}
    return Told(number, metrics, row[1], Decision(row[2]), *row[3:])


def read_record(row: Row, default: Leaves, epochs: Iterable[Told], objectives: Sequence[str]) -> TrialRecord:
    """The record that a row with these epochs stands for; a row without `origin` was never ours to begin with."""
    facts = row.facts
    record = TrialRecord.begun(row.number, Origin.from_json(facts["origin"]), default)
    record = record.told((told, tuple(told.metrics.get(name, math.nan) for name in objectives)) for told in epochs)
    legs = numbered(facts, "leg")
    if legs:
        node, after_epoch = facts[f"leg {max(legs)}"][:2]
        record = dataclasses.replace(record, legs=max(legs), node=node, leg_from=after_epoch)
    end = facts.get("end", {})
    return dataclasses.replace(
        record,
        state=TrialState(end["state"]) if end else _unfinished(row, record),
        error=end.get("error"),
        **{name: facts[name] for name in FACTS if name in facts},
    )


def with_run(record: TrialRecord, study_facts: Mapping[str, Any]) -> TrialRecord:
    """The record with its MLflow run, if the study knows it."""
    return dataclasses.replace(record, mlflow_run_id=study_facts.get(f"{RUN} {record.number}"))


def read_epochs(row: Row, names: Sequence[str]) -> tuple[Told, ...]:
    """Everything the trial reported, by epoch."""
    return tuple(read_epoch(epoch, row.facts[f"epoch {epoch}"], names) for epoch in numbered(row.facts, "epoch"))


def numbered(facts: Mapping[str, Any], word: str) -> list[int]:
    """The numbers N of a trial's attributes `WORD N`."""
    start = f"{word} "
    return sorted([int(key[len(start) :]) for key in facts if key.startswith(start)])


def _unfinished(row: Row, record: TrialRecord) -> TrialState:
    """What the attributes say of a trial without an end: a process that died may not have come to the state itself."""
    if record.decision is Decision.PAUSE and record.leg_from < record.last_epoch:
        return TrialState.PAUSED
    return TrialState.RUNNING if row.running else TrialState.PREEMPTED
