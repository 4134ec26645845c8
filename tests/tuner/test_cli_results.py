"""The commands that read a search: how it stands, its trials as a table in all forms, what became of one."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pytest

from tests.tuner.studied_search import SEARCH_ID, StudiedSearch, repeat_of
from tuner.cli import main
from tuner.overview import read_overview
from tuner.recording.records import SEARCH, Close
from tuner.recording.spool import Spool
from tuner.schedulers.decision import Decision
from tuner.search_folder import LOCK_FILE, held
from tuner.status import Leader, Status, Underway, status_of
from tuner.study.record import TrialState
from tuner.trials_table import trials_of

SPEC = "budget: {trials: 4, epochs: 4, hours: 2}\nscheduler: {name: none}\nresources: {gpus: 0.5}\n"


def half_done(folder: Path) -> StudiedSearch:
    """Two trials are over, one runs, one is to come."""
    search = StudiedSearch(folder, SPEC)
    search.begin(1000.0)
    for epoch in (1, 2, 3, 4):
        search.report(0, epoch, 0.1 * epoch, 1000.0 + epoch)
    search.end(0, TrialState.COMPLETE, 1005.0)
    search.begin(1005.0, sampled={"loss.box": 4.0, "optimizer.name": "sgd"})
    search.report(1, 1, 0.5, 1010.0)
    search.report(1, 2, 0.45, 1011.0)
    search.end(1, TrialState.COMPLETE, 1012.0)
    search.begin(1012.0, sampled={"loss.box": 8.0})
    search.report(2, 1, 0.2, 1020.0)
    return search


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Status]:
    """How it stands after 40 seconds of its session."""
    half_done(tmp_path).study.tick(36.0)
    with held(tmp_path):
        os.utime(tmp_path / LOCK_FILE, (1000.0, 1000.0))
        yield status_of(read_overview(tmp_path), lambda: 1040.0)


def test_a_running_search_tells_since_when_what_it_does_and_what_is_left(running: Status) -> None:
    assert (running.running, running.finished, running.since_s) == (True, False, 1000.0)
    assert (running.trials_begun, running.trials_budget, running.epochs_done) == (3, 4, 7)
    assert running.underway == (Underway(2, "a", 1, 4, 0.2, 1012.0),)
    # Trials that are over took (4 + 2) / 2 = 3 epochs: 2 more of the running one, 3 of the one to come.
    assert running.epochs_left == 5.0
    assert running.left_s == pytest.approx(5 * 40 / 7)  # seven epochs in forty seconds
    assert running.best == Leader(1, 2, 0.45, 0.45)  # the last epoch that said it was its best
    assert running.default == Leader(0, 4, 0.4, 0.4)


def test_time_and_money_are_summed_over_all_trials(running: Status) -> None:
    # Ten seconds and half a coin an epoch, on half a GPU.
    assert running.hours == pytest.approx(0.01)
    assert running.gpu_hours == pytest.approx(70 * 0.5 / 3600)
    assert running.money == pytest.approx(3.5)
    assert running.limits == {"hours": 2.0}


def test_faults_are_workers_that_left_trials_unasked_and_failures_by_their_words(tmp_path: Path) -> None:
    search = StudiedSearch(tmp_path, SPEC)
    search.begin(0.0)
    search.report(0, 1, 0.1, 1.0, Decision.PAUSE)
    search.take_up(0, 2.0)  # promoted: nothing was lost
    search.take_up(0, 3.0)  # before an epoch: lost
    search.report(0, 2, 0.2, 4.0)
    search.take_up(0, 5.0)  # after an epoch that did not end in a pause: lost
    for error in ("KeyError: 3", "ValueError: no", "KeyError: 17"):
        search.end(search.begin(6.0), TrialState.FAILED, 7.0, error)
    search.end(search.begin(8.0), TrialState.OUT_OF_MEMORY, 9.0, "KeyError: 3")
    status = status_of(read_overview(tmp_path))
    assert status.lost_workers == 2
    assert [(one.state.value, one.error, one.trials) for one in status.failures] == [
        ("failed", "KeyError: 3", (1, 3)),
        ("failed", "ValueError: no", (2,)),
        ("out of memory", "KeyError: 3", (4,)),
    ]


def test_a_search_that_died_is_not_finished_and_one_that_said_so_is(tmp_path: Path) -> None:
    search = half_done(tmp_path)
    search.summarise(best={"number": 1})
    search.report(2, 2, 0.9, 1030.0)
    assert not status_of(read_overview(tmp_path)).finished  # trial 2 is still there
    search.end(2, TrialState.STOPPED, 1031.0)
    died = status_of(read_overview(tmp_path))
    assert (died.running, died.finished, died.last_s) == (False, False, 1031.0)  # the summary is of before
    assert died.best is not None
    assert died.best.number == 2
    search.summarise(best={"number": 1})  # the search's own choice, not the highest value
    done = status_of(read_overview(tmp_path))
    assert (done.finished, done.epochs_left, done.left_s) == (True, 0.0, None)
    assert done.best is not None
    assert done.best.number == 1
    search.summarise(best=None, halted="interrupted")
    assert (status_of(read_overview(tmp_path)).finished, status_of(read_overview(tmp_path)).halted) == (
        False, "interrupted",
    )  # fmt: skip


def test_records_that_wait_for_mlflow_are_counted(tmp_path: Path) -> None:
    half_done(tmp_path)
    assert status_of(read_overview(tmp_path)).records_waiting == 0
    spool = Spool(tmp_path)
    one = Close(SEARCH_ID, SEARCH, 0, "complete", "FINISHED")
    spool.append([one])
    spool.set_position("sqlite:///elsewhere.db", spool.end())
    spool.append([one, one])
    spool.close()
    assert status_of(read_overview(tmp_path)).records_waiting == 2


class Printed:
    """What a command came to."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A search with a finished default, a stopped trial, a failed one whose error has all that CSV must quote."""
    search = half_done(tmp_path / "out")
    search.end(2, TrialState.FAILED, 1030.0, 'ValueError: "a, b"\nand a second line: ü')
    again = search.begin(1031.0, **repeat_of(1, 7))
    search.report(again, 1, 0.6, 1040.5)
    search.study.tag(again, violation=0.25, diagnosis="warning silent-channels: stem: 12 of 16")
    return tmp_path / "out"


def spiketune(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> Printed:
    monkeypatch.setattr(sys, "argv", ["spiketune", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    return Printed(int(ended.value.code or 0), printed.out, printed.err)


def test_csv_arrow_and_json_hold_the_same_table(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(tmp_path / "trials.csv"), str(tmp_path / "trials.arrow")]
    done = spiketune(monkeypatch, capsys, "trials", str(folder), "--csv", files[0], "--arrow", files[1], "--json")
    assert done.code == 0, done.err
    rows = json.loads(done.out)["trials"]
    arrow = pyarrow.feather.read_table(files[1])
    assert arrow.to_pylist() == rows
    assert arrow.schema.metadata == {b"search_id": SEARCH_ID.encode()}
    assert arrow.schema.field("loss.box").type == pa.float64()
    assert arrow.schema.field("repeats").type == pa.int64()
    read = pd.read_csv(files[0])
    assert list(read.columns) == list(rows[0])
    pd.testing.assert_frame_equal(read, pd.DataFrame(rows), check_dtype=False, check_index_type=False)
    assert read["error"][2] == 'ValueError: "a, b"\nand a second line: ü'
    printed = spiketune(monkeypatch, capsys, "trials", str(folder), "--csv", "-")
    assert printed.out.encode() == Path(files[0]).read_bytes()


def test_a_row_tells_what_the_study_knows_and_settings_are_those_in_effect(folder: Path) -> None:
    table = trials_of(read_overview(folder))
    default, first, failed, again = table.dicts()
    assert (default["number"], default["state"], default["epochs"], default["map"]) == (0, "complete", 4, 0.4)
    assert (first["busy_s"], first["cost"], first["node"]) == (20.0, 1.0, "a")
    assert (first["begun_s"], first["ended_s"], failed["ended_s"], again["ended_s"]) == (1005.0, 1012.0, 1030.0, None)
    assert (first["loss.box"], first["optimizer.name"]) == (4.0, "sgd")
    assert default["loss.box"] != 4.0  # nothing was sampled: the default configuration's own
    assert failed["optimizer.name"] == default["optimizer.name"]
    assert (again["kind"], again["repeats"], again["training.seed"], again["violation"]) == ("repeat", 1, 7, 0.25)


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ((), [0, 1, 2, 3]),
        (("--sort", "map"), [3, 1, 0, 2]),  # best first: 0.6, 0.45, 0.4, 0.2
        (("--sort", "-map"), [2, 0, 1, 3]),
        (("--sort", "busy_s"), [2, 3, 1, 0]),
        (("--sort", "ended_s"), [0, 1, 2, 3]),  # the last has no end
        (("--sort", "-ended_s"), [2, 1, 0, 3]),
        (("--state", "complete"), [0, 1]),
        (("--state", "failed", "--state", "running"), [2, 3]),
        (("--state", "diverged"), []),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_trials_are_sorted_and_chosen(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    numbers: list[int],
) -> None:
    done = spiketune(monkeypatch, capsys, "trials", str(folder), *options, "--json")
    assert [row["number"] for row in json.loads(done.out)["trials"]] == numbers


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["trials", "out", "--sort", "mapp"], "--sort mapp: is no column; did you mean 'map'?"),
        (["trials", "out", "--state", "done"], "--state done: must be one of running, paused, complete"),
        (["trials", "out", "--json", "--csv", "-"], "--csv -: stdout carries the JSON of --json"),
        (["status", "outt"], "outt: is no search"),
        (["explain", "out", "9"], "trial 9: the search has no such trial; its numbers are 0 to 3"),
        (["explain", "out", "-1"], "No such option"),
        (["best", "."], ".: holds no search.json"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_exit_code_2(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(folder.parent)
    done = spiketune(monkeypatch, capsys, *arguments)
    assert (done.code, done.out) == (2, "")
    assert says in done.err


def test_people_read_the_same_in_words(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = spiketune(monkeypatch, capsys, "status", str(folder)).out
    assert "trials  3 of 4 begun: 1 running, 2 complete, 1 failed, 1 to come" in told
    assert "best    mAP 0.45 (trial 1, epoch 2); default 0.4 (epoch 4)" in told
    assert "failed: 1 trial (2): ValueError" in told
    assert f"spiketune search {folder}/spec.yaml --data datasets/tiny --out {folder} --resume" in told
    table = spiketune(monkeypatch, capsys, "trials", str(folder)).out
    assert "box=4 optimizer=sgd" in table
    assert "warning silent-channels" in table
    found = spiketune(monkeypatch, capsys, "explain", str(folder), "1").out
    assert found.startswith(f"trial 1 of {SEARCH_ID}: complete")
    assert "why       ended by itself after epoch 2 of 4, as training.patience asks" in found
    assert "█▁ mAP 0.5 to 0.45 (epoch 1 to 2), lowest 0.45 in epoch 2, highest 0.5 in epoch 1" in found


def test_status_and_trials_load_nothing_that_takes_long(folder: Path) -> None:
    heavy = ("torch", "ray", "mlflow", "optuna", "sqlalchemy", "scipy", "pandas", "numpy", "numba", "pyarrow")
    code = (
        "import sys; sys.argv = ['spiketune', sys.argv[1], sys.argv[2]]\n"
        "from tuner.cli import main\n"
        "try: main()\n"
        f"except SystemExit: print([name for name in {heavy} if name in sys.modules])"
    )
    for command in ("status", "trials"):
        done = subprocess.run(
            [sys.executable, "-c", code, command, str(folder)], capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1] == "[]"
