"""Finalists: the best trials again with other seeds, and what their spread says of the winner."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

from tuner.intervals import CONFIDENCE
from tuner.spec.search_spec import SearchSpec
from tuner.study.record import UNFINISHED, Origin, TrialKind, TrialRecord, TrialState

SEED = "training.seed"


@dataclass(frozen=True)
class Finalist:
    """A configuration that was trained again.

    Its own trial is left out of the mean: it was chosen for being high, so its value is too high to expect.
    """

    number: int  # of the trial that is repeated
    repeats: tuple[int, ...]  # numbers of the trials that came to a value
    values: tuple[float, ...]  # theirs, larger is better
    mean: float
    lower: float  # one-sided confidence bound of the mean, from the spread of all finalists together; nan if unknown


@dataclass(frozen=True)
class Verdict:
    """Whether the winner differs from the runner-up."""

    winner: int
    runner_up: int
    difference: float  # of the means
    p_value: float  # Welch's t-test (Welch 1947), two-sided; nan where a finalist has a single repeat

    @property
    def differs(self) -> bool:
        """At 5 %."""
        return self.p_value < 1 - CONFIDENCE

    @property
    def told(self) -> str:
        """What stands between the two in a sentence."""
        return "differs from" if self.differs else "does not differ significantly from"


def next_repeat(spec: SearchSpec, records: Sequence[TrialRecord]) -> Origin | None:
    """The next repeat to train: seed by seed, so that an early end leaves all finalists with as many; None if done."""
    if spec.file.repeat is None:
        return None
    top = leading(spec, records)[: spec.file.repeat.top]
    for turn in range(1, spec.file.repeat.seeds + 1):
        for record in top:
            seed = record.seed + turn
            if not any(r.origin.repeats == record.number and r.sampled[SEED] == seed for r in records):
                return Origin({**record.sampled, SEED: seed}, TrialKind.REPEAT, record.number)
    return None


def leading(spec: SearchSpec, records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The search's complete trials that keep the constraints, best first."""
    worth = spec.file.objective.worth
    complete = [r for r in records if r.state is TrialState.COMPLETE and r.origin.kind is TrialKind.SEARCH]
    kept = [record for record in complete if record.violation == 0 and record.best_epoch is not None]
    return sorted(kept, key=lambda record: (-worth(record.values), record.number))


def finalists(spec: SearchSpec, records: Sequence[TrialRecord]) -> list[Finalist]:
    """Those that were trained again, best lower bound first, by mean where there is no bound."""
    worth = spec.file.objective.worth
    groups: dict[int, list[TrialRecord]] = {}
    for record in records:
        if record.origin.repeats is not None and record.best_epoch is not None and record.state not in UNFINISHED:
            groups.setdefault(record.origin.repeats, []).append(record)
    values = {number: [worth(record.values) for record in group] for number, group in groups.items()}
    spread, freedom = _pooled(list(values.values()))
    found = []
    for number, group in groups.items():
        mean = statistics.fmean(values[number])
        margin = stats.t.ppf(CONFIDENCE, freedom) * spread / math.sqrt(len(group)) if freedom else math.nan
        numbers = tuple(record.number for record in group)
        found.append(Finalist(number, numbers, tuple(values[number]), mean, mean - float(margin)))
    return sorted(found, key=lambda one: (-one.mean if math.isnan(one.lower) else -one.lower, one.number))


def verdict(ranked: Sequence[Finalist]) -> Verdict | None:
    """The winner against the runner-up; None without a runner-up."""
    if len(ranked) < 2:
        return None
    first, second = ranked[:2]
    p_value = math.nan
    if min(len(first.values), len(second.values)) > 1:
        p_value = float(stats.ttest_ind(first.values, second.values, equal_var=False).pvalue)
    return Verdict(first.number, second.number, first.mean - second.mean, p_value)


def _pooled(groups: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Standard deviation within groups, and its degrees of freedom."""
    freedom = sum(len(group) - 1 for group in groups)
    if freedom == 0:
        return math.nan, 0
    squares = sum(sum((value - statistics.fmean(group)) ** 2 for value in group) for group in groups)
    return math.sqrt(squares / freedom), freedom
