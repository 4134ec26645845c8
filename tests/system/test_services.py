"""A head's services as real processes: who may do what, and what comes back after kills, a stop and a host's death."""

import base64
import os
import shutil
import signal
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import mlflow
import optuna
import psutil
import psycopg
import pytest
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tests.system.command import run
from tests.system.servers import free_port, until
from tuner.services.lifecycle import ProgramStatus, status
from tuner.services.sole import left_behind
from tuner.services.state import State
from tuner.services.supervision import Supervisor

pytestmark = pytest.mark.cluster
BYTES = b"weights"


@dataclass(frozen=True)
class Head:
    """A state folder, and the ports of this test."""

    folder: Path
    mlflow_port: int
    database_port: int

    @property
    def state(self) -> State:
        return State(self.folder / "state")

    def command(self, verb: str, *options: str) -> str:
        arguments = ("services", verb, *options, "--state", str(self.state.folder))
        return run(self.folder, arguments, SPIKETUNE_SHARED=str(self.folder)).stdout

    def start(self) -> str:
        ports = ("--mlflow-port", str(self.mlflow_port), "--database-port", str(self.database_port))
        return self.command("start", *ports, "--workers", "1")

    def pid(self, program: str) -> int:
        return int(Supervisor(self.state).states()[program]["pid"])

    def programs(self) -> dict[str, ProgramStatus]:
        return {program.name: program for program in status(self.state)}

    def all_answer(self) -> bool:
        return all(program.answers for program in self.programs().values())


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    if not list(Path("/usr/lib/postgresql").glob("*/bin/postgres")) and shutil.which("postgres") is None:
        pytest.skip("PostgreSQL is not installed (Debian's package is called postgresql)")
    # Not below a test's folder, which only its user may enter, who is not PostgreSQL's.
    with tempfile.TemporaryDirectory(prefix="spiketune-head-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        made = Head(Path(folder), free_port(), free_port())
        try:
            made.start()
            yield made
        finally:
            made.command("stop")


def variables(file: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in file.read_text().splitlines())


@pytest.fixture(scope="module")
def kept(head: Head) -> tuple[str, str]:
    """A run with a metric and a file, and a study, written as a search would, with client.env alone: the run's id."""
    with pytest.MonkeyPatch.context() as patch:
        become(head.state.client_env, patch)
        client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
        experiment = client.get_experiment_by_name(os.environ["MLFLOW_EXPERIMENT_NAME"])
        made = client.create_run(experiment.experiment_id).info.run_id
        client.log_metric(made, "map", 0.25)
        (head.folder / "best.safetensors").write_bytes(BYTES)
        client.log_artifact(made, str(head.folder / "best.safetensors"))
        storage = optuna.storages.RDBStorage(os.environ["SPIKETUNE_STUDY_URL"])
        study = optuna.create_study(study_name="kept", storage=storage)
        study.add_trial(optuna.trial.create_trial(value=0.25))
        storage.engine.dispose()
    return made, str(experiment.experiment_id)


def become(file: Path, patch: pytest.MonkeyPatch) -> None:
    for name, value in variables(file).items():
        patch.setenv(name, value)


def assert_kept(head: Head, run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written is there."""
    become(head.state.client_env, monkeypatch)
    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    assert client.get_run(run_id).data.metrics == {"map": 0.25}
    path = mlflow.artifacts.download_artifacts(
        run_id=run_id, artifact_path="best.safetensors", tracking_uri=os.environ["MLFLOW_TRACKING_URI"]
    )
    assert Path(path).read_bytes() == BYTES
    storage = optuna.storages.RDBStorage(os.environ["SPIKETUNE_STUDY_URL"])
    assert [trial.value for trial in optuna.load_study(study_name="kept", storage=storage).trials] == [0.25]
    storage.engine.dispose()


def test_what_a_search_writes_with_the_clients_file_can_be_read_again(
    head: Head, kept: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert head.all_answer()
    assert_kept(head, kept[0], monkeypatch)


@pytest.mark.parametrize("path", ["api/2.0/mlflow/runs/get?run_id={run}", "get-artifact?run_id={run}&path=best", ""])
@pytest.mark.parametrize("user", ["", "spiketune:wrong", "admin:password1234"])
def test_without_the_password_nothing_is_told(head: Head, kept: tuple[str, str], path: str, user: str) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{head.mlflow_port}/{path.format(run=kept[0])}")
    if user:
        request.add_header("Authorization", "Basic " + base64.b64encode(user.encode()).decode())
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30)
    refused.value.close()
    assert refused.value.code == 401


def test_a_page_of_another_name_is_refused_whoever_asks(head: Head) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{head.mlflow_port}/", headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30)
    refused.value.close()
    assert refused.value.code == 403


def test_another_user_reads_all_and_writes_only_what_is_its_own(
    head: Head, kept: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    head.command("add-user", "ann")
    head.command("add-user", "ann")  # is there already: its file stays good
    file = head.state.user_env("ann")
    assert file.stat().st_mode & 0o777 == 0o600
    become(file, monkeypatch)
    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    assert client.get_run(kept[0]).data.metrics == {"map": 0.25}
    own = client.create_run(client.get_experiment_by_name("spiketune-ann").experiment_id).info.run_id
    client.log_metric(own, "map", 0.5)
    client.log_artifact(own, str(head.folder / "best.safetensors"))
    writes: list[Callable[[], object]] = [
        lambda: client.log_metric(kept[0], "map", 1.0),
        lambda: client.delete_run(kept[0]),
        lambda: client.create_run(kept[1]),
        lambda: client.log_artifact(kept[0], str(head.folder / "best.safetensors")),
    ]
    for write in writes:
        with pytest.raises((MlflowException, requests.HTTPError), match=r"403|[Pp]ermission"):
            write()
    assert client.get_run(kept[0]).data.metrics == {"map": 0.25}


def test_the_databases_are_entered_by_their_owners_alone(head: Head, kept: tuple[str, str]) -> None:
    ann = variables(head.state.user_env("ann"))["SPIKETUNE_STUDY_URL"].replace("+psycopg", "")
    psycopg.connect(ann).close()
    for url in (
        ann.replace("/studies-ann", "/studies"),
        ann.replace("/studies-ann", "/mlflow"),
        ann.replace("ann:", "ann:x"),
        f"postgresql://spiketune_admin@127.0.0.1:{head.database_port}/postgres",
    ):
        with pytest.raises(psycopg.OperationalError, match=r"denied|password"):
            psycopg.connect(url, connect_timeout=10)


def test_a_second_start_changes_nothing(head: Head, kept: tuple[str, str]) -> None:
    before = head.pid("postgres"), head.pid("mlflow"), head.state.client_env.read_text()
    head.start()
    assert (head.pid("postgres"), head.pid("mlflow"), head.state.client_env.read_text()) == before


def test_what_is_killed_comes_back_with_what_it_kept(
    head: Head, kept: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for program in ("postgres", "mlflow"):
        killed = head.pid(program)
        os.kill(killed, signal.SIGKILL)
        until(lambda killed=killed, program=program: head.pid(program) not in (0, killed))  # type: ignore[misc]
    until(head.all_answer)
    assert_kept(head, kept[0], monkeypatch)


def test_after_a_hosts_death_they_start_with_what_they_kept(
    head: Head, kept: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All die at once; a socket, a pid file and PostgreSQL's lock stay, and the lock names another process by now."""
    lock = head.state.database / "postmaster.pid"
    supervisord = psutil.Process(int((head.state.folder / "supervisord.pid").read_text()))
    dying = [supervisord, *supervisord.children(recursive=True)]
    for process in dying:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(dying, timeout=30)
    text = lock.read_text().split("\n", 1)[1]
    lock.write_text(f"{os.getpid()}\n{text}")
    assert {program.state for program in head.programs().values()} == {"STOPPED"}
    head.start()
    assert_kept(head, kept[0], monkeypatch)


def test_no_password_is_in_a_command_line_or_a_log(head: Head) -> None:
    secrets = [file.read_text() for file in (head.state.folder / "secrets").iterdir()]
    assert len(secrets) >= 5
    seen = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    assert any("tuner.services.sole" in words or "mlflow" in words for words in seen)
    logs = [file.read_text(errors="replace") for file in head.state.logs.iterdir()]
    assert [secret[:4] for secret in secrets if any(secret in text for text in [*logs, *map(" ".join, seen)])] == []


def test_stopping_leaves_no_process_though_their_supervisor_was_killed_and_everything_kept(
    head: Head, kept: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {head.pid("postgres"), head.pid("mlflow")}
    os.kill(int((head.state.folder / "supervisord.pid").read_text()), signal.SIGKILL)
    assert all(psutil.pid_exists(pid) for pid in before)
    head.command("stop")
    head.command("stop")  # is no mistake
    assert not any(psutil.pid_exists(pid) for pid in before)
    assert left_behind(f"unix://{head.state.socket}") == []
    assert not (head.state.database / "postmaster.pid").exists()
    head.start()
    assert_kept(head, kept[0], monkeypatch)
