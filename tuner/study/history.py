"""What became of each trial, epoch by epoch and worker by worker, and when."""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tuner.study.reading import Row, StudyRows, read_rows
from tuner.study.record import Told, TrialRecord
from tuner.study.rows import numbered, read_epochs, read_record, with_run

UNKNOWN_NODE = "unknown"


@dataclass(frozen=True)
class Leg:
    """A worker that took a trial up."""

    number: int  # from 1
    node: str  # UNKNOWN_NODE if it was lost before its first report
    after_epoch: int
    at_s: float | None  # when it began, Unix seconds; None in studies that did not keep it


@dataclass(frozen=True)
class TrialHistory:
    """A trial with all that it reported."""

    record: TrialRecord
    epochs: tuple[Told, ...]
    legs: tuple[Leg, ...]
    begun_s: float | None  # Unix seconds; None in studies that did not keep it
    ended_s: float | None  # likewise, and None if it has not ended


@dataclass(frozen=True)
class StudyHistory:
    """A study with all that was reported to it."""

    search_id: str
    clock_s: float  # that all sessions took together, to within seconds
    trials: tuple[TrialHistory, ...]  # by number


def read_study(folder: Path, search_id: str | None = None) -> StudyHistory:
    """A search's trials, from its study alone.

    Raises:
        DatasetError: there is no study in the folder, or it cannot be read.
    """
    with _no_garbage():
        rows = read_rows(folder, search_id)
        trials = tuple(_history(row, rows) for row in rows.trials)
        return StudyHistory(rows.name, rows.facts.get("clock_s", 0.0), trials)


def read_trials(folder: Path, search_id: str | None = None) -> tuple[str, list[TrialRecord]]:
    """A search's id and the records of its trials.

    Raises:
        DatasetError: there is no study in the folder, or it cannot be read.
    """
    study = read_study(folder, search_id)
    return study.search_id, [trial.record for trial in study.trials]


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Looking for garbage among many new things, of which none is any, takes a fifth of the time."""
    looks = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if looks:
            gc.enable()


def _history(row: Row, study: StudyRows) -> TrialHistory:
    names: Sequence[str] = study.facts.get("metrics", ())
    epochs = read_epochs(row, names)
    record = read_record(row, study.facts["default"], epochs, study.facts["objectives"])
    legs = tuple(_leg(number, *row.facts[f"leg {number}"]) for number in numbered(row.facts, "leg"))
    end = row.facts.get("end", {})
    return TrialHistory(with_run(record, study.facts), epochs, legs, legs[0].at_s if legs else None, end.get("at_s"))


def _leg(number: int, node: str | None, after_epoch: int, at_s: float | None = None) -> Leg:
    return Leg(number, node or UNKNOWN_NODE, after_epoch, at_s)
