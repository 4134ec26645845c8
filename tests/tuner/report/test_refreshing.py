"""When a running search's report is written again, by a clock of our own and processes that are none."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.tuner.search_records import record, spec_of
from tuner.report.refreshing import Refresher
from tuner.study.record import TrialRecord


class Process:
    """Ends when it is told to."""

    def __init__(self, code: int | None = None) -> None:
        self.code = code
        self.killed = False

    def poll(self) -> int | None:
        return self.code

    def wait(self, timeout: float | None = None) -> int:
        if self.code is None and not self.killed:
            raise subprocess.TimeoutExpired("report", timeout or 0.0)
        return self.code or 0

    def kill(self) -> None:
        self.killed = True


class Bench:
    """A refresher with its clock and what it started."""

    def __init__(self, folder: Path, code: int | None = None) -> None:
        self.now = 0.0
        self.started: list[list[str]] = []
        self.processes: list[Process] = []
        self.code = code
        self.refresher = Refresher(folder, lambda: self.now, self.start)

    def start(self, arguments: Sequence[str]) -> Any:
        self.started.append(list(arguments))
        self.processes.append(Process(self.code))
        return self.processes[-1]

    def at(self, now: float, trial: TrialRecord) -> int:
        """How many were started, once an epoch was reported then."""
        self.now = now
        self.refresher.reported(trial, {})
        return len(self.started)


@pytest.fixture
def trial(tmp_path: Path) -> TrialRecord:
    return record(spec_of(tmp_path), 0, [0.1])


def test_it_is_written_at_most_once_a_minute(tmp_path: Path, trial: TrialRecord) -> None:
    bench = Bench(tmp_path, code=0)
    assert [bench.at(now, trial) for now in (1, 59, 60, 61, 119, 121)] == [0, 0, 1, 1, 1, 2]
    assert bench.started[0] == ["-m", "tuner.report", str(tmp_path)]


def test_two_are_never_written_at_a_time(tmp_path: Path, trial: TrialRecord) -> None:
    bench = Bench(tmp_path)
    assert [bench.at(now, trial) for now in (60, 121, 1000)] == [1, 1, 1]


def test_one_that_takes_long_is_followed_by_twenty_times_as_long_without(tmp_path: Path, trial: TrialRecord) -> None:
    bench = Bench(tmp_path)
    bench.at(60, trial)
    bench.now, bench.processes[0].code = 90, 0
    # Begun at 60, seen to have ended at 90: 5 % of the time are spent at 60 + 30 / .05.
    assert [bench.at(now, trial) for now in (90, 659, 660)] == [1, 1, 2]


def test_a_process_that_cannot_be_started_is_a_line_in_the_log(
    tmp_path: Path, trial: TrialRecord, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(arguments: Sequence[str]) -> Any:
        raise OSError("no memory")

    clock = iter([0.0, 60.0])
    refresher = Refresher(tmp_path, lambda: next(clock), refuse)
    refresher.ended(trial)
    assert "report.html is not refreshed: no memory" in caplog.text
    assert refresher.finish(examined=False) == "report.html could not be written: no memory"


def test_the_last_one_takes_the_place_of_one_under_way_and_measures_the_winner(
    tmp_path: Path, trial: TrialRecord
) -> None:
    bench = Bench(tmp_path)
    bench.at(60, trial)
    bench.code = 0
    assert bench.refresher.finish(examined=True) is None
    assert bench.processes[0].killed
    assert bench.started[-1] == ["-m", "tuner.report", str(tmp_path), "--examined"]


@pytest.mark.parametrize(("code", "why"), [(1, "could not be written"), (None, "was not ready after 30 min")])
def test_a_last_one_that_fails_is_told_with_the_command(tmp_path: Path, code: int | None, why: str) -> None:
    bench = Bench(tmp_path, code)
    told = bench.refresher.finish(examined=False)
    assert told is not None
    assert told.startswith(f"report.html {why}")
    assert told.endswith(f"spiketune report {tmp_path}")
