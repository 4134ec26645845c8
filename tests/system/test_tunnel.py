"""`spiketune ui --cluster` through a real ssh server: MLflow's pages on loopback, a cut connection, and the end."""

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import requests

from tests.system.command import COMMAND
from tests.system.servers import MlflowServer, answers, free_port, until
from tests.system.ssh_server import HEAD, SshServer, ssh_server

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with ssh_server(tmp_path_factory.mktemp("ssh") / "server") as running:
        yield running


@pytest.fixture(scope="module")
def mlflow(server: SshServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """Behind the head, which knows where, as it was started by `spiketune services start`."""
    running = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    running.start()
    services = server.home / "spiketune-services"
    services.mkdir()
    (services / "settings.json").write_text(json.dumps({"address": "127.0.0.1", "mlflow_port": running.port}))
    try:
        yield running
    finally:
        running.stop()


class Ui:
    """The command as it runs, and what it says."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process, self._log = process, log

    @property
    def said(self) -> str:
        return self._log.read_text()

    def says(self, pattern: str, patience_s: float = 240) -> str:
        """Wait for it; its first group, or all of it."""
        until(lambda: re.search(pattern, self.said) is not None or self.process.poll() is not None, patience_s)
        found = re.search(pattern, self.said)
        assert found is not None, self.said
        return found.group(found.lastindex or 0)


@contextmanager
def ui(server: SshServer, folder: Path, *options: str) -> Iterator[Ui]:
    """`spiketune ui --cluster` with a home of its own, for the hosts that ssh comes to know."""
    command = [*COMMAND, "ui", "--cluster", str(server.cluster_file), *options]
    strange = ("MLFLOW_", "AWS_", "RAY_", "SPIKETUNE_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=folder, env=environment | {"HOME": str(folder), "SSH_AUTH_SOCK": ""}
        )
    try:
        yield Ui(process, folder / "log")
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(30)


def test_mlflow_is_on_loopback_comes_back_after_a_cut_and_leaves_nothing(
    server: SshServer, mlflow: MlflowServer, tmp_path: Path
) -> None:
    server.write_cluster_file()
    port = free_port()
    with ui(server, tmp_path, "--port", str(port)) as running:
        address = running.says(r"MLflow\s+(http://127\.0\.0\.1:\d+/)")
        assert address == f"http://127.0.0.1:{port}/"
        running.says(r"Ray\s+http://127\.0\.0\.1:\d+")
        running.says("Ctrl-C ends it")
        ssh = [each for each in psutil.Process(running.process.pid).children() if each.name() == "ssh"]
        assert len(ssh) == 1
        experiments = f"{address}api/2.0/mlflow/experiments/search?max_results=5"
        assert requests.get(experiments, timeout=30).json()["experiments"][0]["name"] == "Default"
        # What a browser sends along with a form that changes something.
        origin = {"Origin": address.rstrip("/")}
        made = requests.post(
            f"{address}ajax-api/2.0/mlflow/experiments/create", json={"name": "x"}, headers=origin, timeout=30
        )
        assert made.status_code == 200, made.text

        server.cut()
        running.says("the tunnel broke")
        running.says("the tunnel is there again")
        assert requests.get(experiments, timeout=30).status_code == 200
        ssh += [each for each in psutil.Process(running.process.pid).children() if each.name() == "ssh"]

        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(30) == 0
    assert not answers(port)
    assert len(ssh) == 2
    assert not any(each.is_running() for each in ssh)


def test_a_usual_port_that_is_taken_gives_way_to_another(
    server: SshServer, mlflow: MlflowServer, tmp_path: Path
) -> None:
    server.write_cluster_file()
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if not answers(5000):
            taken.bind(("127.0.0.1", 5000))
            taken.listen()
        with ui(server, tmp_path) as running:
            port = int(running.says(r"MLflow\s+http://127\.0\.0\.1:(\d+)/"))
            assert port != 5000
            assert requests.get(f"http://127.0.0.1:{port}/health", timeout=30).text == "OK"


def test_a_chosen_port_that_is_taken_is_an_error(server: SshServer, mlflow: MlflowServer, tmp_path: Path) -> None:
    server.write_cluster_file()
    with ui(server, tmp_path, "--port", str(mlflow.port)) as running:
        assert running.process.wait(60) == 2
        assert f"--port {mlflow.port}: cannot be used (Address already in use); choose another" in running.said


def test_a_key_that_the_head_does_not_know_is_an_error(server: SshServer, tmp_path: Path) -> None:
    server.write_cluster_file("stranger")
    with ui(server, tmp_path) as running:
        assert running.process.wait(60) == 1
        assert f"@{HEAD} does not let us in: " in running.said
        assert "Permission denied" in running.said


def test_a_head_that_is_another_machine_than_before_is_an_error(server: SshServer, tmp_path: Path) -> None:
    server.write_cluster_file()
    (tmp_path / ".ray").mkdir()
    stranger = (server.folder / "stranger.pub").read_text().split()[:2]
    (tmp_path / ".ray" / "spiketune_known_hosts").write_text(" ".join([HEAD, *stranger]) + "\n")
    with ui(server, tmp_path) as running:
        assert running.process.wait(60) == 1
        assert "Host key verification failed" in running.said
