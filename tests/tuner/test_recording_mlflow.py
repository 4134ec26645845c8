"""What MLflow itself makes of a search's record, with the store of one machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.tuner.recorded_search import essence, new_search, record_all
from tests.tuner.recording_store import Store, StoredRun
from tuner.recording import background
from tuner.recording.background import drain


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, MlflowClient]]:
    """A search written to MLflow's own SQLite store, in a working folder of its own; then written once more."""
    home = tmp_path_factory.mktemp("home")
    folder = new_search(home / "search")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        assert record_all(folder, timeout_s=120) == ()
        for name in ("position.json", "runs.jsonl"):
            (folder / "mlflow" / name).unlink()
        assert drain(folder, 120).waiting == 0
        yield folder, MlflowClient(tracking_uri=f"sqlite:///{home}/runs/mlflow.db")


def test_mlflow_itself_holds_one_entry_of_each_metric_and_one_run_of_each_trial_though_all_was_written_twice(
    real: tuple[Path, MlflowClient],
) -> None:
    _, client = real
    experiment = client.get_experiment_by_name("spiketune")
    runs = client.search_runs([experiment.experiment_id])
    by_trial = {run.data.tags.get("trial", "search"): run for run in runs}
    assert len(runs) == len(by_trial) == 5
    assert {key: run.info.status for key, run in by_trial.items()} == {
        "search": "FINISHED", "0": "FINISHED", "1": "KILLED", "2": "FAILED", "3": "FINISHED",
    }  # fmt: skip
    for number in range(4):
        run = by_trial[str(number)]
        for name in ("map", "loss", "epoch"):
            entries = client.get_metric_history(run.info.run_id, name)
            assert [entry.step for entry in entries] == [1, 2, 3]
        maps = client.get_metric_history(run.info.run_id, "map")
        assert [entry.value for entry in maps] == [number + 1 / 3, number + 2 / 3, number + 1]
        assert len(run.data.params) == 151
        assert run.info.start_time <= maps[0].timestamp <= run.info.end_time
    files = {key: [file.path for file in client.list_artifacts(run.info.run_id)] for key, run in by_trial.items()}
    assert files == {"search": ["best.yaml", "spec.yaml"], "0": ["w0"], "1": ["best.yaml", "w1"], "2": [], "3": []}
    assert by_trial["3"].data.tags["mlflow.parentRunId"] == by_trial["1"].info.run_id


def test_the_store_of_the_other_tests_holds_what_mlflow_holds(
    real: tuple[Path, MlflowClient], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, client = real
    mirror, store = Store(), Store()
    for run in client.search_runs([client.get_experiment_by_name("spiketune").experiment_id]):
        tags = {name: tag for name, tag in run.data.tags.items() if name != "mlflow.runName"}
        kept = StoredRun(run.info.run_name, run.info.start_time, tags, dict(run.data.params), status=run.info.status)
        for name in run.data.metrics:
            history = client.get_metric_history(run.info.run_id, name)
            kept.metrics |= {(entry.key, entry.value, entry.timestamp, entry.step) for entry in history}
        for file in client.list_artifacts(run.info.run_id):
            kept.files[file.path] = f"this is {file.path}"
        mirror.runs[run.info.run_id] = kept
    monkeypatch.setattr(background, "connect", lambda _: store)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    record_all(new_search(tmp_path / "search"))
    assert essence(mirror) == essence(store)
