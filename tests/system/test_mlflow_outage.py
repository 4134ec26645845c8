"""A server that comes and goes and a driver that is killed: MLflow holds every trial, once, in the end."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.system.recorded_trials import REPEATS, SEARCH_ID, STEPS, TRIALS, epochs, state, value
from tests.system.servers import PATIENCE_S, MlflowServer, until
from tuner.recording.spool import Spool

pytestmark = pytest.mark.system

ROOT = Path(__file__).parent.parent.parent
STATUS = {"complete": "FINISHED", "stopped": "KILLED", "diverged": "FAILED"}


def driver(folder: Path, server: MlflowServer) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "MLFLOW_TRACKING_URI": server.uri, "PYTHONPATH": str(ROOT)}
    with (folder / "driver.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.system.recorded_trials", str(folder)],
            cwd=ROOT, env=environment, stdout=log, stderr=log,
        )  # fmt: skip


def told(folder: Path) -> int:
    file = folder / "progress"
    return int(file.read_text()) if file.exists() else 0


def allow(folder: Path, share: float, *, stay: bool = True) -> None:
    """Let the driver tell this share of its steps, and wait until it has unless told otherwise."""
    limit = round(share * STEPS)
    part = folder / "limit.part"
    part.write_text(str(limit))
    part.replace(folder / "limit")
    if stay:
        until(lambda: told(folder) >= limit)


def recorded(folder: Path) -> int:
    """How many records MLflow has been given."""
    spool = Spool(folder)
    try:
        position = json.loads((spool.folder / "position.json").read_text())["position"]
        return sum(after <= position for _, after in spool.read(0))
    finally:
        spool.close()


def kill(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[Run], MlflowClient]]:
    """The search's folder, and what the server holds after three outages and two kills."""
    home = tmp_path_factory.mktemp("outage")
    folder = home / "search"
    folder.mkdir()
    for name in ("spec.yaml", "best.yaml", "best.safetensors"):
        (folder / name).write_text(name)
    (folder / "limit").write_text("0")
    server = MlflowServer(home)
    process = None
    try:
        server.start()
        process = driver(folder, server)
        allow(folder, 0.2)
        server.stop()  # the first outage, in which the driver dies
        allow(folder, 0.5, stay=False)
        until(lambda: told(folder) > 0.3 * STEPS)
        kill(process)
        process = driver(folder, server)
        allow(folder, 0.5)
        server.start()
        allow(folder, 0.6)
        server.stop(signal.SIGTERM)  # the second
        server.start()
        until(lambda: recorded(folder) > 0.3 * STEPS)
        allow(folder, 0.9, stay=False)
        until(lambda: told(folder) > 0.7 * STEPS)
        kill(process)  # while all is well
        process = driver(folder, server)
        allow(folder, 0.9)
        server.stop()  # the third, over the end of the search
        allow(folder, 1.1, stay=False)
        until(lambda: told(folder) == STEPS)
        server.start()
        assert process.wait(PATIENCE_S) == 0, (folder / "driver.log").read_text()
        client = MlflowClient(tracking_uri=server.uri)
        experiment = client.get_experiment_by_name("spiketune").experiment_id
        yield folder, list(client.search_runs([experiment], max_results=1000)), client
    finally:
        if process is not None:
            kill(process)
        server.stop()


def test_every_trial_is_one_run_that_says_how_it_ended(ended: tuple[Path, list[Run], MlflowClient]) -> None:
    _, runs, _ = ended
    by_trial = {run.data.tags.get("trial", "search"): run for run in runs}
    assert len(runs) == len(by_trial) == TRIALS + 1
    assert {run.data.tags["search_id"] for run in runs} == {SEARCH_ID}
    assert by_trial["search"].info.status == "FINISHED"
    for number in range(TRIALS):
        run = by_trial[str(number)]
        assert (run.info.status, run.data.tags["state"]) == (STATUS[state(number)], state(number))
        above = by_trial[str(REPEATS.get(number, "search"))]
        assert run.data.tags["mlflow.parentRunId"] == above.info.run_id
        assert run.data.params == {"loss.box": str(number), "training.epochs": "4"}


def test_every_epoch_is_one_entry_of_each_metric(ended: tuple[Path, list[Run], MlflowClient]) -> None:
    _, runs, client = ended
    for run in runs:
        if "trial" not in run.data.tags:
            continue
        number = int(run.data.tags["trial"])
        for name in ("map", "loss", "epoch"):
            steps = [entry.step for entry in client.get_metric_history(run.info.run_id, name)]
            assert steps == list(range(1, epochs(number) + 1))
        values = [entry.value for entry in client.get_metric_history(run.info.run_id, "map")]
        assert values == [value(number, epoch) for epoch in range(1, epochs(number) + 1)]
        # Each epoch is better than the one before.
        assert [entry.value for entry in client.get_metric_history(run.info.run_id, "best_map")] == values


def test_files_and_ids_arrive_and_nothing_is_left_to_say(ended: tuple[Path, list[Run], MlflowClient]) -> None:
    folder, runs, client = ended
    by_trial = {run.data.tags.get("trial", "search"): run.info.run_id for run in runs}
    files = {key: {file.path for file in client.list_artifacts(run_id)} for key, run_id in by_trial.items()}
    plots = {"optimisation_history.png", "learning_curves.png"}
    assert files == {
        **{str(number): set() for number in range(TRIALS)},
        "27": {"best.safetensors"},
        "search": {"spec.yaml", "best.yaml"} | plots,
    }
    final = json.loads((folder / "told.json").read_text())
    assert final["notes"] == []
    assert final["ids"] == {key: run_id for key, run_id in by_trial.items() if key != "search"}
