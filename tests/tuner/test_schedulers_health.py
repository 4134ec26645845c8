"""Trainings without hope: which findings end one, how often they must be seen, and what clears them."""

import pytest

from data.audit.rules import Severity
from model.diagnosis.diagnose import Diagnosis
from model.diagnosis.findings import Cause, Finding
from tuner.schedulers.health import Health


def line(cause: Cause, severity: Severity = Severity.ERROR) -> str:
    """What a report's diagnosis says of a finding."""
    finding = Finding(severity, cause, "backbone.stages.0", "fires 1e-06 spikes a step", 1e-6, 1e-4)
    return Diagnosis(None, (finding, finding)).line()  # type: ignore[arg-type] # without findings alone are signs told


def seen(health: Health, epoch: int, diagnosis: str | None = None, number: int = 0, **metrics: float) -> str | None:
    healthy = {"epoch": epoch, "map": 0.0, "loss": 5.0, "steps": 100, "skipped_steps": 0}
    return health.verdict(number, {**healthy, **metrics}, diagnosis)


@pytest.mark.parametrize("cause", [Cause.DEAD_LAYER, Cause.SATURATED_LAYER, Cause.NOT_FINITE])
def test_a_net_found_dead_or_saturated_twice_in_a_row_is_given_up(cause: Cause) -> None:
    health = Health()
    assert seen(health, 1, line(cause)) is None
    told = seen(health, 2, line(cause))
    assert told == f"hopeless after epoch 2: {cause.value}: backbone.stages.0: fires 1e-06 spikes a step (and 1 more)"


def test_epochs_without_a_diagnosis_neither_confirm_nor_clear_it() -> None:
    health = Health()
    assert [seen(health, 2, line(Cause.DEAD_LAYER)), seen(health, 3)] == [None, None]
    assert seen(health, 4, line(Cause.DEAD_LAYER)) is not None


def test_a_net_that_woke_between_two_looks_is_kept() -> None:
    health = Health()
    dead, sound = line(Cause.DEAD_LAYER), "no fault found: layers fire 0.01 to 0.2 spikes a step"
    assert [seen(health, 1, dead), seen(health, 2, sound), seen(health, 4, dead)] == [None, None, None]


@pytest.mark.parametrize(
    "cause", [cause for cause in Cause if cause not in ("dead-layer", "saturated-layer", "not-finite")]
)
def test_faults_of_the_data_and_those_that_time_heals_end_no_trial(cause: Cause) -> None:
    health = Health()
    assert [seen(health, epoch, line(cause)) for epoch in (1, 2, 4, 8)] == [None] * 4


def test_a_warning_ends_no_trial() -> None:
    health = Health()
    told = line(Cause.DEAD_LAYER, Severity.WARNING)
    assert [seen(health, 1, told), seen(health, 2, told)] == [None, None]


def test_a_net_that_finds_objects_is_judged_by_what_it_finds() -> None:
    health = Health()
    seen(health, 1, line(Cause.DEAD_LAYER))
    assert seen(health, 2, line(Cause.DEAD_LAYER), map=0.002) is None
    assert seen(health, 4, line(Cause.DEAD_LAYER)) is None  # counted from anew


def test_a_loss_ten_times_its_lowest_is_given_up_when_it_stays_there() -> None:
    health = Health()
    assert seen(health, 1, loss=5.0) is None
    assert seen(health, 2, loss=51.0) is None
    assert seen(health, 3, loss=49.0) is None  # it came back below 50
    assert seen(health, 4, loss=51.0) is None
    assert seen(health, 5, loss=80.0) == "hopeless after epoch 5: the loss is 80, and was 5"


def test_epochs_that_skip_most_of_their_steps_are_given_up() -> None:
    health = Health()
    assert [seen(health, epoch, skipped_steps=50) for epoch in (1, 2)] == [None, None]
    assert seen(health, 3, skipped_steps=51) is None
    told = seen(health, 4, skipped_steps=60)
    assert told == "hopeless after epoch 4: 60 of 100 steps had numbers that were not finite"


def test_each_trial_is_looked_at_alone_and_an_epoch_told_again_is_no_second_look() -> None:
    health = Health()
    dead = line(Cause.DEAD_LAYER)
    assert [seen(health, 1, dead, number) for number in (0, 1)] == [None, None]
    assert seen(health, 1, dead, number=0) is None
    assert seen(health, 2, dead, number=1) is not None
