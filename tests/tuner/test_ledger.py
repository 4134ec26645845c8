"""What has been spent, and whether the rest is enough: by paper and pencil."""

from pathlib import Path

import pytest

from tests.tuner.search_records import SPEC, record, spec_of
from tuner.ledger import Ledger, Spent, plateaued
from tuner.plan import estimate, expected_epochs, plan
from tuner.schedulers.none import NeverStops
from tuner.study.record import Origin, TrialState


def budgeted(folder: Path, budget: str, resources: str = "{gpus: 0.5}") -> Ledger:
    text = SPEC.replace("{trials: 9, epochs: 4}", f"{{trials: 9, epochs: 4, {budget}}}")
    return Ledger(spec_of(folder, text + f"resources: {resources}\n"), earlier_s=1800, clock=lambda: 100.0)


def test_a_restored_ledger_counts_trials_epochs_gpu_time_and_money(tmp_path: Path) -> None:
    ledger = budgeted(tmp_path, "hours: 10")
    spec = spec_of(tmp_path)
    again = record(spec, 2, [0.1] * 4, repeats=0, busy_s=3600.0, cost=2.0)
    ledger.restore([record(spec, 0, [0.1, 0.2], busy_s=7200.0, cost=1.5), record(spec, 1, []), again])
    # Repeats cost, and are no trials of the budget. Half a GPU for three hours.
    assert ledger.spent == Spent(trials=2, epochs=6, hours=0.5, gpu_hours=1.5, money=3.5)


@pytest.mark.parametrize(
    ("budget", "over"),
    [
        ("total_epochs: 6", "budget.total_epochs=6 is spent"),
        ("total_epochs: 7", None),
        ("hours: 0.5", "budget.hours=0.5 is spent"),
        ("hours: 0.51", None),
        ("gpu_hours: 1.5", "budget.gpu_hours=1.5 is spent"),
        ("gpu_hours: 1.6", None),
        ("money: 3.5, prices: {default: 1}", "budget.money=3.5 is spent"),
        ("money: 3.6, prices: {default: 1}", None),
    ],
)
def test_each_budget_is_over_when_it_is_reached(tmp_path: Path, budget: str, over: str | None) -> None:
    ledger = budgeted(tmp_path, budget)
    spec = spec_of(tmp_path)
    ledger.restore([record(spec, 0, [0.1] * 6, busy_s=10800.0, cost=3.5)])
    assert ledger.over() == over


@pytest.mark.parametrize(
    ("budget", "affords"),
    [
        # Ten epochs so far, of 360 s each: two more take 0.2 hours on the clock, 0.1 GPU hours, and 0.2 of money.
        ("hours: 0.69", False),
        ("hours: 0.71", True),
        ("gpu_hours: 0.59", False),
        ("gpu_hours: 0.61", True),
        ("money: 1.19, prices: {default: 1}", False),
        ("money: 1.21, prices: {default: 1}", True),
        ("total_epochs: 11", False),
        ("total_epochs: 12", True),
    ],
)
def test_a_trial_is_begun_only_if_it_can_reach_its_first_rung(tmp_path: Path, budget: str, affords: bool) -> None:
    ledger = budgeted(tmp_path, budget)  # grace is 2
    spec = spec_of(tmp_path)
    ledger.restore([record(spec, 0, [0.1] * 10, busy_s=3600.0, cost=1.0)])
    assert ledger.affords_trial([]) is affords


def test_what_running_trials_still_need_is_set_aside(tmp_path: Path) -> None:
    ledger = budgeted(tmp_path, "total_epochs: 12")
    spec = spec_of(tmp_path)
    done, running = record(spec, 0, [0.1] * 9, busy_s=1.0), record(spec, 1, [0.1], TrialState.RUNNING, busy_s=1.0)
    ledger.restore([done, running])
    # 10 of 12 are spent, and the running one has one epoch to its rung: of the two of a new trial one is missing.
    assert not ledger.affords_trial([running])
    assert ledger.affords(1, [running])


def test_a_search_has_a_plateau_when_late_trials_bring_and_promise_nothing(tmp_path: Path) -> None:
    text = SPEC.replace("{trials: 9, epochs: 4}", "{trials: 9, epochs: 4, plateau: {trials: 2, min_gain: 0.01}}")
    spec = spec_of(tmp_path, text)
    first = record(spec, 0, [0.5])
    assert plateaued([first, record(spec, 1, [0.505]), record(spec, 2, [0.1])], spec) is not None
    assert plateaued([first, record(spec, 1, [0.505])], spec) is None  # two are not after the first yet
    assert plateaued([first, record(spec, 1, [0.511]), record(spec, 2, [0.1])], spec) is None
    hopeful = record(spec, 2, [0.1])
    hopeful = type(hopeful)(2, Origin({}, expected_gain=0.02), hopeful.default, hopeful.state, hopeful.curve, 1)
    assert plateaued([first, record(spec, 1, [0.5]), hopeful], spec) is None


def test_the_plan_adds_up_what_survives_each_rung(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, SPEC.replace("trials: 9, epochs: 4", "trials: 10, epochs: 9"))
    # The default's 9; of nine others each 2, a third of them 4 more, a ninth 3 more after epoch 6.
    assert expected_epochs(spec, [2, 6]) == 9 + 9 * 2 + 3 * 4 + 1 * 3
    assert "10 trials of up to 9 epochs" in plan(spec, NeverStops(), 2)


def test_the_estimate_is_what_is_left_at_the_pace_so_far(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, SPEC.replace("trials: 9, epochs: 4", "trials: 5, epochs: 10"))
    ledger = Ledger(spec, clock=lambda: 0.0)
    assert estimate(spec, NeverStops(), ledger, 2) is None
    ledger.restore([record(spec, 0, [0.1] * 10, busy_s=600.0)])
    # 40 of 50 epochs at 60 s on two workers.
    assert estimate(spec, NeverStops(), ledger, 2) == ("estimate: 60.0 s an epoch; 40 epochs to come take about 20 min")
