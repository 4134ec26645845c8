"""A study of a thousand trials, made up: what a search's folder holds of it, and the same as Optuna's own study."""

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState as OptunaState
from optuna.trial import create_trial

from tuner.samplers.mirror import distribution
from tuner.schedulers.decision import Decision
from tuner.search_folder import IDENTITY_FILE, SPEC_FILE
from tuner.spec.search_spec import SearchSpec, load_spec
from tuner.study.address import STUDY_FILE
from tuner.study.record import Origin, Told
from tuner.study.rows import epoch_row
from tuner.study.study import Study

EPOCHS, WORKERS, EPOCH_S = 27, 16, 30.0
SPEC = """
name: thousand
space:
  loss.box: {{log_uniform: [2, 15]}}
  loss.focal_gamma: {{uniform: [0, 3]}}
  loss.cls: {{log_uniform: [0.3, 3]}}
  data.temporal_buffer: {{uniform: [0, 0.5]}}
  model.width: {{choice: [0.5, 0.75, 1.0]}}
  optimizer.weight_decay: {{log_uniform: [1.0e-5, 1.0e-2]}}
  optimizer.name: {{choice: [sgd, adamw]}}
  optimizer.lr:
    - {{when: {{optimizer.name: sgd}}, log_uniform: [3.0e-3, 3.0e-2]}}
    - {{when: {{optimizer.name: adamw}}, log_uniform: [3.0e-4, 8.0e-3]}}
objective: {{metric: map, also: [{{metric: energy_uj, mode: min}}]}}
constraints: [latency_ms <= 30]
scheduler: {{name: asha, grace: 3, reduction_factor: 3}}
budget: {{trials: {trials}, epochs: 27}}
"""
METRICS = ("epoch", "map", "map50", "map75", "best", "last", "loss", "seconds", "energy_uj", "latency_ms", "parameters")


@dataclass(frozen=True)
class Made:
    """A trial as it was made up."""

    settings: dict[str, Any]  # by branch
    values: list[dict[str, float]]  # of each epoch, by metric


def make(spec: SearchSpec, trials: int) -> list[Made]:
    """Every trial trained for all epochs, so that there is as much to draw as there can be."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    rng = np.random.default_rng(0)
    made = []
    for _ in range(trials):
        trial = study.ask()
        spec.space.sample(trial)
        settings = dict(trial.params)
        most = 0.5 - 0.15 * abs(np.log(settings["loss.box"] / 6)) - 0.02 * settings["loss.focal_gamma"]
        curve = np.maximum(most, 0.02) * (1 - 0.9 ** np.arange(1, EPOCHS + 1)) + rng.normal(0, 0.01, EPOCHS)
        cost = 20 * settings["model.width"] * (1 + 0.2 * rng.random())
        values = [
            _told(epoch, value, float(cost)) for epoch, value in enumerate(map(float, np.clip(curve, 0, 1)), start=1)
        ]
        made.append(Made(settings, values))
    return made


def _told(epoch: int, value: float, cost: float) -> dict[str, float]:
    told = (epoch, value, 1.6 * value, 0.7 * value, 1.0, epoch == EPOCHS, 1 / epoch, 30.0, 4 * cost, cost, 1e6)
    return dict(zip(METRICS, map(float, told), strict=True))


def write(folder: Path, trials: int) -> tuple[SearchSpec, list[Made]]:
    """The search's folder, its rows written at once where a search would write them one by one."""
    folder.mkdir()
    (folder / SPEC_FILE).write_text(SPEC.format(trials=trials), encoding="utf-8")
    identity = {"search_id": "thousand-20260101-000000", "dataset": "datasets/made-up", "digest": "0" * 64}
    (folder / IDENTITY_FILE).write_text(json.dumps(identity), encoding="utf-8")
    spec = load_spec(folder / SPEC_FILE)
    Study.create(folder, spec, identity["search_id"])
    made = make(spec, trials)
    with sqlite3.connect(folder / STUDY_FILE) as database:
        row = json.dumps(list(METRICS))
        database.execute(
            "INSERT INTO study_user_attributes (study_id, key, value_json) VALUES (1, 'metrics', ?)", (row,)
        )
        for number, one in enumerate(made):
            database.execute(
                "INSERT INTO trials (trial_id, number, study_id, state) VALUES (?, ?, 1, 'COMPLETE')",
                (number + 1, number),
            )
            facts = _facts(spec, number, one)
            database.executemany(
                "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (?, ?, ?)",
                [(number + 1, key, json.dumps(fact)) for key, fact in facts.items()],
            )
    return spec, made


def optuna_study(spec: SearchSpec, made: list[Made]) -> optuna.Study:
    """The same trials for Optuna's own figures, in memory."""
    domains = {branch.name: distribution(branch.domain) for branch in spec.space.branches}
    study = optuna.create_study(direction="maximize")
    study.add_trials(
        [
            create_trial(
                state=OptunaState.COMPLETE,
                value=one.values[-1]["map"],
                params=one.settings,
                distributions={name: domains[name] for name in one.settings},
                intermediate_values={int(values["epoch"]): values["map"] for values in one.values},
            )
            for one in made
        ]
    )
    return study


def _facts(spec: SearchSpec, number: int, one: Made) -> dict[str, Any]:
    begin = number // WORKERS * EPOCHS * EPOCH_S + number % WORKERS
    leaves = spec.space.leaves_of(one.settings) if number else {}
    facts: dict[str, Any] = {"origin": Origin(leaves).as_json(), "leg 1": [f"node{number % 4}", 0, begin]}
    for epoch, values in enumerate(one.values, start=1):
        busy = epoch * EPOCH_S
        told = Told(epoch, values, f"trials/{number:04d}/{epoch}", Decision.CONTINUE, busy, 0.0, begin + busy)
        facts[f"epoch {epoch}"] = epoch_row(told, METRICS)
    return facts | {"end": {"state": "complete", "error": None, "at_s": begin + EPOCHS * EPOCH_S}}
