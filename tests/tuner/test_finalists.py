"""Finalists: who is trained again, and what their spread says, against scipy and paper and pencil."""

import math
from pathlib import Path

import pytest
from scipy import stats

from tests.tuner.search_records import SPEC, record, spec_of
from tuner.finalists import Finalist, finalists, next_repeat, verdict
from tuner.result import SearchResult
from tuner.spec.search_spec import SearchSpec
from tuner.study.record import TrialKind, TrialRecord, TrialState

REPEATING = SPEC + "repeat: {top: 2, seeds: 2}\n"


def repeated(folder: Path) -> tuple[list[TrialRecord], SearchSpec]:
    spec = spec_of(folder, REPEATING)
    records = [record(spec, 0, [0.3]), record(spec, 1, [0.9]), record(spec, 2, [0.8])]
    for number, repeats, value in ((3, 1, 0.60), (4, 2, 0.71), (5, 1, 0.62), (6, 2, 0.73)):
        seed = 1 if number < 5 else 2
        records.append(record(spec, number, [value], repeats=repeats, sampled={"training.seed": seed}))
    return records, spec


def test_the_best_are_repeated_seed_by_seed_and_nothing_after_the_last(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, REPEATING)
    records = [
        record(spec, 0, [0.3]),
        record(spec, 1, [0.9], TrialState.STOPPED),  # never had the whole budget
        record(spec, 2, [0.8], violation=0.1),  # breaks a constraint
        record(spec, 3, [0.6]),
        record(spec, 4, [0.7], sampled={"loss.box": 3.0}),
    ]
    asked = []
    while (origin := next_repeat(spec, records)) is not None:
        asked.append((origin.repeats, origin.sampled))
        records.append(record(spec, len(records), [0.5], repeats=origin.repeats, sampled=origin.sampled))
    assert asked == [
        (4, {"loss.box": 3.0, "training.seed": 1}),
        (3, {"training.seed": 1}),
        (4, {"loss.box": 3.0, "training.seed": 2}),
        (3, {"training.seed": 2}),
    ]


def test_a_trial_s_own_lucky_value_does_not_count_once_it_was_repeated(tmp_path: Path) -> None:
    records, spec = repeated(tmp_path)
    result = SearchResult("tiny-1", tmp_path, spec, records)
    assert result.best is not None
    assert result.best.number == 2  # .72 in the mean of two, against .61 of the one that had .9 before


def test_bounds_are_of_the_spread_of_all_finalists_together(tmp_path: Path) -> None:
    records, spec = repeated(tmp_path)
    first, second = finalists(spec, records)
    # Both pairs lie .01 around their means: s^2 = (2 * .01^2 + 2 * .01^2) / 2, two degrees of freedom, n = 2.
    margin = stats.t.ppf(0.95, 2) * math.sqrt(2e-4) / math.sqrt(2)
    assert (first.number, first.repeats, second.repeats) == (2, (4, 6), (3, 5))
    assert first.mean == pytest.approx(0.72)
    assert first.lower == pytest.approx(0.72 - margin)


def test_the_verdict_is_welch_s(tmp_path: Path) -> None:
    records, spec = repeated(tmp_path)
    found = verdict(finalists(spec, records))
    assert found is not None
    # t = .11 / sqrt(s1^2/2 + s2^2/2) = .11 / .01414 = 7.78; equal spreads of two each have two degrees of freedom.
    expected = 2 * stats.t.sf(0.11 / math.sqrt(2e-4 / 2 + 2e-4 / 2), 2)
    assert (found.winner, found.runner_up) == (2, 1)
    assert found.p_value == pytest.approx(expected)
    assert found.differs is bool(expected < 0.05)


def test_with_one_repeat_each_nothing_is_claimed() -> None:
    ranked = [Finalist(1, (3,), (0.7,), 0.7, math.nan), Finalist(2, (4,), (0.6,), 0.6, math.nan)]
    found = verdict(ranked)
    assert found is not None
    assert math.isnan(found.p_value)
    assert not found.differs
    assert verdict(ranked[:1]) is None


def test_a_repeat_that_came_to_nothing_is_left_out_and_not_asked_for_again(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, SPEC + "repeat: {top: 1, seeds: 1}\n")
    records = [record(spec, 0, [0.3])]
    failed = record(spec, 1, [], TrialState.FAILED, repeats=0, sampled={"training.seed": 1})
    assert failed.origin.kind is TrialKind.REPEAT
    assert next_repeat(spec, [*records, failed]) is None
    assert finalists(spec, [*records, failed]) == []
