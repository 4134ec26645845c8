"""A study of very many trials that have ended: reading it, going on with it, and what a new trial costs then."""

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.scaling_engine import spec_in
from benchmarks.stopwatch import peak_bytes
from tuner.assembly import engine_of, scheduler_of
from tuner.ledger import Ledger
from tuner.schedulers.decision import Decision
from tuner.study.address import STUDY_FILE, URL_VARIABLE
from tuner.study.history import read_study
from tuner.study.record import Origin, Told, TrialState
from tuner.study.rows import epoch_row
from tuner.study.study import Study

SEARCH = "history-1"
EPOCHS = 3  # of each trial: most end early in a search of so many
NEW = 5  # trials begun at its end
METRICS = ("epoch", "map", "map50", "map75", "best", "last", "loss")
BLOCK = 10_000  # trials written at one time


@dataclass(frozen=True)
class Read:
    """What reading took."""

    seconds: float
    mib: float  # resident at most


@dataclass(frozen=True)
class Resumed:
    """What going on took."""

    seconds: float
    start_ms: float  # of a new trial then, without a model in the sampler
    mib: float


def write_history(folder: Path, trials: int) -> int:
    """Write the study, its rows at once where a search writes them one by one; the bytes of its file."""
    spec = spec_in(folder)
    Study.create(folder, spec, SEARCH).close()
    with sqlite3.connect(folder / STUDY_FILE) as database:
        fact = "INSERT INTO study_user_attributes (study_id, key, value_json) VALUES (1, 'metrics', ?)"
        database.execute(fact, (json.dumps(METRICS),))
        for first in range(0, trials, BLOCK):
            numbers = range(first, min(first + BLOCK, trials))
            rows = [(number + 1, number, TrialState.COMPLETE.name) for number in numbers]
            database.executemany("INSERT INTO trials (trial_id, number, study_id, state) VALUES (?, ?, 1, ?)", rows)
            facts = [(number + 1, key, json.dumps(value)) for number in numbers for key, value in _facts(number)]
            database.executemany(
                "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (?, ?, ?)", facts
            )
    database.close()
    return (folder / STUDY_FILE).stat().st_size


def read(folder: Path) -> Read:
    """Read it as `status`, `trials` and the report do."""
    os.environ.pop(URL_VARIABLE, None)
    begun = time.perf_counter()
    study = read_study(folder, SEARCH)
    seconds = time.perf_counter() - begun
    if not all(trial.record.epochs == EPOCHS for trial in study.trials):
        raise RuntimeError("the history was read otherwise than it was written")
    return Read(seconds, peak_bytes() / 2**20)


def resume(folder: Path) -> Resumed:
    """Go on with it as a new driver does, and begin a few trials."""
    os.environ.pop(URL_VARIABLE, None)
    spec = spec_in(folder)
    begun = time.perf_counter()
    study = Study.resume(folder, spec, SEARCH)
    engine = engine_of(spec, study, scheduler_of(spec), Ledger(spec), 1)
    seconds = time.perf_counter() - begun
    engine.next()  # makes the observations of all trials, once
    begun = time.perf_counter()
    for _ in range(NEW):
        if engine.next() is None:
            raise RuntimeError(f"no trial was begun: {engine.closing}")
    start_ms = 1000 * (time.perf_counter() - begun) / NEW
    study.close()
    return Resumed(seconds, start_ms, peak_bytes() / 2**20)


def _facts(number: int) -> Iterator[tuple[str, Any]]:
    at_s, share = 1_760_000_000.0 + number, number % 997 / 997
    leaves: dict[str, Any] = {"loss.box": 2 + 13 * share, "loss.cls": 0.3 + share, "loss.focal_gamma": 3 * share}
    leaves |= {"optimizer.lr": 1e-4 + 1e-3 * share, "optimizer.weight_decay": 1e-3, "optimizer.name": "adamw"}
    yield "origin", Origin(leaves if number else {}).as_json()
    yield "leg 1", [f"node{number % 1000}", 0, at_s]
    for epoch in range(1, EPOCHS + 1):
        value = share * (1 - 0.5**epoch)
        metrics: dict[str, float] = dict(zip(METRICS, (epoch, value, value, value, 1.0, 0.0, 1.0), strict=True))
        told = Told(epoch, metrics, f"trials/{number:04d}/{epoch}", Decision.CONTINUE, 60.0 * epoch, 0.0, at_s + epoch)
        yield f"epoch {epoch}", epoch_row(told, METRICS)
    yield "end", {"state": TrialState.STOPPED.value, "error": None, "at_s": at_s + 200}
