"""A server that comes and goes and a driver that is killed: MLflow holds every trial, once, in the end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.system.recorded_trials import REPEATS, SEARCH_ID, STEPS, TRIALS, epochs, state, value
from tuner.recording.spool import Spool

pytestmark = pytest.mark.system

ROOT = Path(__file__).parent.parent.parent
PATIENCE_S = 300  # a server's first start makes its database
STATUS = {"complete": "FINISHED", "stopped": "KILLED", "diverged": "FAILED"}


class Server:
    """MLflow's own, over a SQLite store in `home`, always at the same address."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self._home / 'mlflow.db'}"]
        command += ["--artifacts-destination", str(self._home / "artifacts")]
        with (self._home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, cwd=self._home,
                env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            )  # fmt: skip
        until(self._answers)

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, how)
            self._process.wait(60)
            self._process = None
            until(lambda: not self._answers())

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not reached():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def driver(folder: Path, server: Server) -> "subprocess.Popen[bytes]":
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
    server = Server(home)
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
        (best,) = client.get_metric_history(run.info.run_id, "best_map")
        assert (best.value, best.step) == (values[-1], epochs(number))


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
