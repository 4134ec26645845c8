"""A search on three hosts that `ray up` has raised outlives the death of a host, a link, its driver and the head."""

import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from data.dataset import Dataset
from tests.system.hosts import CLUSTER, HEAD, OWNER_ID, SHARED, WORKERS
from tests.system.ray_hosts import CLIENT_ENV, Cluster
from tests.system.servers import until

pytestmark = pytest.mark.cluster

EPOCHS = 30
# More trials than there is time for: the search is stopped when all has happened to it.
SPEC = f"""\
name: night
base:
  data: {{time_steps: 4}}
space:
  loss.box: {{log_uniform: [2, 15]}}
objective: {{windows: 4}}
sampler: {{name: random, seed: 5}}
scheduler: {{name: none}}
budget: {{trials: 500, epochs: {EPOCHS}}}
resources: {{cpus: 2}}
"""
STUDY = """
import json, sys
from pathlib import Path
from tuner.study.history import read_study
for trial in read_study(Path(sys.argv[1])).trials:
    legs = [[leg.node, leg.after_epoch] for leg in trial.legs]
    epochs = [[told.epoch, told.at_s] for told in trial.epochs]
    print(json.dumps([trial.record.number, trial.record.state.value, legs, epochs, trial.record.error]))
"""
RUNS = """
import mlflow
ids = [one.experiment_id for one in mlflow.search_experiments()]
print(*sorted(run.info.run_id for run in mlflow.search_runs(ids, output_format="list")))
"""
PATIENCE_S = 400


@dataclass(frozen=True)
class Trial:
    """A trial as the study tells it."""

    number: int
    state: str
    legs: list[tuple[str, int]]  # the node of each worker that took it up, and the epochs before
    epochs: list[tuple[int, float]]  # and when they were told, Unix seconds
    error: str | None

    def node_of(self, epoch: int) -> str:
        """Where an epoch was trained."""
        return [node for node, after in self.legs if after < epoch][-1]


class Night:
    """One search, and what befalls the hosts under it; the hosts' story says when."""

    def __init__(self, cluster: Cluster, dataset: Dataset) -> None:
        self.cluster, self.hosts = cluster, cluster.hosts
        self.dataset = SHARED / "dataset"
        shutil.copytree(dataset.location, self.hosts.shared / "dataset")
        for path in (self.hosts.shared / "dataset", *(self.hosts.shared / "dataset").rglob("*")):
            os.chown(path, OWNER_ID, OWNER_ID)
        (self.hosts.machines["client"].home / "night.yaml").write_text(SPEC)
        self.job = ""
        self.epochs_at_death: dict[int, int] = {}

    def submit(self) -> tuple[str, bool]:
        told = self.cluster.spiketune(f"submit ~/night.yaml --data {self.dataset} --env-file {CLIENT_ENV}")
        self.hosts.tell(f"{told['job']} submitted{'' if told['new'] else ', as before'}")
        return told["job"], told["new"]

    def trials(self) -> list[Trial]:
        """From the study in the head's database; none while that is away."""
        ask = f"set -a; . ~/spiketune-services/client.env; python -c {shlex.quote(STUDY)} {SHARED}/searches/{self.job}"
        done = self.hosts.run(HEAD, f". ~/spiketune.env; {ask}", check=False)
        rows = [json.loads(line) for line in done.stdout.splitlines()] if done.returncode == 0 else []
        return [
            Trial(number, state, [(n, a) for n, a in legs], [(e, t) for e, t in epochs], error)
            for number, state, legs, epochs, error in rows
        ]

    def trained_since(self, since_s: float) -> set[str]:
        """The hosts where epochs have ended since then."""
        return {trial.node_of(epoch) for trial in self.trials() for epoch, at_s in trial.epochs if at_s > since_s}

    def await_epochs_on(self, *names: str) -> None:
        """Until each of these hosts has trained an epoch from now on."""
        begun_s = time.time()
        until(lambda: self.trained_since(begun_s) >= set(names), PATIENCE_S)
        self.hosts.tell(f"epochs trained on {', '.join(names)}")

    def state(self) -> tuple[str, int]:
        """How the job stands, and its attempt."""
        told = self.cluster.spiketune(f"status {self.job}")
        return told["state"], told["attempt"]

    def runs(self) -> set[str]:
        """The ids of all of MLflow's runs."""
        given = dict(line.split("=", 1) for line in self.hosts.run("client", f"cat {CLIENT_ENV}").stdout.splitlines())
        done = self.hosts.python("client", RUNS, **given)
        assert done.returncode == 0, done.stderr[-2000:]
        return set(done.stdout.split())


@pytest.fixture(scope="module")
def night(cluster: Cluster, tiny_dataset: Dataset) -> Night:
    return Night(cluster, tiny_dataset)


def test_the_doctor_finds_the_cluster_healthy(night: Night) -> None:
    command = (
        f"spiketune doctor --cluster ~/cluster.yaml --env-file {CLIENT_ENV} --data {night.dataset} --shared {SHARED}"
    )
    done = night.hosts.run("client", command, check=False, RAY_AUTH_MODE="token")
    night.hosts.tell("doctor")
    assert done.returncode == 0, done.stdout + done.stderr


def test_submitting_twice_is_one_job(night: Night) -> None:
    first, new = night.submit()
    second, again = night.submit()
    assert (first, new, again) == (second, True, False)
    night.job = first


def test_trials_run_on_both_workers(night: Night) -> None:
    night.await_epochs_on(*WORKERS)
    assert HEAD not in {node for trial in night.trials() for node, _ in trial.legs}


def test_the_trials_of_a_host_that_dies_go_on_elsewhere_from_their_last_epoch(night: Night) -> None:
    dies, other = WORKERS[1], WORKERS[0]

    def on_it() -> list[Trial]:
        """The trial that it trains, with some epochs done and some to come."""
        running = [trial for trial in night.trials() if trial.state == "running" and trial.legs]
        return [trial for trial in running if trial.legs[-1][0] == dies and 2 <= len(trial.epochs) <= EPOCHS - 10]

    until(lambda: on_it() != [], PATIENCE_S)
    night.hosts.power_off(dies)
    (victim,) = on_it()
    until(lambda: night.cluster.nodes() == {HEAD, other}, PATIENCE_S)
    night.hosts.tell(f"{dies}: its death is known")
    until(lambda: night.trials()[victim.number].legs[-1][0] == other, PATIENCE_S)
    after = night.trials()[victim.number].legs[-1][1]
    night.hosts.tell(f"trial {victim.number}: goes on on {other} after epoch {after}")
    assert after >= len(victim.epochs) - 1
    assert after > 0


def test_a_host_that_comes_back_is_used_again(night: Night) -> None:
    night.hosts.start(WORKERS[1])
    night.cluster.await_nodes(*CLUSTER)
    night.hosts.tell("three nodes again")
    night.await_epochs_on(WORKERS[1])


def test_a_cut_link_is_outlived(night: Night) -> None:
    night.hosts.cut(WORKERS[0])
    time.sleep(30)
    night.hosts.join(WORKERS[0])
    night.cluster.await_nodes(*CLUSTER)
    night.await_epochs_on(*WORKERS)


def test_a_driver_that_is_killed_is_submitted_again_and_the_search_resumes(night: Night) -> None:
    attempt = night.state()[1]
    before = {trial.number: len(trial.epochs) for trial in night.trials()}
    drivers = [process for process in night.hosts.machines[HEAD].processes() if "tuner.jobs.drive" in process.cmdline()]
    assert drivers
    for process in drivers:
        process.kill()
    night.hosts.tell("driver killed")
    until(lambda: night.state() == ("running", attempt + 1), PATIENCE_S)
    night.hosts.tell(f"attempt {attempt + 1} runs")
    night.await_epochs_on(*WORKERS)
    now = {trial.number: len(trial.epochs) for trial in night.trials()}
    assert all(now[number] >= epochs for number, epochs in before.items())  # nothing was forgotten


def test_the_head_restarts_and_the_search_and_its_record_go_on(night: Night) -> None:
    runs, attempt = night.runs(), night.state()[1]
    before = {trial.number: len(trial.epochs) for trial in night.trials()}
    assert len(runs) >= 3
    night.hosts.power_off(HEAD)
    night.hosts.start(HEAD)
    night.cluster.raise_again()
    night.hosts.tell("ray up again")
    assert night.runs() >= runs
    night.cluster.await_nodes(*CLUSTER)
    night.hosts.tell("three nodes again")
    until(lambda: night.state() == ("running", attempt + 1), PATIENCE_S)
    night.hosts.tell(f"attempt {attempt + 1} runs")
    night.await_epochs_on(*WORKERS)
    now = {trial.number: len(trial.epochs) for trial in night.trials()}
    assert all(now[number] >= epochs for number, epochs in before.items())


def test_the_search_is_stopped_with_its_best_and_no_trial_has_failed(night: Night) -> None:
    told = night.cluster.spiketune(f"stop {night.job} --keep-best")
    night.hosts.tell("stopped")
    assert told["state"] == "stopped"
    assert {Path(file).name for file in told["files"]} >= {"best.yaml", "best.safetensors"}
    trials = night.trials()
    assert [(trial.number, trial.error) for trial in trials if trial.state == "failed"] == []
    complete = [trial for trial in trials if trial.state == "complete"]
    assert len(complete) >= 2
    assert all([epoch for epoch, _ in trial.epochs] == list(range(1, EPOCHS + 1)) for trial in complete)


def test_nothing_is_left_after_the_services_are_stopped_and_the_cluster_is_down(night: Night) -> None:
    night.cluster.on_head("spiketune services stop")
    night.hosts.tell("services stopped")
    night.cluster.down()

    def left() -> list[str]:
        return night.cluster.command_lines()

    until_empty(left)
    night.hosts.tell("no process is left")
    assert {name: night.hosts.listening(name) for name in CLUSTER} == {name: set() for name in CLUSTER}


def until_empty(left: Callable[[], list[str]]) -> None:
    deadline = time.monotonic() + 150
    while found := left():
        assert time.monotonic() < deadline, found
        time.sleep(1)


def test_the_story_is_told(night: Night, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(night.hosts.story) + "\n")
    assert len(night.hosts.story) > 10
