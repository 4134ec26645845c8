"""The front of several objectives, and how much it dominates."""

from collections.abc import Sequence

import numpy as np

from tuner.samplers.axes import Floats
from tuner.samplers.several import front, hypervolume
from tuner.spec.search_spec import SearchSpec
from tuner.study.record import LOST, TrialKind, TrialRecord


def front_of(spec: SearchSpec, records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The trials that keep the constraints and that no other one matches in all objectives and beats in one.

    Trials that were stopped count with what they reached: their values were measured, too.
    """
    known = _comparable(records)
    return [known[index] for index in front(_points(spec, known))] if known else []


def hypervolume_of(spec: SearchSpec, records: Sequence[TrialRecord]) -> tuple[float, tuple[float, ...]]:
    """How much of the objectives' space the front dominates, and the reference point: the worst of each objective."""
    known = _comparable(records)
    if not known:
        return 0.0, ()
    points_NK = _points(spec, known)
    worst_K = points_NK.min(axis=0)
    return hypervolume(points_NK, worst_K), spec.file.objective.rising(tuple(float(value) for value in worst_K))


def _comparable(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    return [
        record
        for record in records
        if record.origin.kind is TrialKind.SEARCH
        and record.best_epoch is not None
        and record.state not in LOST
        and record.violation == 0
    ]


def _points(spec: SearchSpec, records: Sequence[TrialRecord]) -> Floats:
    rising = spec.file.objective.rising
    return np.array([rising(record.values) for record in records])
