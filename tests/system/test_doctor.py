"""`spiketune doctor` on real nodes, servers and files: a healthy cluster passes, and each planted fault is found."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from data.ingest.ingest import IngestOptions, ingest
from tests.system.command import COMMAND, run
from tests.system.ray_cluster import RayCluster, ray_cluster
from tests.system.servers import answers, free_port, postgres
from tests.system.ssh_server import HEAD, ssh_server
from tests.tuner.tiny_dataset import make_dataset
from tuner.doctor.service_checks import mlflow, study
from tuner.doctor.service_facts import mlflow_facts, study_facts
from tuner.doctor.verdict import Level, Verdict
from tuner.jobs.environment import parse_environment
from tuner.study.address import URL_VARIABLE

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parent.parent.parent
SHARED, DATASET = "~/shared", "~/dataset"  # in the home of who runs Ray on a node
CLIENT_PORT = 10001
# A small disk, a machine without rsync, and Ray's core, which binds as it likes: no fault of a cluster.
MAY_WARN = {"disk", "ssh and rsync", "Ray's ports"}


@dataclass(frozen=True)
class Lab:
    """A cluster with its head's services, and what the doctor said of it before and after faults were planted."""

    home: Path
    services: Path  # the env file of its services
    healthy: list[Verdict]
    sick: list[Verdict]

    def found(self, check: str, node: str = "") -> Verdict:
        """The failure of this check, of this node, that came with the faults."""
        failed = [each for each in self.sick if each.check == check and each.level is Level.FAIL]
        (verdict,) = [each for each in failed if any(node in name for name in each.nodes) or not node]
        assert verdict.remedy
        return verdict


def doctor(folder: Path, home: Path, *options: str, mode: str = "token", patience_s: int = 60) -> list[Verdict]:
    """What it says; and its exit code goes with that."""
    strange = ("RAY_", "AWS_", "MLFLOW_", "SPIKETUNE_")
    environment = {name: text for name, text in os.environ.items() if not name.startswith(strange)}
    environment |= {"HOME": str(home), "RAY_AUTH_MODE": mode, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*COMMAND, "doctor", "--json", "--patience", str(patience_s), *options],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    assert done.returncode == (0 if told["healthy"] else 1)
    return [Verdict.from_dict(verdict) for verdict in told["verdicts"]]


def make_home(home: Path, token: str, dataset: Path, mode: int = 0o600) -> Path:
    """Of who runs Ray on a node."""
    (home / ".ray").mkdir(parents=True)
    (home / ".ray" / "auth_token").write_text(token)
    (home / ".ray" / "auth_token").chmod(mode)
    shutil.copytree(dataset, home / "dataset")
    return home


def other_code(folder: Path) -> Path:
    """The project with one line more."""
    for floor in ("data", "model", "tuner"):
        shutil.copytree(ROOT / floor, folder / floor, ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "tuner" / "front.py").open("a") as file:
        file.write("# one line more\n")
    return folder


@contextmanager
def head_services(folder: Path) -> Iterator[Path]:
    """PostgreSQL and MLflow as a head has them, as they start; the env file they will write."""
    if not list(Path("/usr/lib/postgresql").glob("*/bin/postgres")) and shutil.which("postgres") is None:
        pytest.skip("PostgreSQL is not installed (Debian's package is called postgresql)")
    state = ("--state", str(folder / "state"))
    ports = ("--mlflow-port", str(free_port()), "--database-port", str(free_port()), "--workers", "1")
    try:
        run(folder, ("services", "start", *state, *ports), SPIKETUNE_SHARED=str(folder))
        yield folder / "state" / "client.env"
    finally:
        run(folder, ("services", "stop", *state))


@contextmanager
def listening_to_the_world() -> Iterator[None]:
    """As Ray's client server where it was told to."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):  # another Ray's is there already
            server.bind(("0.0.0.0", CLIENT_PORT))
            server.listen()
        assert answers(CLIENT_PORT)
        yield


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    make_dataset(folder / "recordings", folder / "one")
    for file in sorted((folder / "recordings").rglob("train_day_0001*")):
        file.rename(file.with_name(file.name.replace("0001", "0002")))
    ingest(folder / "recordings", folder / "two", IngestOptions(labels="etram3"))
    token = secrets.token_hex(32)
    home = make_home(folder / "home", token, folder / "one")
    (home / "shared").mkdir()
    sick = make_home(folder / "sick", token, folder / "two", mode=0o644)
    # Not below a test's folder, which only its user may enter, who is not PostgreSQL's.
    with tempfile.TemporaryDirectory(prefix="spiketune-doctor-", ignore_cleanup_errors=True) as outside:
        Path(outside).chmod(0o755)
        # A node that hangs shall not be given up before it is asked.
        settings = {"HOME": str(home), "RAY_AUTH_MODE": "token", "RAY_health_check_failure_threshold": "100"}
        with head_services(Path(outside)) as env_file, ray_cluster(folder, **settings) as ray:
            ray.add(num_cpus=0, include_dashboard=True, dashboard_port=free_port(), node_name="head")
            ray.add(num_cpus=1, node_name="sound")
            asked = ("--address", ray.address, "--data", DATASET, "--shared", SHARED)
            healthy = doctor(folder, home, *asked, "--env-file", str(env_file))
            open_file = folder / "open.env"
            open_file.write_text(env_file.read_text())
            open_file.chmod(0o644)
            plant(ray, folder, sick)
            with listening_to_the_world():
                after = doctor(folder, home, *asked, "--env-file", str(open_file), patience_s=25)
            yield Lab(home, env_file, healthy, after)


def plant(ray: RayCluster, folder: Path, home: Path) -> None:
    """A node with much that is wrong, and one that hangs."""
    environment = {"HOME": str(home), "PYTHONPATH": str(other_code(folder / "code"))}
    ray.add(num_cpus=1, num_gpus=1, node_name="sick", env_vars=environment)
    ray.add(num_cpus=1, node_name="hanging")
    ray.freeze()


def test_a_healthy_cluster_passes(lab: Lab) -> None:
    wrong = [each for each in lab.healthy if each.level is not Level.PASS and each.check not in MAY_WARN]
    assert wrong == []
    assert {each.check for each in lab.healthy if each.level is Level.FAIL} == set()
    assert {each.check for each in lab.healthy} >= {
        "cluster", "nodes answer", "versions", "GPUs", "clocks", "disk", "shared storage", "dataset", "secret files",
        "ports", "token", "job server", "MLflow", "MLflow's door", "database",
    }  # fmt: skip


def test_the_line_of_rays_own_ports_is_a_warning_where_a_token_guards_them(lab: Lab) -> None:
    assert [each.level for each in lab.healthy if each.check == "Ray's ports"] in ([], [Level.WARN])


def test_a_node_with_other_code_is_found(lab: Lab) -> None:
    verdict = lab.found("versions")
    assert verdict.found.startswith("code is ")
    assert ", while most have " in verdict.found
    assert len(verdict.nodes) == 1
    assert "(sick)" in verdict.nodes[0]


def test_a_gpu_that_pytorch_does_not_see_is_found(lab: Lab) -> None:
    assert lab.found("GPUs", "sick").found == "Ray counts 1, PyTorch sees 0"


def test_a_node_without_the_shared_folder_is_found(lab: Lab) -> None:
    assert lab.found("shared storage", "sick").found == "~/shared is no folder there"


def test_another_dataset_on_a_node_is_found(lab: Lab) -> None:
    assert lab.found("dataset", "sick").found.startswith("~/dataset has digest ")


def test_a_token_that_others_may_read_is_found(lab: Lab) -> None:
    verdict = lab.found("secret files", "sick")
    assert verdict.found.endswith("/sick/.ray/auth_token (mode 644)")
    assert verdict.remedy.startswith("chmod 600 ")


def test_an_env_file_that_others_may_read_is_found(lab: Lab) -> None:
    (verdict,) = [each for each in lab.sick if each.check == "secret files" and not each.nodes]
    assert (verdict.level, verdict.found.endswith("open.env (mode 644)")) == (Level.FAIL, True)


def test_a_port_that_the_world_may_reach_is_found(lab: Lab) -> None:
    assert lab.found("ports", "sick").found == "Ray's client server listens at port 10001 of all addresses (0.0.0.0)"


def test_a_node_that_hangs_is_found_and_waited_for_no_longer_than_asked(lab: Lab) -> None:
    assert "(hanging)" in lab.found("nodes answer").nodes[0]
    assert len(lab.found("nodes answer").nodes) == 1


def test_what_is_sound_stays_so_beside_the_faults(lab: Lab) -> None:
    failed = {each.check for each in lab.sick if each.level is Level.FAIL}
    assert failed == {"versions", "GPUs", "shared storage", "dataset", "secret files", "ports", "nodes answer"}


def levels(verdicts: Iterator[Verdict]) -> dict[str, Level]:
    return {verdict.check: verdict.level for verdict in verdicts}


@pytest.fixture
def environment(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, str]]:
    """Sets the variables of the services' env file, but for some."""

    def take(**changed: str) -> dict[str, str]:
        variables = parse_environment(lab.services.read_text(), lab.services)
        for name, value in (variables | changed).items():
            monkeypatch.setenv(name, value)
        return variables

    return take


def test_a_wrong_password_of_mlflow_is_found(environment: Callable[..., Any]) -> None:
    environment(MLFLOW_TRACKING_PASSWORD="not-this-one")
    found = {verdict.check: verdict for verdict in mlflow(mlflow_facts(), on_cluster=True)}
    assert found["MLflow"].level is Level.FAIL
    assert found["MLflow"].found.endswith("refuses our name and password (401)")
    assert found["MLflow's door"].level is Level.PASS


def test_a_server_of_mlflow_that_does_not_run_is_found(environment: Callable[..., Any]) -> None:
    environment(MLFLOW_TRACKING_URI=f"http://127.0.0.1:{free_port()}")
    (verdict,) = mlflow(mlflow_facts(), on_cluster=True)
    assert (verdict.level, "does not answer" in verdict.found) == (Level.FAIL, True)


def test_a_wrong_password_of_the_database_is_found(environment: Callable[..., Any]) -> None:
    url = environment()[URL_VARIABLE]
    password = url.rpartition("@")[0].rpartition(":")[2]
    environment(**{URL_VARIABLE: url.replace(password, "not-this-one")})
    (verdict,) = study(study_facts(), on_cluster=True)
    assert verdict.level is Level.FAIL
    assert "password authentication failed" in verdict.found
    assert "not-this-one" not in verdict.found


def test_a_database_that_cannot_be_written_is_found_and_nothing_is_left_in_a_sound_one(
    environment: Callable[..., Any],
) -> None:
    url = environment()[URL_VARIABLE]
    assert levels(study(study_facts(), on_cluster=True)) == {"database": Level.PASS}
    assert levels(study(study_facts(), on_cluster=True)) == {"database": Level.PASS}  # the table is not there
    environment(**{URL_VARIABLE: f"{url}?options=-c%20default_transaction_read_only%3Don"})
    (verdict,) = study(study_facts(), on_cluster=True)
    assert (verdict.level, "read-only" in verdict.found) == (Level.FAIL, True)


def test_a_database_that_takes_any_password_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with postgres("doctor") as server:  # which trusts everybody
        server.make("studies")
        monkeypatch.setenv(URL_VARIABLE, server.url("studies").replace("spiketune@", "spiketune:secret@"))
        assert levels(study(study_facts(), on_cluster=True)) == {
            "database": Level.PASS,
            "database's door": Level.FAIL,
        }


def test_a_cluster_without_a_token_is_found(tmp_path: Path) -> None:
    (tmp_path / ".ray").mkdir()
    port = free_port()
    with ray_cluster(tmp_path, HOME=str(tmp_path), RAY_AUTH_MODE="disabled") as ray:
        ray.add(num_cpus=0, include_dashboard=True, dashboard_port=port)
        verdicts = {each.check: each for each in doctor(tmp_path, tmp_path, "--address", ray.address, mode="disabled")}
    assert verdicts["token"].level is Level.FAIL
    assert verdicts["token"].found.startswith("RAY_AUTH_MODE is disabled where Ray runs")
    assert verdicts["job server"].level is Level.FAIL
    assert f":{port} answers 200 to who has no token" in verdicts["job server"].found


def test_a_cluster_that_is_not_there_is_found_in_time(tmp_path: Path) -> None:
    begun = time.monotonic()
    verdicts = doctor(tmp_path, tmp_path, "--address", f"127.0.0.1:{free_port()}", patience_s=5)
    (verdict,) = [each for each in verdicts if each.check == "cluster"]
    assert verdict.level is Level.FAIL
    assert time.monotonic() - begun < 300


def test_a_head_that_does_not_let_us_in_is_found(tmp_path: Path) -> None:
    with ssh_server(tmp_path / "ssh") as server:
        verdicts = doctor(tmp_path, tmp_path, "--cluster", str(server.write_cluster_file("stranger")))
        (verdict,) = [each for each in verdicts if each.check == "head"]
        assert (verdict.level, f"@{HEAD} does not let us in" in verdict.found) == (Level.FAIL, True)


def test_the_rest_of_a_cluster_is_examined_on_its_head(tmp_path: Path) -> None:
    """Whose doctor says here only what it was asked."""
    with ssh_server(tmp_path / "ssh") as server:
        spiketune = server.home / "spiketune" / ".venv" / "bin" / "spiketune"
        spiketune.parent.mkdir(parents=True)
        said = {"check": "disk", "level": "warn", "nodes": ["h2"], "found": "$*", "remedy": "none"}
        spiketune.write_text(f"#!/bin/sh\ncat <<END\n{json.dumps({'healthy': True, 'verdicts': [said]})}\nEND\n")
        spiketune.chmod(0o755)
        options = ("--cluster", str(server.write_cluster_file()), "--data", "/data set")
        verdicts = {each.check: each for each in doctor(tmp_path, tmp_path, *options)}
        assert verdicts["head"].level is Level.PASS
        assert verdicts["disk"].found == "doctor --address auto --json --data /data set --patience 60"
        assert verdicts["disk"].nodes == ("h2",)
