"""The front of several objectives, and how much it dominates."""

from collections.abc import Sequence

import numpy as np
from optuna import create_study
from optuna._hypervolume import compute_hypervolume
from optuna.trial import create_trial

from tuner.spec.search_spec import SearchSpec
from tuner.study.record import LOST, TrialKind, TrialRecord


def front_of(spec: SearchSpec, records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The trials that keep the constraints and that no other one matches in all objectives and beats in one.

    Trials that were stopped count with what they reached: their values were measured, too.
    """
    known = _comparable(records)
    study = create_study(directions=["maximize"] * len(spec.file.objective.metrics))
    for record in known:
        study.add_trial(create_trial(values=_rising(spec, record), user_attrs={"number": record.number}))
    best = {trial.user_attrs["number"] for trial in study.best_trials}
    return [record for record in known if record.number in best]


def hypervolume_of(spec: SearchSpec, records: Sequence[TrialRecord]) -> tuple[float, tuple[float, ...]]:
    """How much of the objectives' space the front dominates, and the reference point: the worst of each objective."""
    known = _comparable(records)
    points = np.array([_rising(spec, record) for record in known])
    if not len(points):
        return 0.0, ()
    worst = points.min(axis=0)
    signs = spec.file.objective.rising(tuple([1.0] * points.shape[1]))
    # Optuna's is of losses: to be minimised.
    return float(compute_hypervolume(-points, -worst)), tuple(float(v) for v in worst * np.array(signs))


def _comparable(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    return [
        record
        for record in records
        if record.origin.kind is TrialKind.SEARCH
        and record.best_epoch is not None
        and record.state not in LOST
        and record.violation == 0
    ]


def _rising(spec: SearchSpec, record: TrialRecord) -> list[float]:
    return list(spec.file.objective.rising(record.curve[record.best_epoch or 0]))
