"""Lanes, idle share and faults, by paper and pencil."""

from pathlib import Path

import pytest

from tests.tuner.report.histories import history_of, trial_of
from tests.tuner.search_records import spec_of
from tuner.history import SearchHistory
from tuner.report.occupancy import Occupancy, occupancy
from tuner.report.workers import workers_section
from tuner.schedulers.decision import Decision
from tuner.study.history import UNKNOWN_NODE, Leg
from tuner.study.record import TrialState

PAUSE, GO = Decision.PAUSE, Decision.CONTINUE


def known(history: SearchHistory) -> Occupancy:
    found = occupancy(history)
    assert found is not None
    return found


def two_lanes(folder: Path) -> SearchHistory:
    """Lane 1: trial 0 to 40 s. Lane 2: trial 1 to 20 s, which pauses; trial 2 from 30 to 40 s, its worker lost."""
    spec = spec_of(folder)
    return history_of(
        folder,
        [
            trial_of(spec, 0, [0.1, 0.2], legs=[Leg(1, "a", 0, 1000.0)], told_s=[1020.0, 1040.0], ended_s=1040.0),
            # It waits at its rung and is ended only with the search; a worker is not its any more.
            trial_of(
                spec, 1, [0.1], TrialState.STOPPED,
                legs=[Leg(1, "a", 0, 1000.0)], told_s=[1020.0], decisions=[PAUSE], ended_s=1050.0,
            ),
            trial_of(
                spec, 2, [0.1, 0.3], legs=[Leg(1, "a", 0, 1030.0), Leg(2, "b", 1, 1045.0)],
                told_s=[1040.0, 1050.0], decisions=[GO, GO], ended_s=1050.0,
            ),
        ],
    )  # fmt: skip


def test_bars_are_what_workers_were_busy_with(tmp_path: Path) -> None:
    bars = known(two_lanes(tmp_path)).bars
    assert [(bar.trial.number, bar.leg.node, bar.lane, bar.start_s, bar.end_s) for bar in bars] == [
        (0, "a", 0, 1000.0, 1040.0),
        (1, "a", 1, 1000.0, 1020.0),
        (2, "a", 1, 1030.0, 1040.0),
        (2, "b", 0, 1045.0, 1050.0),
    ]


def test_a_worker_that_was_followed_by_another_without_a_pause_was_lost(tmp_path: Path) -> None:
    assert [bar.lost for bar in known(two_lanes(tmp_path)).bars] == [False, False, True, False]


def test_the_idle_share_is_what_is_left_of_all_lanes(tmp_path: Path) -> None:
    found = known(two_lanes(tmp_path))
    # 40 + 20 + 10 + 5 = 75 s of work on three lanes (two of a, one of b) over 50 s.
    assert found.lanes == {"a": 2, "b": 1}
    assert found.busy_s == 75.0
    assert found.idle_share == pytest.approx(1 - 75 / 150)
    assert "idle share 50.0 %" in workers_section(two_lanes(tmp_path)).html


def test_a_worker_that_told_nothing_of_its_node_is_no_lane_that_could_be_idle(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    history = history_of(
        tmp_path,
        [
            trial_of(spec, 0, [0.1], legs=[Leg(1, "a", 0, 0.0)], told_s=[50.0], ended_s=50.0),
            trial_of(spec, 1, [], TrialState.PREEMPTED, legs=[Leg(1, UNKNOWN_NODE, 0, 10.0)]),
        ],
    )
    found = known(history)
    assert (found.nodes, found.idle_share) == ({"a": 1}, 0.0)
    assert "1 lane on 1 node" in workers_section(history).html
    assert "1 fault." in workers_section(history).html


def test_the_time_between_sessions_is_not_idle(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    history = history_of(
        tmp_path,
        [
            trial_of(spec, 0, [0.1], legs=[Leg(1, "a", 0, 0.0)], told_s=[100.0], ended_s=100.0),
            trial_of(spec, 1, [0.1], legs=[Leg(1, "a", 0, 1100.0)], told_s=[1150.0], ended_s=1150.0),
        ],
    )
    found = known(history)
    assert found.gaps == ((100.0, 1100.0),)
    assert found.span_s == 150.0
    assert found.idle_share == 0.0
    assert [found.worked_until(at) for at in (50.0, 600.0, 1125.0)] == [50.0, 100.0, 125.0]


def test_a_running_trial_is_busy_until_the_last_that_is_known(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    history = history_of(
        tmp_path,
        [
            trial_of(spec, 0, [], TrialState.RUNNING, legs=[Leg(1, "a", 0, 0.0)]),
            trial_of(spec, 1, [0.1], TrialState.RUNNING, legs=[Leg(1, "a", 0, 5.0)], told_s=[30.0]),
        ],
    )
    assert [bar.end_s for bar in known(history).bars] == [30.0, 30.0]


def test_a_study_without_times_has_no_lanes_and_says_so(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    history = history_of(tmp_path, [trial_of(spec, 0, [0.1], legs=[Leg(1, "a", 0, None)])])
    assert occupancy(history) is None
    assert "holds no times" in workers_section(history).html
