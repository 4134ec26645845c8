"""Nothing of a search's record is lost or double, whatever fails or is killed."""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tuner.recorded_search import (
    essence,
    new_search,
    raising,
    record_all,
)
from tests.tuner.recording_store import Killed, Store, Told, away, ill, refused
from tuner.recording import background
from tuner.recording.background import drain
from tuner.recording.runs import Runs
from tuner.recording.spool import Spool
from tuner.recording.writer import Writer

pytestmark = pytest.mark.usefixtures("impatient_writer")


def unreachable() -> Store:
    raise away()


def only(call: int) -> Callable[[int], bool]:
    return lambda now: now == call


@pytest.fixture(scope="module")
def spooled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search's folder of which nothing is written yet."""
    home = tmp_path_factory.mktemp("spooled")
    folder = new_search(home / "search")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setattr(background, "connect", lambda _: unreachable())
        record_all(folder, timeout_s=0)
    return folder


def write(folder: Path, store: Store) -> Writer:
    """Write a spool in this thread, so that a kill ends it in the middle."""
    spool = Spool(folder)
    kept = Writer(spool, "a store", lambda: Runs(store, folder, spool.runs("a store"), keep))

    def keep(run: int, run_id: str) -> None:
        spool.keep_run("a store", run, run_id)

    try:
        assert kept.catch_up() == (kept.barred is None)
    finally:
        spool.close()
    return kept


def copied(spooled: Path, to: Path) -> Path:
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(spooled, to)
    (to / "mlflow" / "writer.lock").unlink(missing_ok=True)
    return to


@pytest.fixture(scope="module")
def undisturbed(spooled: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], int]:
    """What a store holds if nothing fails, and in how many calls."""
    store = Store()
    write(copied(spooled, tmp_path_factory.mktemp("undisturbed") / "search"), store)
    return essence(store), len(store.calls)


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_call_a_writer_goes_on_with_nothing_lost_and_nothing_double(
    when: str, spooled: Path, undisturbed: tuple[dict[str, Any], int], tmp_path: Path
) -> None:
    expected, calls = undisturbed
    assert calls > 40
    for call in range(calls):
        folder, store = copied(spooled, tmp_path / "killed"), Store()
        setattr(store, when, raising(Killed, only(call)))
        with pytest.raises(Killed):
            write(folder, store)
        store.before = store.after = lambda *_: None
        write(folder, store)
        assert essence(store) == expected, f"killed {when} call {call}: {store.calls[call]}"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kills=st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=6), failing=st.sets(st.integers(0, 80)))
def test_however_often_it_is_killed_or_cut_off_the_store_holds_the_same_in_the_end(
    kills: list[tuple[int, bool]],
    failing: set[int],
    spooled: Path,
    undisturbed: tuple[dict[str, Any], int],
    tmp_path: Path,
) -> None:
    folder, store = copied(spooled, tmp_path / "often"), Store()
    for call, early in kills:
        nothing: Told = lambda *_: None  # noqa: E731
        deadly = raising(Killed, only(call))
        store.before, store.after = (deadly, nothing) if early else (nothing, deadly)
        try:
            write(folder, store)
        except Killed:
            continue
    # An answer that is lost after the deed is the hardest: it is done, and done again.
    store.before, store.after = lambda *_: None, raising(away, lambda now: now in failing)
    write(folder, store)
    assert essence(store) == undisturbed[0]


@pytest.mark.parametrize("lost", [{"position.json"}, {"runs.jsonl"}, {"position.json", "runs.jsonl"}])
def test_without_its_notes_a_spool_is_written_again_and_changes_nothing(
    lost: set[str], spooled: Path, undisturbed: tuple[dict[str, Any], int], tmp_path: Path
) -> None:
    folder, store = copied(spooled, tmp_path / "again"), Store()
    write(folder, store)
    for name in lost:
        (folder / "mlflow" / name).unlink()
    write(folder, store)
    assert essence(store) == undisturbed[0]


def test_what_is_refused_is_skipped_noted_once_and_kept(store: Store, folder: Path) -> None:
    def before(_: str, call: Mapping[str, Any]) -> None:
        if any(metric.step == 2 for metric in call.get("metrics", ())):
            raise refused("metric of an even step")

    store.before = before
    said: list[str] = []
    (note,) = record_all(folder, said.append)
    assert note.startswith("MLflow refused 4 records, kept in")
    assert note.endswith("INVALID_PARAMETER_VALUE: metric of an even step")
    assert len([line for line in said if "refuses" in line]) == 1
    kept = [json.loads(line) for line in (folder / "mlflow" / "refused.jsonl").read_text().splitlines()]
    assert [(line["record"]["run"], line["record"]["step"]) for line in kept] == [(n, 2) for n in range(4)]
    for number in range(4):
        run = store.by_trial()[str(number)]
        assert {step for name, *_, step in run.metrics if name == "map"} == {1, 3}
        assert run.status != "RUNNING"


def test_a_run_that_was_refused_takes_only_its_own_records_with_it(store: Store, folder: Path) -> None:
    def before(name: str, call: Mapping[str, Any]) -> None:
        if name == "create_run" and call["run_name"] == "0001":
            raise refused()

    store.before = before
    assert len(record_all(folder)) == 1
    assert set(store.by_trial()) == {"search", "0", "2", "3"}
    search = next(run_id for run_id, run in store.runs.items() if run.tags["kind"] == "search")
    assert store.by_trial()["3"].tags["mlflow.parentRunId"] == search  # the repeat of a trial without a run


def test_a_deleted_experiment_takes_nothing_holds_up_nothing_and_loses_nothing(store: Store, folder: Path) -> None:
    store.experiment, store.stage = "spiketune", "deleted"
    began = time.monotonic()
    (note,) = record_all(folder, timeout_s=60)
    assert time.monotonic() - began < 10
    assert "'spiketune' is deleted" in note
    assert "spiketune sync" in note
    store.stage = "active"
    assert drain(folder, 20).notes == ()
    assert {run.status for run in store.by_trial().values()} == {"FINISHED", "KILLED", "FAILED"}


def test_an_experiment_deleted_on_the_way_keeps_the_rest_waiting(spooled: Path, tmp_path: Path) -> None:
    folder, store = copied(spooled, tmp_path / "deleted"), Store()

    def before(name: str, call: Mapping[str, Any]) -> None:
        if name == "create_run" and call["run_name"] == "0002":
            store.stage = "deleted"
        if name in ("create_run", "log_batch") and store.stage == "deleted":
            raise refused("must be active")

    store.before = before
    assert write(folder, store).barred is not None
    assert set(store.by_trial()) == {"search", "0", "1"}
    store.stage = "active"
    store.before = lambda *_: None
    assert write(folder, store).refused == 0
    assert set(store.by_trial()) == {"search", "0", "1", "2", "3"}


def test_a_record_that_makes_a_healthy_server_ill_is_given_up(spooled: Path, tmp_path: Path) -> None:
    folder, store = copied(spooled, tmp_path / "poison"), Store()
    tries: list[int] = []

    def before(name: str, call: Mapping[str, Any]) -> None:
        of_trial = name == "log_batch" and store.runs[call["run_id"]].tags.get("trial") == "2"
        if of_trial and any(metric.step == 1 for metric in call.get("metrics", ())):
            tries.append(1)
            raise ill()

    store.before = before
    done = write(folder, store)
    assert (done.refused, len(tries)) == (1, 10)
    assert {step for name, *_, step in store.by_trial()["2"].metrics if name == "map"} == {2, 3}


def test_while_the_server_is_ill_altogether_nothing_is_given_up(
    spooled: Path, undisturbed: tuple[dict[str, Any], int], tmp_path: Path
) -> None:
    folder, store = copied(spooled, tmp_path / "ill"), Store()
    store.before = raising(ill, lambda call: 20 <= call < 90)
    assert write(folder, store).refused == 0
    assert essence(store) == undisturbed[0]
