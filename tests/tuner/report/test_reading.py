"""Importance, slices and contours: what is read at one epoch, and that nothing else changes it."""

from pathlib import Path

import pytest

from tests.tuner.report.histories import SPEC, history_of, many, trial_of
from tests.tuner.search_records import spec_of
from tuner.report.importance import importance_section, importances, importances_by_epoch
from tuner.report.reading import reading_at, readings, widest
from tuner.report.settings import settings_section
from tuner.study.record import TrialState


def test_importance_at_an_epoch_does_not_change_with_trials_that_did_not_reach_it_or_went_on(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, SPEC)
    plain = many(spec, 30, epochs=2)
    space = spec.space
    alone = importances(space, reading_at(history_of(tmp_path, plain, spec), 2))
    short = many(spec, 30, epochs=1, begin=30)
    # These went on to values that hang on nothing that the others do.
    longer = [
        trial_of(spec, t.record.number, [*(v[0] for v in t.record.curve.values()), 0.9 - 0.02 * k],
                 sampled=t.record.sampled)
        for k, t in enumerate(plain[:12])
    ]  # fmt: skip
    mixed = importances(space, reading_at(history_of(tmp_path, [*longer, *plain[12:], *short], spec), 2))
    assert [(one.branch.name, one.share, one.trials) for one in mixed] == [
        (one.branch.name, one.share, one.trials) for one in alone
    ]


def test_the_parameter_that_alone_makes_the_value_has_most_of_the_importance(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, SPEC)
    shares = {
        one.branch.name: one
        for one in importances(spec.space, reading_at(history_of(tmp_path, many(spec, 40), spec), 2))
    }
    assert shares["loss.box"].share > 0.8
    assert shares["loss.focal_gamma"].share < 0.1


def test_a_conditional_parameter_is_judged_among_those_for_which_it_holds(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, SPEC)
    history = history_of(tmp_path, many(spec, 30), spec)
    trials = {one.branch.name: one.trials for one in importances(spec.space, reading_at(history, 2))}
    assert trials["loss.box"] == 30
    assert trials["optimizer.lr[optimizer.name=sgd]"] == 15  # every other one
    assert "lr [optimizer=sgd]" in importance_section(history, importances_by_epoch(history)).html


def test_importance_says_when_there_are_too_few_trials(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, SPEC)
    history = history_of(tmp_path, many(spec, 9), spec)
    html = importance_section(history, importances_by_epoch(history)).html
    assert "Too few trials: no epoch was reached by 10 of them (at most 9)" in html
    assert "<figure" not in html


def test_epochs_are_read_where_trials_left(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, SPEC)
    trials = [*many(spec, 20, epochs=2), *many(spec, 12, epochs=6, begin=20), *many(spec, 3, epochs=9, begin=32)]
    history = history_of(tmp_path, trials, spec)
    assert [(one.epoch, len(one.reads)) for one in readings(history)] == [(6, 15), (2, 35)]
    broadest = widest(history)
    assert broadest is not None
    assert (broadest.epoch, len(broadest.reads)) == (2, 35)


def test_repeats_and_heirs_are_not_read(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, SPEC)
    trials = [*many(spec, 3), trial_of(spec, 3, [0.5, 0.5], repeats=1)]
    assert [read.trial.number for read in reading_at(history_of(tmp_path, trials, spec), 2).reads] == [0, 1, 2]


@pytest.mark.parametrize("count", [0, 1])
def test_settings_say_when_there_is_nothing_to_compare(tmp_path: Path, count: int) -> None:
    spec = spec_of(tmp_path, SPEC)
    html = settings_section(history_of(tmp_path, many(spec, count), spec), []).html
    assert "Fewer than two trials" in html
    assert "<figure" not in html


def test_trials_without_a_value_leave_the_settings_to_the_others(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, SPEC)
    trials = [*many(spec, 12), trial_of(spec, 12, [], TrialState.FAILED, error="gone")]
    assert "12 trials after epoch 2" in settings_section(history_of(tmp_path, trials, spec), []).html
