"""The record of a search in MLflow: what is written, and when."""

import statistics
import time
from pathlib import Path

import pytest

from data.errors import InputError
from tests.tuner.recorded_search import (
    PARAMS,
    end,
    essence,
    live,
    raising,
    reached,
    record_all,
    search_facts,
    trial,
)
from tests.tuner.recording_store import Store, away
from tuner.recording import background
from tuner.recording.background import drain
from tuner.recording.recorder import Recorder

pytestmark = pytest.mark.usefixtures("impatient_writer")


def test_a_search_its_trials_and_their_repeats_are_runs_below_one_another(store: Store, folder: Path) -> None:
    assert record_all(folder) == ()
    runs = store.by_trial()
    ids = {key: next(i for i, run in store.runs.items() if run is runs[key]) for key in runs}
    assert set(runs) == {"search", "0", "1", "2", "3"}
    parents = {key: run.tags.get("mlflow.parentRunId") for key, run in runs.items()}
    assert parents == {"search": None, "0": ids["search"], "1": ids["search"], "2": ids["search"], "3": ids["1"]}
    assert {key: run.tags["kind"] for key, run in runs.items()} == {
        "search": "search", "0": "trial", "1": "trial", "2": "trial", "3": "repeat",
    }  # fmt: skip
    assert {key: run.status for key, run in runs.items()} == {
        "search": "FINISHED", "0": "FINISHED", "1": "KILLED", "2": "FAILED", "3": "FINISHED",
    }  # fmt: skip
    assert (runs["3"].tags["repeats"], runs["3"].tags["seed"]) == ("1", "7")
    assert (runs["2"].tags["state"], runs["2"].tags["error"], runs["1"].tags["diagnosis"]) == (
        "out of memory", "no room", "dead",
    )  # fmt: skip


def test_a_trial_has_its_leaves_once_its_epochs_and_its_best_values(store: Store, folder: Path) -> None:
    record_all(folder)
    run = store.by_trial()["2"]
    assert run.params == {**{name: str(number) for name, number in PARAMS.items()}, "box": "2"}
    maps = {(number, step) for name, number, _, step in run.metrics if name == "map"}
    assert maps == {(2 + 1 / 3, 1), (2 + 2 / 3, 2), (3.0, 3)}
    assert {(number, step) for name, number, _, step in run.metrics if name == "best_map"} == maps  # each was better
    assert {name for name, *_ in run.metrics} == {"epoch", "map", "loss", "best_map", "best_epoch"}
    times = {step: {at for *_, at, of in run.metrics if of == step} for step in (1, 2)}
    assert all(len(moments) == 1 for moments in times.values())  # an epoch is one moment


def test_the_searchs_run_carries_what_the_search_came_to(store: Store, folder: Path) -> None:
    record_all(folder)
    run = store.by_trial()["search"]
    assert run.params == {"budget.trials": "4", "best.box": "1"}
    assert run.files == {"spec.yaml": "this is spec.yaml", "best.yaml": "this is best.yaml"}
    assert {name: number for name, number, *_ in run.metrics} == {
        "trials/complete": 2.0, "trials/stopped": 0.0, "trials/unfinished": 0.0, "trials/lost": 1.0, "best_map": 2.0,
    }  # fmt: skip
    assert (run.tags["best_trial"], run.tags["dataset"], run.tags["dataset_digest"]) == ("1", "somewhere", "abc")
    assert {"version.python", "version.torch", "version.ray", "version.optuna", "version.mlflow"} <= set(run.tags)


def test_only_the_best_checkpoint_and_the_defaults_are_uploaded(store: Store, folder: Path) -> None:
    record_all(folder)
    files = {key: run.files for key, run in store.by_trial().items() if key != "search"}
    won = {"w1": "this is w1", "best.yaml": "this is best.yaml"}
    assert files == {"0": {"w0": "this is w0"}, "1": won, "2": {}, "3": {}}


def test_times_are_those_of_what_happened_however_late_it_is_written(store: Store, folder: Path) -> None:
    store.before = raising(away, lambda _: True)
    began = time.time() * 1000
    notes = record_all(folder, timeout_s=0)
    told = time.time() * 1000
    assert "records for MLflow wait in" in notes[0]
    assert "spiketune sync" in notes[0]
    time.sleep(0.05)
    store.before = lambda *_: None
    settled = drain(folder, 20)
    assert settled.waiting == 0
    runs = store.by_trial().values()
    moments = [at for run in runs for *_, at, _ in run.metrics] + [run.start for run in runs]
    ends = [run.end for run in runs if run.end is not None]
    assert len(ends) == 5
    assert all(began - 1 <= at <= told for at in moments + ends)


def kill(recorder: Recorder) -> None:
    recorder._background.writer.stop()
    recorder._background._thread.join()
    recorder._spool.close()


def test_a_search_that_goes_on_tells_nothing_twice(store: Store, folder: Path) -> None:
    first = Recorder.begin(folder, search_facts(), lambda _: None)
    live(first, 0)
    first.started(trial(1))
    first.reported(trial(1), {"epoch": 1, "map": 0.5})
    kill(first)
    # The next driver does not know what had been told.
    second = Recorder.begin(folder, search_facts(), lambda _: None)
    assert second.running() == [1]
    second.ended(trial(0, "complete", **reached(0, 3)))
    second.started(trial(1))
    second.reported(trial(1), {"epoch": 1, "map": 0.625})  # trained again from an older checkpoint
    second.reported(trial(1), {"epoch": 2, "map": 0.75})
    second.ended(trial(1, "complete"))
    assert second.finish(end(folder), 20) == ()
    runs = store.by_trial()
    assert {(number, step) for name, number, _, step in runs["1"].metrics if name == "map"} == {(0.5, 1), (0.75, 2)}
    for number in (0, 1):
        run = runs[str(number)]
        stamps = [(name, step) for name, *_, step in run.metrics]
        assert len(stamps) == len(set(stamps))
        assert run.status == "FINISHED"


def test_a_trial_and_a_search_that_had_ended_run_again_and_forget_how(store: Store, folder: Path) -> None:
    first = Recorder.begin(folder, search_facts(), lambda _: None)
    live(first, 0, "preempted", epochs=1, error="interrupted")
    first.finish(end(folder, halted="interrupted", interrupted=True, best_values={"box": 1}), 20)
    runs = store.by_trial()
    assert (runs["0"].status, runs["search"].status) == ("KILLED", "KILLED")
    assert (runs["0"].tags["error"], runs["search"].tags["halted"]) == ("interrupted", "interrupted")
    second = Recorder.begin(folder, search_facts(**{"budget.trials": 9}), lambda _: None)
    live(second, 0, epochs=2)
    assert second.finish(end(folder, best_values={"box": 2}), 20) == ()
    runs = store.by_trial()
    assert (runs["0"].status, runs["search"].status) == ("FINISHED", "FINISHED")
    assert "error" not in runs["0"].tags
    assert "halted" not in runs["search"].tags
    assert {step for name, *_, step in runs["0"].metrics if name == "map"} == {1, 2}
    assert runs["search"].params == {"budget.trials": "4", "best.box": "2"}
    assert runs["search"].tags["changed.budget.trials"] == "9"


def test_the_pictures_of_a_search_go_to_mlflow_also_where_its_folder_is_named_from_here(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    recorder = Recorder.begin(Path(folder.name), search_facts(), lambda _: None)
    live(recorder, 1)
    recorder.finish(end(folder, curves={1: {1: 0.25, 2: 0.5}}), 20)
    assert {"optimisation_history.png", "learning_curves.png"} <= store.by_trial()["search"].files.keys()


def test_a_trial_that_never_started_has_a_run_that_says_how_it_ended(store: Store, folder: Path) -> None:
    recorder = Recorder.begin(folder, search_facts(), lambda _: None)
    recorder.ended(trial(0, "infeasible", error="parameters 4e6 > 3e6"))
    recorder.finish(end(folder), 20)
    run = store.by_trial()["0"]
    assert (run.status, run.tags["state"], run.tags["error"]) == ("KILLED", "infeasible", "parameters 4e6 > 3e6")


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("complete", "FINISHED"),
        ("stopped", "KILLED"),
        ("paused", "KILLED"),
        ("preempted", "KILLED"),
        ("infeasible", "KILLED"),
        ("diverged", "FAILED"),
        ("out of memory", "FAILED"),
        ("failed", "FAILED"),
    ],
)
def test_every_end_has_a_status(state: str, status: str) -> None:
    assert trial(0, state).status() == status


def test_the_ids_of_runs_reach_the_driver_once_and_again_after_a_restart(store: Store, folder: Path) -> None:
    first = Recorder.begin(folder, search_facts(), lambda _: None)
    live(first, 0)
    live(first, 1)
    first.finish(end(folder), 20)
    by_trial = {int(run.tags["trial"]): run_id for run_id, run in store.runs.items() if "trial" in run.tags}
    assert first.run_ids() == by_trial
    assert first.run_ids() == {}
    second = Recorder.begin(folder, search_facts(), lambda _: None)
    assert second.run_ids() == by_trial
    second.finish(end(folder), 20)


def test_a_record_torn_by_a_kill_is_left_out_and_the_next_one_is_whole(store: Store, folder: Path) -> None:
    spool = folder / "mlflow" / "records.jsonl"
    spool.parent.mkdir()
    spool.write_bytes(b'{"do":"open","search":"mine-1","ru')
    assert record_all(folder) == ()
    assert set(store.by_trial()) == {"search", "0", "1", "2", "3"}


def test_a_full_disk_ends_the_record_and_never_the_search(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder.begin(folder, search_facts(), lambda _: None)

    class Full:
        def write(self, data: bytes) -> int:
            return len(data) // 2

        def close(self) -> None: ...

    real = recorder._spool._file
    monkeypatch.setattr(recorder._spool, "_file", Full())
    recorder.started(trial(0))
    monkeypatch.setattr(recorder._spool, "_file", real)
    live(recorder, 1)
    (note,) = recorder.finish(end(folder), 20)
    assert "not all was recorded" in note
    assert set(store.by_trial()) == {"search", "1"}


def test_another_store_is_given_the_whole_search(store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record_all(folder)
    other = Store()
    monkeypatch.setattr(background, "connect", lambda _: other)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@elsewhere:5000")
    settled = drain(folder, 20)
    assert settled.store == "http://elsewhere:5000"
    assert essence(other) == essence(store)
    assert "secret" not in "".join(path.read_text() for path in (folder / "mlflow").glob("*.json*"))


def test_a_folder_without_a_search_cannot_be_synced(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no mlflow/records\.jsonl"):
        drain(tmp_path, 1)
    assert list(tmp_path.iterdir()) == []


def test_two_drivers_of_one_search_share_its_spool(store: Store, folder: Path) -> None:
    drivers = [Recorder.begin(folder, search_facts(), lambda _: None) for _ in range(2)]
    for number in range(6):
        live(drivers[number % 2], number)
    for driver in drivers:
        assert driver.finish(end(folder), 20) == ()
    assert {key for key, run in store.by_trial().items() if run.status == "FINISHED"} == {
        "search", *map(str, range(6)),
    }  # fmt: skip


def test_the_driver_is_not_held_up_by_a_server_that_is_away(store: Store, folder: Path) -> None:
    store.before = raising(away, lambda _: True)
    recorder = Recorder.begin(folder, search_facts(), lambda _: None)
    recorder.started(trial(0))
    taken = []
    for epoch in range(1, 301):
        metrics = {"epoch": float(epoch), **{f"metric{number}": number / 7 for number in range(25)}}
        began = time.perf_counter()
        recorder.reported(trial(0), metrics)
        taken.append(time.perf_counter() - began)
    assert statistics.median(taken) < 0.001
    assert "wait in" in recorder.finish(end(folder), 0)[0]
