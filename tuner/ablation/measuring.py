"""What the trainings of an ablation came to, configuration by configuration."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from tuner.ablation.compiling import Group, Member
from tuner.ablation.configurations import Configuration
from tuner.study.history import TrialHistory
from tuner.study.record import TrialState

ENDED = (TrialState.COMPLETE, TrialState.STOPPED)


@dataclass(frozen=True)
class Training:
    """One training that came to its end, or was stopped because nothing was to be hoped of it."""

    seed: int
    scores: dict[str, float]  # AP of the best epoch
    epoch_s: float  # the median over its epochs, each with its evaluation
    total_s: float
    trained_per_s: float  # windows, the median over its epochs, without the evaluation


@dataclass(frozen=True)
class Measured:
    """All that is known of a configuration."""

    trainings: list[Training] = field(default_factory=list)
    missing: dict[str, int] = field(default_factory=dict)  # trainings without a number, by the state they are in

    def of(self, name: str) -> list[float]:
        """A score, or one of the fields of `Training`, seed by seed."""
        return [one.scores[name] if name in one.scores else getattr(one, name) for one in self.trainings]


def measured(groups: Sequence[tuple[Group, Sequence[TrialHistory]]]) -> dict[Configuration, Measured]:
    """What is known of each configuration; each group comes with its trials so far, by number."""
    found: dict[Configuration, Measured] = {}
    for group, trials in groups:
        for number, member in enumerate(group.members):
            entry = found.setdefault(member.configuration, Measured())
            training = _training(member, trials[number]) if number < len(trials) else None
            if training is not None:
                entry.trainings.append(training)
            else:
                state = trials[number].record.state.value if number < len(trials) else "not begun"
                entry.missing[state] = entry.missing.get(state, 0) + 1
    return found


def _training(member: Member, trial: TrialHistory) -> Training | None:
    record = trial.record
    if record.state not in ENDED or record.scores is None:
        return None
    seconds = [told.metrics["seconds"] for told in trial.epochs]
    return Training(
        seed=member.seed,
        scores=record.scores,
        epoch_s=statistics.median(seconds),
        total_s=sum(seconds),
        trained_per_s=statistics.median(told.metrics["windows_per_second"] for told in trial.epochs),
    )
