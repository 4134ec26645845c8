"""What the sections tell, by paper and pencil."""

from pathlib import Path

import numpy as np
import pytest

from data.errors import InputError
from tests.tuner.report.histories import SPEC, UNEXAMINED, history_of, many, trial_of
from tests.tuner.search_records import spec_of
from tuner.examination.examination import Examination
from tuner.intervals import mean_interval
from tuner.report.answer import answer_section
from tuner.report.comparison import comparison_sections, incomparable, write_comparison
from tuner.report.course import course_section
from tuner.report.curves import compared_at, curves_section
from tuner.report.search_report import search_sections
from tuner.report.spending import rise
from tuner.report.trade import constraints_section, excesses, trade_section
from tuner.report.trials import error_groups, states_section
from tuner.samplers.several import front
from tuner.spec.objective import Constraint
from tuner.study.record import TrialState


def test_an_empty_search_says_so_in_every_section_and_draws_nothing(tmp_path: Path) -> None:
    sections = search_sections(history_of(tmp_path, []), UNEXAMINED)
    assert all("<figure" not in section.html for section in sections)
    assert all('class="nothing"' in s.html for s in sections if s.anchor not in ("reproduce", "winner"))


@pytest.mark.parametrize(
    ("scheduler", "epochs", "rungs"),
    [
        ("{name: asha, grace: 2, reduction_factor: 3}", 27, (2, 6, 18)),
        ("{name: hyperband, grace: 1, reduction_factor: 3}", 9, (1, 3)),
        ("{name: promotion, grace: 4, reduction_factor: 2}", 16, (4, 8)),
        ("{name: none}", 9, ()),
        ("{name: median, grace: 3}", 9, ()),
    ],
)
def test_rungs_are_where_the_scheduler_compares(
    tmp_path: Path, scheduler: str, epochs: int, rungs: tuple[int, ...]
) -> None:
    text = f"name: tiny\nspace: {{loss.box: {{uniform: [2, 15]}}}}\nscheduler: {scheduler}\n"
    spec = spec_of(tmp_path, f"{text}budget: {{trials: 9, epochs: {epochs}}}\n")
    assert compared_at(spec) == rungs
    html = curves_section(history_of(tmp_path, [trial_of(spec, 0, [0.1, 0.2])], spec)).html
    assert [f'"rung {epoch}"' in html for epoch in range(1, epochs + 1)] == [e in rungs for e in range(1, epochs + 1)]


def test_the_front_is_what_no_point_beats_in_both() -> None:
    # The third is beaten by the second, the last by the first; equal ones do not beat one another.
    points = [(0.9, -5.0), (0.7, -2.0), (0.6, -3.0), (0.2, -1.0), (0.7, -2.0), (0.9, -6.0)]
    assert front(np.array(points)).tolist() == [0, 1, 3, 4]


def test_the_best_so_far_rises_with_the_epochs_spent(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    trials = [
        trial_of(spec, 0, [0.1, 0.3], told_s=[10.0, 30.0]),
        trial_of(spec, 1, [0.2, 0.25], told_s=[20.0, 40.0]),
    ]
    found = rise(history_of(tmp_path, trials, spec))
    # No worker's begin is known: in the order of trials .1, .3, .2, .25, the last of which only closes the line.
    assert (found.epochs, found.best, found.trials) == ((1, 2, 4), (0.1, 0.3, 0.3), (0, 0, 0))
    assert found.hours is None


def test_a_bound_is_broken_by_what_was_measured_and_by_what_was_said_before_training(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, SPEC + "constraints: [parameters <= 100]\n")
    bound = Constraint("parameters", at_most=True, bound=100.0)
    trials = [
        trial_of(spec, 0, [0.1], TrialState.COMPLETE),  # reported none
        trial_of(
            spec, 1, [], TrialState.INFEASIBLE, error="parameters is 150, must be parameters <= 100", violation=0.5
        ),
        trial_of(
            spec, 2, [], TrialState.INFEASIBLE, error="parameters is 120, must be parameters <= 100", violation=0.2
        ),
    ]
    history = history_of(tmp_path, trials, spec)
    assert excesses(history.result, bound) == pytest.approx([0.5, 0.2])
    html = constraints_section(history).html
    assert "2 of 3 trials broke at least one bound" in html
    assert ">35.0<" in html  # the median of 50 % and 20 %
    assert ">50.0<" in html


def test_costs_are_set_against_the_objective(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, SPEC + "objective: {metric: map, also: [{metric: energy_uj, mode: min}]}\n")
    trials = [trial_of(spec, 0, [(0.5, 5.0)]), trial_of(spec, 1, [(0.4, 9.0)])]
    for trial in trials:
        assert trial.record.metrics is not None
        trial.record.metrics["energy_uj"] = trial.record.values[1]  # type: ignore[index]
    html = trade_section(history_of(tmp_path, trials, spec)).html
    assert "Trials on the front over all of them: 0." in html
    assert "energy (µJ a window)" in html


def test_errors_are_grouped_by_their_words_and_not_by_their_numbers(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    errors = ["epoch 3: loss is nan", "epoch 4: loss is nan", "no such file"]
    trials = [trial_of(spec, k, [], TrialState.FAILED, error=text) for k, text in enumerate(errors)]
    history = history_of(tmp_path, trials, spec)
    assert [[trial.number for trial in group] for group in error_groups(history.result)] == [[0, 1], [2]]
    assert "epoch 3: loss is nan" in states_section(history).html


def test_the_interval_of_repeats_is_students(tmp_path: Path) -> None:
    # Mean 2, standard deviation 1, three values: t(.975, 2) = 4.303, over the root of 3.
    interval = mean_interval([1.0, 2.0, 3.0])
    assert interval == pytest.approx((2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-3)
    assert mean_interval([1.0]) is None


def test_the_answer_names_winner_difference_and_cost(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    trials = [
        trial_of(spec, 0, [0.1, 0.2], busy_s=1800.0),
        trial_of(spec, 1, [0.3, 0.5], sampled={"loss.box": 7.0, "optimizer.name": "sgd"}, busy_s=5400.0),
    ]
    html = answer_section(history_of(tmp_path, trials, spec), UNEXAMINED).html
    for told in (
        "trial 1: box=7 optimizer=sgd", "mAP (0 to 1) 0.5 at epoch 2", "has 0.2", "+0.3",
        "2 trials (0 without a value), 4 epochs, 2.00 h on workers", "no GPU", "no interval is known",
        "not measured yet",
    ):  # fmt: skip
        assert told in html
    intervals = {"unit": "windows", "map": [0.4, 0.6], "default_map": None, "difference": [0.1, 0.45]}
    cost = {"energy_uj": 88.5, "latency_ms": 12.5, "parameters": 1_021_848}
    examined = Examination(tmp_path, {"intervals": intervals, "cost": cost})
    html = answer_section(history_of(tmp_path, trials, spec), examined).html
    assert "95 % interval of mAP over windows 0.4 to 0.6" in html
    assert "95 % interval of mAP over windows of +0.1 to +0.45" in html
    assert "no interval is known" not in html
    for told in ("energy 88.5 µJ a window", "latency 12.5 ms", "parameters 1.022 million weights"):
        assert told in html


def test_the_interval_is_of_the_kept_checkpoint_where_the_answer_is_of_repeats(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    trials = [trial_of(spec, 0, [0.2]), trial_of(spec, 1, [0.5]), trial_of(spec, 2, [0.4], repeats=1)]
    intervals = {"unit": "windows", "map": [0.4, 0.6], "default_map": None, "difference": [0.25, 0.35]}
    examined = Examination(tmp_path, {"intervals": intervals, "cost": {}})
    html = answer_section(history_of(tmp_path, trials, spec), examined).html
    assert (
        "the repeats&#39; mean differs from that by +0.2; the kept checkpoint&#39;s own lead has a 95 % interval"
        in html
    )


def test_searches_with_other_objectives_windows_or_data_are_not_to_be_compared(tmp_path: Path) -> None:
    one = history_of(tmp_path, [], spec_of(tmp_path))
    other = history_of(tmp_path, [], spec_of(tmp_path, SPEC + "objective: {windows: 7}\n"))
    assert incomparable([one, one]) == []
    (why,) = incomparable([one, other])
    assert why.startswith("windows differs")
    assert "cannot be compared" in comparison_sections([one, other])[0].html
    assert "can be compared" in comparison_sections([one, one])[0].html


def test_specifications_are_set_side_by_side_where_they_differ(tmp_path: Path) -> None:
    spec, other = spec_of(tmp_path, SPEC), spec_of(tmp_path, SPEC.replace("trials: 40", "trials: 41"))
    html = comparison_sections([history_of(tmp_path, many(spec, 2), spec), history_of(tmp_path, [], other)])[2].html
    assert "budget.trials" in html
    assert "budget.epochs" not in html
    assert "loss.box" not in html


def test_a_search_is_not_compared_with_itself(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is given twice"):
        write_comparison([tmp_path, tmp_path])


def test_the_course_has_no_hours_where_the_study_has_no_times(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    html = course_section(history_of(tmp_path, [trial_of(spec, 0, [0.1])], spec)).html
    assert html.count("<figure") == 2
    assert "no curve over hours" in html
