"""A search whose driver, workers, MLflow server and database are killed at random ends as one that nobody touches."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from optuna.trial import TrialState as OptunaState

from tests.system.formula_search import LOG, start_search, value
from tests.system.servers import MlflowServer, Postgres, studies_and_runs, until
from tests.tuner.tiny_dataset import make_dataset
from tuner.assembly import scheduler_of
from tuner.schedulers.decision import Past
from tuner.search_folder import read_identity
from tuner.spec.search_spec import SearchSpec, load_spec
from tuner.study.history import read_trials
from tuner.study.record import TrialRecord, TrialState

pytestmark = pytest.mark.system

TRIALS, EPOCHS = 40, 9
DRIVER_KILLS, WORKER_KILLS, OUTAGES = 20, 20, 3
SEED = 20_250_101
SPEC = f"""\
name: chaos
base: {{loss.box: 1}}
space:
  loss.box: {{uniform: [2, 15]}}
sampler: {{name: random, seed: 5}}
scheduler: {{name: promotion, grace: 1, reduction_factor: 3}}
budget: {{trials: {TRIALS}, epochs: {EPOCHS}}}
resources: {{max_concurrent: 2}}
"""


class Chaos:
    """One search, its servers, and what befalls them. `story` says what was done when."""

    def __init__(self, home: Path, database: Postgres, server: MlflowServer) -> None:
        self.home, self.out = home, home / "out"
        self.database, self.server = database, server
        self.random = random.Random(SEED)
        self.story: list[str] = []
        self._began = time.monotonic()
        self.over = threading.Event()
        self.worker_kills = 0

    def tell(self, what: str) -> None:
        self.story.append(f"{time.monotonic() - self._began:7.1f} s  {what}")

    def driver(self) -> "subprocess.Popen[bytes]":
        return start_search(
            self.home, self.out, MLFLOW_TRACKING_URI=self.server.uri, SPIKETUNE_STUDY_URL=self.database.url("studies")
        )

    def trained(self) -> list[tuple[float, int, int]]:
        """Box weight, epoch and process of every epoch that was ever trained."""
        file = self.home / LOG
        lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
        return [(float(box), int(epoch), int(pid)) for box, epoch, pid in lines]

    def kill_workers(self) -> None:
        """Twenty times, whichever worker has just trained an epoch."""
        seen = 0
        while self.worker_kills < WORKER_KILLS and not self.over.wait(self.random.uniform(0.3, 2)):
            trained = self.trained()
            if len(trained) == seen:
                continue
            seen = len(trained)
            box, epoch, pid = trained[-1]
            if is_worker(pid):
                os.kill(pid, signal.SIGKILL)
                self.worker_kills += 1
                self.tell(f"worker killed after epoch {epoch} of {box:.2f}")


def is_worker(pid: int) -> bool:
    """Whether the process is one of Ray's still: numbers are used again."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::")
    except OSError:
        return False


@pytest.fixture(scope="module")
def chaos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chaos]:
    home = tmp_path_factory.mktemp("chaos")
    home.chmod(0o755)
    (home / "spec.yaml").write_text(SPEC)
    make_dataset(home / "recordings", home / "dataset")
    with studies_and_runs("chaos", home) as (database, server):
        chaos = Chaos(home, database, server)
        try:
            befall(chaos)
            yield chaos
        finally:
            chaos.over.set()


def befall(chaos: Chaos) -> None:
    """Run the search to its end, and let things happen on the way."""
    killer = threading.Thread(target=chaos.kill_workers)
    killer.start()
    outages = {DRIVER_KILLS * turn // (OUTAGES + 1) for turn in range(1, OUTAGES + 1)}
    for kill in range(DRIVER_KILLS):
        if kill in outages:
            chaos.server.stop()
            chaos.tell("MLflow's server killed")
        if kill - 1 in outages:
            chaos.server.start()
            chaos.tell("MLflow's server started")
        driver = chaos.driver()
        wait_to_kill(chaos, driver, while_training=kill % 2 == 0)
        if driver.poll() is not None:
            chaos.tell(f"the search ended before kill {kill + 1}: exit code {driver.returncode}")
            break
        if kill == DRIVER_KILLS // 2:
            chaos.database.stop()
            chaos.tell("the database stopped at once")
            time.sleep(5)
            chaos.database.start()
            chaos.tell("the database started")
            time.sleep(chaos.random.uniform(0, 5))
        driver.kill()
        driver.wait()
        chaos.tell(f"driver killed, {len(chaos.trained())} epochs trained")
    last = chaos.driver()
    assert last.wait(900) == 0, (chaos.home / "driver.log").read_text()[-3000:]
    chaos.over.set()
    killer.join()
    chaos.tell("the search is over")
    (chaos.home / "story.txt").write_text("\n".join(chaos.story) + "\n")
    sys.stdout.write("\n".join(chaos.story) + "\n")


def wait_to_kill(chaos: Chaos, driver: "subprocess.Popen[bytes]", *, while_training: bool) -> None:
    """Until a random moment of the start, or one soon after the first epoch that this driver's workers train."""
    if not while_training:
        time.sleep(chaos.random.uniform(0.5, 20))
        return
    before = len(chaos.trained())
    until(lambda: len(chaos.trained()) > before or driver.poll() is not None)
    time.sleep(chaos.random.uniform(0, 1.5))


@pytest.fixture(scope="module")
def spec(chaos: Chaos) -> SearchSpec:
    return load_spec(chaos.home / "spec.yaml")


@pytest.fixture(scope="module")
def records(chaos: Chaos) -> list[TrialRecord]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPIKETUNE_STUDY_URL", chaos.database.url("studies"))
        return read_trials(chaos.out, read_identity(chaos.out).search_id)[1]


@pytest.fixture(scope="module")
def runs(chaos: Chaos) -> list[Run]:
    client = MlflowClient(chaos.server.uri)
    experiment = client.get_experiment_by_name("spiketune")
    return list(client.search_runs([experiment.experiment_id], max_results=1000))


def test_as_much_was_killed_as_was_promised(chaos: Chaos) -> None:
    told = Counter(" ".join(line.split()[2:4]) for line in chaos.story)
    assert told["driver killed,"] == DRIVER_KILLS, chaos.story
    assert chaos.worker_kills == WORKER_KILLS, chaos.story


def test_no_configuration_is_lost_or_run_twice(records: list[TrialRecord]) -> None:
    assert len(records) == TRIALS
    boxes = [record.config["loss.box"] for record in records]
    assert len(set(boxes)) == TRIALS


def test_every_trial_has_ended_as_without_kills(records: list[TrialRecord]) -> None:
    assert {record.state for record in records} == {TrialState.COMPLETE, TrialState.STOPPED}
    # Rungs at 1 and 3: whoever did not go on from one has exactly its epochs, each once.
    for record in records:
        assert record.epochs in (1, 3, EPOCHS)
        assert record.curve == {e: (value(record.config["loss.box"], e),) for e in range(1, record.epochs + 1)}


def test_an_epoch_is_trained_again_only_where_a_kill_took_it(chaos: Chaos, records: list[TrialRecord]) -> None:
    told = sum(record.epochs for record in records)
    trained = len(chaos.trained())
    # A kill can take what is in flight on both workers, or the one epoch of a killed worker.
    assert told <= trained <= told + 2 * DRIVER_KILLS + WORKER_KILLS


def test_nothing_stays_running_in_optuna(chaos: Chaos, records: list[TrialRecord]) -> None:
    name = read_identity(chaos.out).search_id
    storage = optuna.storages.RDBStorage(chaos.database.url("studies"))
    study = optuna.load_study(study_name=name, storage=storage)
    assert {trial.state for trial in study.trials} == {OptunaState.COMPLETE, OptunaState.PRUNED}
    assert study.best_value == max(record.curve[record.epochs][0] for record in records if record.epochs == EPOCHS)
    storage.engine.dispose()


def test_mlflow_has_one_run_for_each_trial_and_one_entry_for_each_epoch(
    chaos: Chaos, records: list[TrialRecord], runs: list[Run]
) -> None:
    assert len(runs) == TRIALS + 1
    assert {run.info.status for run in runs} == {"FINISHED", "KILLED"}
    client = MlflowClient(chaos.server.uri)
    by_trial = {int(run.data.tags["trial"]): run for run in runs if "trial" in run.data.tags}
    for record in records:
        run = by_trial[record.number]
        assert run.info.run_id == record.mlflow_run_id
        history = client.get_metric_history(run.info.run_id, "map")
        assert sorted((entry.step, entry.value) for entry in history) == [
            (epoch, values[0]) for epoch, values in sorted(record.curve.items())
        ]


def test_the_rungs_are_those_of_a_replay(spec: SearchSpec, records: list[TrialRecord]) -> None:
    restored, replayed = scheduler_of(spec), scheduler_of(spec)
    restored.restore(Past(r.number, {e: v[0] for e, v in r.curve.items()}, ended=True) for r in records)
    for record in records:
        for epoch, values in record.curve.items():
            replayed.report(record.number, epoch, values[0])
        replayed.end(record.number)
    assert [(rung.epoch, dict(rung.values)) for rung in restored.rungs()] == [
        (rung.epoch, dict(rung.values)) for rung in replayed.rungs()
    ]
    first = restored.rungs()[0]
    assert set(first.values) == set(range(TRIALS))


def test_the_best_configuration_won(chaos: Chaos, records: list[TrialRecord]) -> None:
    """Without kills the largest box weight is the best at every rung, so it is always promoted to the end."""
    best = max(records, key=lambda record: record.config["loss.box"])
    assert best.state is TrialState.COMPLETE
    assert (chaos.out / "best.safetensors").read_text() == f"{best.config['loss.box']} {EPOCHS}"


def test_no_process_of_the_search_is_left(chaos: Chaos) -> None:
    pids = {pid for _, _, pid in chaos.trained()}
    until(lambda: not any(is_worker(pid) for pid in pids), 60)
