"""The best value so far against what had been spent by then."""

from dataclasses import dataclass

from tuner.history import SearchHistory
from tuner.report.occupancy import occupancy
from tuner.study.record import TrialKind


@dataclass(frozen=True)
class Rise:
    """How the best value rose; an entry for each epoch that lifted it, and one for the last."""

    epochs: tuple[int, ...]  # of all trials together
    hours: tuple[float, ...] | None  # the search had run; None where the study does not know
    best: tuple[float, ...]  # of the first objective, as reported
    trials: tuple[int, ...]  # whose epoch it was


def rise(history: SearchHistory) -> Rise:
    """Over the epochs of all trials that keep the constraints; in the order of trials where times are not known."""
    objective = history.result.spec.file.objective
    told = [
        (one.at_s, trial.record, one.epoch)
        for trial in history.trials
        for one in trial.epochs
        if one.epoch in trial.record.curve
    ]
    known = occupancy(history) if all(at_s is not None for at_s, _, _ in told) else None
    if known is not None:
        told.sort(key=lambda one: (one[0] or 0.0, one[1].number))
    epochs: list[int] = []
    hours: list[float] = []
    best: list[float] = []
    trials: list[int] = []
    for spent, (at_s, record, epoch) in enumerate(told, start=1):
        values = record.curve[epoch]
        counts = record.origin.kind is TrialKind.SEARCH and record.violation == 0
        lifts = counts and (not best or objective.worth(values) > objective.worth((best[-1], *values[1:])))
        if lifts or (best and spent == len(told)):
            epochs.append(spent)
            best.append(values[0] if lifts else best[-1])
            trials.append(record.number if lifts else trials[-1])
            hours.append(known.worked_until(at_s) / 3600 if known is not None and at_s is not None else 0.0)
    return Rise(tuple(epochs), tuple(hours) if known is not None else None, tuple(best), tuple(trials))
