"""ASHA's rungs worked out by hand, and the default trial that is never stopped."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from tuner.asha import ProtectiveASHA, scheduler
from tuner.spec import load_spec

SPEC = """\
name: tiny
space: {loss.box: {uniform: [2, 15]}}
scheduler: {name: asha, grace: 2, reduction_factor: 3}
budget: {trials: 9, epochs: 9}
"""


@dataclass
class FakeTrial:
    """What the scheduler reads of a Ray trial."""

    number: int
    config: dict[str, Any] = field(init=False)
    trial_id: str = field(init=False)

    def __post_init__(self) -> None:
        self.config = {"number": self.number}
        self.trial_id = str(self.number)


@pytest.fixture
def asha(tmp_path: Path) -> ProtectiveASHA:
    (tmp_path / "spec.yaml").write_text(SPEC)
    return ProtectiveASHA(load_spec(tmp_path / "spec.yaml"))


def report(asha: ProtectiveASHA, trial: FakeTrial, epoch: int, value: float) -> str:
    return asha.on_trial_result(None, trial, {"epoch": epoch, "map": value})


def added(asha: ProtectiveASHA, number: int) -> FakeTrial:
    trial = FakeTrial(number)
    asha.on_trial_add(None, trial)
    return trial


def test_a_trial_is_stopped_at_a_rung_where_it_is_below_the_upper_third(asha: ProtectiveASHA) -> None:
    # Rungs at 2 and 2 * 3 = 6. Values at the first: .1, .2, .3, .4; two thirds of the way up (linear): .3.
    for number, value in enumerate((0.1, 0.2, 0.3, 0.4), start=1):
        assert report(asha, added(asha, number), 2, value) == TrialScheduler.CONTINUE
    below, above = added(asha, 5), added(asha, 6)
    assert report(asha, below, 1, 0.0) == TrialScheduler.CONTINUE  # no rung yet
    assert report(asha, below, 2, 0.29) == TrialScheduler.STOP
    # Now .1, .2, .29, .3, .4: the cut-off is at place 4 * 2/3 = 2.67, .29 + .67 * .01 = .2967.
    assert report(asha, above, 2, 0.297) == TrialScheduler.CONTINUE


def test_the_default_trial_is_never_stopped_before_its_last_epoch(asha: ProtectiveASHA) -> None:
    default = added(asha, 0)
    for number, value in enumerate((0.5, 0.6, 0.7), start=1):
        rival = added(asha, number)
        report(asha, rival, 2, value)
        report(asha, rival, 6, value)
    for epoch in range(1, 9):
        assert report(asha, default, epoch, 0.01) == TrialScheduler.CONTINUE
    assert report(asha, default, 9, 0.01) == TrialScheduler.STOP  # its budget is spent


def test_the_default_trial_counts_at_the_rungs(asha: ProtectiveASHA) -> None:
    report(asha, added(asha, 0), 2, 0.5)
    assert report(asha, added(asha, 1), 2, 0.4) == TrialScheduler.STOP


def test_without_a_scheduler_nothing_is_stopped(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC.replace("name: asha, grace: 2, reduction_factor: 3", "name: none"))
    assert type(scheduler(load_spec(tmp_path / "spec.yaml"))) is FIFOScheduler


def test_with_phases_trials_are_compared_where_a_phase_ends_and_nowhere_else(tmp_path: Path) -> None:
    phases = "base: {training.phases: [{epochs: 2, scale: 0.5}, {epochs: 3, time_steps: 2, recordings: 0.5}]}\n"
    text = SPEC.replace("grace: 2, reduction_factor: 3", "fidelity: phases, reduction_factor: 2")
    (tmp_path / "spec.yaml").write_text(phases + text)
    asha = ProtectiveASHA(load_spec(tmp_path / "spec.yaml"))
    # The phases end after epochs 2 and 2 + 3 = 5; half of the trials survive. Powers of 2 would be 2, 4, 8.
    best = added(asha, 1)
    for epoch in range(1, 9):
        assert report(asha, best, epoch, 0.4 if epoch in (2, 5) else 0.0) == TrialScheduler.CONTINUE
    later = added(asha, 2)
    assert report(asha, later, 2, 0.41) == TrialScheduler.CONTINUE
    assert report(asha, later, 4, 0.0) == TrialScheduler.CONTINUE
    assert report(asha, later, 5, 0.39) == TrialScheduler.STOP
    # The first rung holds .4 and .41, whose median is .405.
    assert report(asha, added(asha, 3), 2, 0.404) == TrialScheduler.STOP


def test_a_report_without_an_epoch_stops_no_trial(asha: ProtectiveASHA) -> None:
    for number in (0, 1):
        assert asha.on_trial_result(None, added(asha, number), {"map": math.nan}) == TrialScheduler.CONTINUE
