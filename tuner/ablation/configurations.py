"""Which configurations an ablation trains, and which two of them each row of its tables compares."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from data.errors import ConfigError
from model.trial_config import TrialConfig
from tuner.ablation.loading import Ablation, Step
from tuner.ablation.spec import Design
from tuner.spec.sections import Resources

BASELINE, ALL = "baseline", "all improvements"


@dataclass(frozen=True)
class Configuration:
    """What is trained, with each of the seeds; two that are equal are trained once."""

    config: TrialConfig
    resources: Resources


@dataclass(frozen=True)
class Row:
    """A line of a table: a configuration, and the two whose difference is what the improvement brings."""

    design: Design
    name: str
    configuration: Configuration
    before: Configuration | None = None  # without the improvement
    after: Configuration | None = None  # with it
    claimed: str = ""


def rows_of(ablation: Ablation) -> list[Row]:
    """The rows of all tables, design by design.

    Raises:
        ConfigError: the configuration refuses a combination, or an improvement changes nothing; with its line.
    """
    rows: list[Row] = []
    for design in ablation.file.designs:
        rows += _ROWS[design](ablation)
    return rows


def distinct(rows: Sequence[Row]) -> dict[Configuration, str]:
    """The configurations to train, in the order in which they come first, with the names they have there."""
    names: dict[Configuration, str] = {}
    for row in rows:
        names.setdefault(row.configuration, row.name)
    return names


def _cumulative(ablation: Ablation) -> Iterator[Row]:
    before = _base(ablation)
    yield Row(Design.CUMULATIVE, BASELINE, before)
    for step in ablation.steps:
        after = _with(before, step)
        yield Row(Design.CUMULATIVE, f"+ {step.name}", after, before, after, step.claimed)
        before = after


def _leave_one_out(ablation: Ablation) -> Iterator[Row]:
    full = _base(ablation)
    for step in ablation.steps:
        full = _with(full, step)
    yield Row(Design.LEAVE_ONE_OUT, ALL, full)
    for left_out in ablation.steps:
        # Without the checks of each: what a step leaves out of another may be refused only between the two.
        others = [step for step in ablation.steps if step is not left_out]
        without = _all_of(_base(ablation), others, left_out)
        if without == full:
            raise ConfigError(f"{left_out.where}: a later improvement sets all of '{left_out.name}' again; drop one")
        yield Row(Design.LEAVE_ONE_OUT, f"without {left_out.name}", without, without, full, left_out.claimed)


def _one_at_a_time(ablation: Ablation) -> Iterator[Row]:
    base = _base(ablation)
    yield Row(Design.ONE_AT_A_TIME, BASELINE, base)
    for step in ablation.steps:
        alone = _with(base, step)
        yield Row(Design.ONE_AT_A_TIME, step.name, alone, base, alone, step.claimed)


_ROWS = {
    Design.CUMULATIVE: _cumulative,
    Design.LEAVE_ONE_OUT: _leave_one_out,
    Design.ONE_AT_A_TIME: _one_at_a_time,
}


def _base(ablation: Ablation) -> Configuration:
    return Configuration(ablation.base, ablation.resources)


def _with(before: Configuration, step: Step) -> Configuration:
    after = _all_of(before, [step], step)
    if after == before:
        raise ConfigError(f"{step.where}: '{step.name}' changes nothing there; set another value, or drop it")
    return after


def _all_of(base: Configuration, steps: Sequence[Step], told: Step) -> Configuration:
    """The base with these steps; `told` is whose line an error names."""
    leaves = {leaf: value for step in steps for leaf, value in step.leaves.items()}
    resources = {name: value for step in steps for name, value in step.resources.items()}
    # Only what was given: an explicit null is not the same as nothing to those that write it down.
    given = base.resources.model_dump(exclude_unset=True)
    return Configuration(
        base.config.with_leaves(leaves, told.where), Resources.parse({**given, **resources}, told.where)
    )
