"""Three searches at once, with PostgreSQL for the studies of all of them and for MLflow."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest
from mlflow import MlflowClient
from optuna.trial import TrialState as OptunaState

from tests.system.formula_search import start_search, value
from tests.system.servers import MlflowServer, Postgres, studies_and_runs
from tests.tuner.tiny_dataset import make_dataset
from tuner.search_folder import read_identity
from tuner.study.history import read_trials

pytestmark = pytest.mark.system

DRIVERS, TRIALS, EPOCHS = 3, 8, 4
SPEC = f"""\
name: shared
base: {{loss.box: 1}}
space:
  loss.box: {{uniform: [2, 15]}}
sampler: {{name: tpe, seed: SEED, startup_trials: 3}}
scheduler: {{name: promotion, grace: 1, reduction_factor: 2}}
budget: {{trials: {TRIALS}, epochs: {EPOCHS}}}
resources: {{max_concurrent: 1}}
"""


@dataclass(frozen=True)
class Shared:
    """What the searches left."""

    database: Postgres
    server: MlflowServer
    folders: list[Path]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    home = tmp_path_factory.mktemp("shared")
    make_dataset(home / "recordings", home / "dataset")
    with studies_and_runs("shared", home) as (database, server):
        yield Shared(database, server, run_all(home, database, server))


def run_all(home: Path, database: Postgres, server: MlflowServer) -> list[Path]:
    """Start all searches before waiting for any; the folders they wrote."""
    stores = {"MLFLOW_TRACKING_URI": server.uri, "SPIKETUNE_STUDY_URL": database.url("studies")}
    running = []
    for seed in range(DRIVERS):
        folder = home / f"driver{seed}"
        folder.mkdir()
        (folder / "spec.yaml").write_text(SPEC.replace("SEED", str(seed)))
        (folder / "dataset").symlink_to(home / "dataset")
        running.append(start_search(folder, folder / "out", **stores))
    for seed, process in enumerate(running):
        assert process.wait(600) == 0, (home / f"driver{seed}" / "driver.log").read_text()[-3000:]
    return [home / f"driver{seed}" / "out" for seed in range(DRIVERS)]


def test_each_search_has_a_study_of_its_own_with_all_of_its_trials(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = shared.database.url("studies")
    monkeypatch.setenv("SPIKETUNE_STUDY_URL", url)
    ids = [read_identity(folder).search_id for folder in shared.folders]
    storage = optuna.storages.RDBStorage(url)
    assert sorted(optuna.get_all_study_names(storage)) == sorted(set(ids))
    for search_id, folder in zip(ids, shared.folders, strict=True):
        records = read_trials(folder, search_id)[1]
        assert len(records) == TRIALS
        for record in records:
            box = float(record.config["loss.box"])
            assert record.curve == {e: (value(box, e),) for e in range(1, record.epochs + 1)}
        states = {trial.state for trial in optuna.load_study(study_name=search_id, storage=storage).trials}
        assert states <= {OptunaState.COMPLETE, OptunaState.PRUNED}
        assert not (folder / "study.db").exists()
    storage.engine.dispose()


def test_mlflow_has_each_search_with_its_own_trials_and_nothing_running(shared: Shared) -> None:
    client = MlflowClient(shared.server.uri)
    experiment = client.get_experiment_by_name("spiketune")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    assert len(runs) == DRIVERS * (TRIALS + 1)
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}
    parents = {run.info.run_id for run in runs if run.data.tags["kind"] == "search"}
    children = Counter(run.data.tags["mlflow.parentRunId"] for run in runs if run.data.tags["kind"] == "trial")
    assert children == dict.fromkeys(parents, TRIALS)


def test_the_address_with_its_user_is_written_nowhere(shared: Shared) -> None:
    for folder in shared.folders:
        for file in folder.parent.rglob("*"):
            if file.is_file() and file.suffix in {".json", ".yaml", ".jsonl", ".log"}:
                assert "spiketune@127.0.0.1" not in file.read_text(errors="replace"), file
