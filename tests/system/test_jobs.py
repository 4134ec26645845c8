"""Jobs on a real Ray head with a token: two searches share it, a driver and the head die, secrets stay secret."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ray.job_submission import JobSubmissionClient

from tests.system.command import COMMAND
from tests.system.ray_head import RayHead, ray_head, told_by_processes
from tests.system.servers import until
from tests.tuner.tiny_dataset import make_dataset
from tuner.jobs.record import Record, Records

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
PATIENCE_S = 900.0  # on a machine that does much else; a quiet one needs seconds
SECRET = "open-sesame-4711"
SPEC = """\
name: {name}
base:
  data: {{scale: 0.5, time_steps: 1}}
  training: {{windows_per_epoch: 2, batch_size: 2, compile: "off"}}
space:
  loss.box: {{log_uniform: [2, 15]}}
objective: {{windows: 2}}
sampler: {{name: random}}
scheduler: {{name: none}}
budget: {{trials: {trials}, epochs: {epochs}}}
"""


@dataclass
class Lab:
    """A head, a client's folder, and what was seen on the way."""

    head: RayHead
    home: Path
    seen: dict[str, Any] = field(default_factory=dict)

    @property
    def records(self) -> Records:
        return Records(self.head.shared)

    def run(self, *arguments: str, allowed: int = 0, **extra: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*COMMAND, *arguments],
            cwd=self.home,
            env=self.head.client_environment | {"PYTHONPATH": str(ROOT)} | extra,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == allowed, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run(*arguments, "--json").stdout)
        return found

    def keep(self) -> str:
        return self.run("keep-jobs", "--once", SPIKETUNE_SHARED=str(self.head.shared)).stdout

    def record(self, job: str) -> Record:
        return self.records.read(job)

    def begins(self, job: str, attempt: int) -> None:
        """Wait until an attempt runs and its search has begun with trials."""
        log = self.records.log(job)
        told = re.compile(rf"attempt {attempt} of {job} .*?^trial \d+ (started|goes on)", re.DOTALL | re.MULTILINE)
        until(lambda: log.is_file() and told.search(log.read_text()) is not None, PATIENCE_S)

    def driver(self, job: str) -> int:
        """The process of the driver."""
        return next(number for number, told in told_by_processes().items() if f"jobs.drive\0{job}\0".encode() in told)


def connected(lab: Lab) -> JobSubmissionClient:
    """Ray's own client, with the token."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in lab.head.client_environment.items():
            patch.setenv(name, value)
        return JobSubmissionClient(lab.head.address)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """All that happens, in its order."""
    home = tmp_path_factory.mktemp("client")
    with ray_head() as head:
        make_dataset(home / "recordings", head.shared / "dataset")
        (home / "long.yaml").write_text(SPEC.format(name="long", trials=200, epochs=30))
        (home / "short.yaml").write_text(SPEC.format(name="short", trials=3, epochs=2))
        (home / "my.env").write_text(f"MY_PASSWORD={SECRET}\nSPIKETUNE_CACHE={head.shared}/cache-of-the-job\n")
        (home / "my.env").chmod(0o600)
        lab = Lab(head, home)
        live(lab)
        yield lab


def live(lab: Lab) -> None:
    data = f"file://{lab.head.shared}/dataset"  # to be fetched, so that workers need a cache
    submit = ("submit", "long.yaml", "--data", data, "--name", "night", "--env-file", "my.env")
    lab.seen["submitted"] = lab.json(*submit)
    job = lab.seen["job"] = lab.seen["submitted"]["job"]
    lab.seen["again"] = lab.json(*submit)
    lab.seen["changed"] = lab.run(*submit, "--trials", "7", allowed=2).stderr
    lab.begins(job, 1)
    lab.seen["cmdlines"] = told_by_processes()

    lab.seen["short"] = lab.run("submit", "short.yaml", "--data", data, "--wait")
    lab.seen["jobs"] = lab.json("jobs")["jobs"]
    lab.seen["resume a running one"] = lab.run("resume", job, allowed=2).stderr

    os.kill(lab.driver(job), signal.SIGKILL)
    until(lambda: "attempt 2 is on its way" in lab.keep(), PATIENCE_S)
    lab.begins(job, 2)

    lab.head.kill()
    lab.head.start()
    lab.seen["lost"] = lab.json("status", job)
    lab.seen["kept"] = lab.keep()
    lab.begins(job, 3)
    lab.seen["kept again"] = lab.keep()

    lab.seen["stopped"] = lab.run("stop", job, "--keep-best").stdout
    lab.seen["kept after the stop"] = lab.keep()
    lab.seen["status"] = lab.json("status", job)
    lab.seen["results"] = lab.json("results", job, "--out", "home")
    lab.seen["logs"] = lab.run("logs", job).stdout
    lab.seen["logs of a trial"] = lab.run("logs", job, "--trial", "1").stdout
    lab.seen["resumed"] = lab.json("resume", job)
    lab.begins(job, 4)
    lab.seen["followed"] = subprocess.Popen(
        [*COMMAND, "logs", job, "-f"],
        cwd=lab.home,
        env=lab.head.client_environment | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    time.sleep(1)
    lab.run("stop", job)
    lab.seen["followed"] = lab.seen["followed"].communicate(timeout=PATIENCE_S)[0]


def test_the_same_submission_is_one_job_and_a_changed_one_needs_another_name(lab: Lab) -> None:
    assert lab.seen["submitted"]["new"] is True
    assert (lab.seen["again"]["job"], lab.seen["again"]["new"]) == (lab.seen["job"], False)
    assert f"--name night: is the name of {lab.seen['job']}" in lab.seen["changed"]
    assert len(lab.records.all()) == 2


def test_a_second_search_has_its_share_while_the_first_one_runs(lab: Lab) -> None:
    assert "trial 2 complete" in lab.seen["short"].stdout
    states = {job["name"]: job["state"] for job in lab.seen["jobs"]}
    assert states == {"night": "running", "short": "finished"}


def test_a_driver_that_is_killed_is_replaced_and_goes_on_with_the_same_search(lab: Lab) -> None:
    text = lab.records.log(lab.seen["job"]).read_text()
    searches = set(re.findall(r"search (night-\S+|long-\S+), results in (\S+);", text))
    assert len(searches) == 1
    assert "is running; only a job that has ended can be resumed" in lab.seen["resume a running one"]


def test_after_the_head_s_death_the_record_tells_and_the_keeper_resubmits_once(lab: Lab) -> None:
    job = lab.seen["job"]
    assert (lab.seen["lost"]["state"], lab.seen["lost"]["attempt"]) == ("lost", 2)
    assert lab.seen["kept"] == f"{job}: Ray knows it no more; attempt 3 is on its way\n"
    assert lab.seen["kept again"] == ""


def test_a_stopped_search_has_written_its_winner_and_is_left_alone(lab: Lab) -> None:
    job = lab.seen["job"]
    assert f"{job}: stopped" in lab.seen["stopped"]
    assert {path.name for path in (lab.home / job).iterdir()} >= {"best.yaml", "best.safetensors"}
    assert lab.seen["kept after the stop"] == ""
    assert lab.seen["status"]["state"] == "stopped"
    assert lab.seen["status"]["work"]["halted"] == "interrupted"


def test_results_come_home_as_they_lie_on_the_cluster(lab: Lab) -> None:
    folder = lab.head.shared / "searches" / lab.seen["job"]
    assert lab.seen["results"]["best"]["checkpoint"] == str(folder / "best.safetensors")
    assert (lab.home / "home" / "best.yaml").is_file()
    kept = (lab.home / lab.seen["job"] / "best.safetensors").read_bytes()
    assert (lab.home / "home" / "best.safetensors").read_bytes() == kept


def test_logs_tell_of_all_attempts_and_of_one_trial_alone(lab: Lab) -> None:
    job = lab.seen["job"]
    assert [f"attempt {number} of {job} on" in lab.seen["logs"] for number in (1, 2, 3)] == [True] * 3
    lines = lab.seen["logs of a trial"].splitlines()
    assert len(lines) > 1
    assert all(line.startswith("trial 1 ") for line in lines if line.startswith("trial"))
    assert f"attempt 4 of {job} on" in lab.seen["followed"]
    assert lab.seen["resumed"]["attempt"] == 4


def test_the_env_file_reaches_the_workers(lab: Lab) -> None:
    cache = lab.head.shared / "cache-of-the-job"
    assert [path for path in cache.rglob("*") if path.is_file()]


def test_the_env_file_s_values_are_found_nowhere_but_in_it(lab: Lab) -> None:
    cmdlines = [told.split(b"\n")[0] for told in lab.seen.pop("cmdlines").values()]
    assert not [line for line in cmdlines if SECRET.encode() in line]
    assert SECRET not in str(lab.seen)
    assert SECRET not in str(connected(lab).list_jobs())
    folders = (lab.head.home / "r", lab.head.shared, lab.home)
    holding = {
        path.name
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and SECRET.encode() in path.read_bytes()
    }
    assert holding <= {"job.env", "my.env"}


def test_without_the_token_nothing_is_told(lab: Lab) -> None:
    strange = lab.home / "strange-token"
    strange.write_text("0" * 32)
    done = lab.run("jobs", allowed=2, RAY_AUTH_TOKEN_PATH=str(strange))
    assert "the cluster asks for its token" in done.stderr
