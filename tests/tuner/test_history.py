"""A search as it was: read at once, with all times, and found by whatever a person calls it."""

import json
from pathlib import Path

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DatasetError, InputError
from tests.tuner.studied_search import SEARCH_ID, StudiedSearch
from tuner.history import read_history, search_folder_of
from tuner.schedulers.decision import Decision
from tuner.search_folder import IDENTITY_FILE, held, held_since
from tuner.study.address import URL_VARIABLE
from tuner.study.history import UNKNOWN_NODE, Leg, read_study, read_trials
from tuner.study.reading import read_rows
from tuner.study.record import Told, TrialState
from tuner.study.rows import epoch_row, read_epoch

BUDGET = "budget: {trials: 3, epochs: 3}\nscheduler: {name: none}\n"


def searched(folder: Path) -> StudiedSearch:
    """One trial that loses a worker, one that runs."""
    search = StudiedSearch(folder, BUDGET)
    search.begin(100.0)
    search.report(0, 1, 0.1, 110.0)
    search.take_up(0, 115.0, node=None)
    search.take_up(0, 118.0, node="b")
    search.report(0, 2, 0.3, 130.5)
    search.report(0, 3, 0.2, 140.25)
    search.end(0, TrialState.COMPLETE, 141.0)
    search.begin(120.0, sampled={"loss.box": 4.0})
    return search


def test_when_each_epoch_was_reported_each_worker_began_and_the_trial_ended_is_kept(tmp_path: Path) -> None:
    searched(tmp_path)
    ended, running = read_study(tmp_path).trials
    assert [told.at_s for told in ended.epochs] == [110.0, 130.5, 140.25]
    assert ended.legs == (Leg(1, "a", 0, 100.0), Leg(2, UNKNOWN_NODE, 1, 115.0), Leg(3, "b", 1, 118.0))
    assert (ended.begun_s, ended.ended_s) == (100.0, 141.0)
    assert (running.begun_s, running.ended_s, running.epochs) == (120.0, None, ())


def test_a_worker_that_says_when_it_is_first_heard_of_how_long_it_has_run_began_then(tmp_path: Path) -> None:
    search = StudiedSearch(tmp_path, BUDGET)
    search.begin(100.0)
    search.now_s = 130.0
    search.study.started(0, "c", since_s=25.5)
    assert read_study(tmp_path).trials[0].legs == (Leg(1, "c", 0, 104.5),)


def test_the_history_holds_the_records_that_the_study_s_writer_has(tmp_path: Path) -> None:
    search = searched(tmp_path)
    history = read_history(tmp_path)
    assert [trial.record for trial in history.trials] == list(search.study.trials()) == list(history.result.trials)
    assert (history.identity.dataset, history.result.search_id) == ("datasets/tiny", SEARCH_ID)


def test_rows_that_were_written_before_times_were_kept_are_read_without_them(tmp_path: Path) -> None:
    search = searched(tmp_path)
    records = list(search.study.trials())
    search.forget_times()
    trials = read_study(tmp_path).trials
    assert [trial.record for trial in trials] == records
    assert [told.at_s for told in trials[0].epochs] == [None] * 3
    assert [leg.at_s for leg in trials[0].legs] == [None] * 3
    assert (trials[0].begun_s, trials[0].ended_s) == (None, None)


def test_rows_are_what_optuna_itself_reads(tmp_path: Path) -> None:
    searched(tmp_path)
    study = optuna.load_study(study_name=SEARCH_ID, storage=f"sqlite:///{tmp_path / 'study.db'}")
    rows = read_rows(tmp_path, SEARCH_ID)
    assert rows.facts == study.user_attrs
    assert [(row.number, row.facts) for row in rows.trials] == [(t.number, t.user_attrs) for t in study.trials]
    assert [row.running for row in rows.trials] == [
        trial.state is optuna.trial.TrialState.RUNNING for trial in study.trials
    ]


def test_a_server_s_database_is_read_as_a_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searched(tmp_path)
    from_file = read_study(tmp_path, SEARCH_ID)
    # An address with a driver goes through SQLAlchemy, as PostgreSQL's does; the folder itself then holds no study.
    monkeypatch.setenv(URL_VARIABLE, f"sqlite+pysqlite:///{tmp_path / 'study.db'}")
    assert read_study(tmp_path / "elsewhere", SEARCH_ID) == from_file
    monkeypatch.setenv(URL_VARIABLE, f"sqlite+pysqlite:///{tmp_path}/nowhere/study.db")
    with pytest.raises(DatasetError, match="is no study that can be read"):
        read_study(tmp_path, SEARCH_ID)


def test_a_file_that_is_no_database_and_a_study_that_is_not_there_are_told_as_such(tmp_path: Path) -> None:
    searched(tmp_path / "one")
    with pytest.raises(DatasetError, match="holds no study 'other'"):
        read_trials(tmp_path / "one", "other")
    with pytest.raises(DatasetError, match=r"holds no study\.db"):
        read_trials(tmp_path, "other")
    (tmp_path / "study.db").write_text("no database, but long enough to look like one" * 100)
    with pytest.raises(DatasetError, match="is no study that can be read: file is not a database"):
        read_trials(tmp_path, "other")


numbers = st.floats(allow_nan=False)


@given(
    metrics=st.dictionaries(st.sampled_from(["map", "loss", "seconds", "energy_uj"]), numbers),
    checkpoint=st.none() | st.text(),
    decision=st.sampled_from(Decision),
    at_s=st.none() | numbers,
)
def test_an_epoch_comes_back_from_its_row_as_it_went_in(
    metrics: dict[str, float], checkpoint: str | None, decision: Decision, at_s: float | None
) -> None:
    told = Told(7, metrics, checkpoint, decision, 1.5, 0.25, at_s)
    names = ["map", "loss", "seconds", "energy_uj"]
    assert read_epoch(7, json.loads(json.dumps(epoch_row(told, names))), names) == told


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two searches of one name, the newer first by its id, and one whose name begins alike."""
    monkeypatch.chdir(tmp_path)
    for name in ("tiny-20260101-000000", "tiny-20260102-000000", "tiny-two-20260103-000000"):
        folder = Path("runs", name)
        folder.mkdir(parents=True)
        (folder / IDENTITY_FILE).write_text("{}")
    return tmp_path


@pytest.mark.usefixtures("runs")
def test_a_search_is_found_by_its_folder_its_id_or_its_spec_s_name() -> None:
    newest = Path("runs/tiny-20260102-000000")
    assert search_folder_of("runs/tiny-20260101-000000") == Path("runs/tiny-20260101-000000")
    assert search_folder_of("tiny-20260101-000000") == Path("runs/tiny-20260101-000000")
    assert search_folder_of("tiny") == newest  # not the newer one of tiny-two
    assert search_folder_of(str(newest.absolute())) == newest.absolute()


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tiny-tow", "did you mean 'tiny-two'"),
        ("tiny-20260101-000001", "did you mean 'tiny-20260101-000000'"),
        ("zzz", "neither a folder nor an id or a name below runs/; give the folder a search wrote"),
        ("/nowhere/[at all]", "is no search"),
        ("runs", "runs: holds no search.json"),
    ],
)
def test_what_is_no_search_is_told_with_the_nearest_name(text: str, says: str) -> None:
    with pytest.raises(InputError) as error:
        search_folder_of(text)
    assert says in str(error.value)


def test_a_folder_tells_since_when_a_process_has_held_it(tmp_path: Path) -> None:
    assert held_since(tmp_path) is None
    with held(tmp_path):
        since_s = held_since(tmp_path)
        assert since_s is not None
    assert held_since(tmp_path) is None
    # The next session's time is its own, though the file is there already.
    with held(tmp_path):
        assert (held_since(tmp_path) or 0.0) >= since_s
