"""Servers that tests start, stop and kill: MLflow's own, and PostgreSQL from the system's packages."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PATIENCE_S = 300  # a server's first start makes its database


def until(reached: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    """Wait for it.

    Raises:
        AssertionError: it never came.
    """
    deadline = time.monotonic() + patience_s
    while not reached():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class MlflowServer:
    """MLflow's own, over a store in `home` unless another is given, always at the same address."""

    def __init__(self, home: Path, store: str | None = None) -> None:
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._home = home
        self._store = store or f"sqlite:///{home / 'mlflow.db'}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", self._store]
        command += ["--artifacts-destination", str(self._home / "artifacts")]
        with (self._home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, cwd=self._home,
                env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            )  # fmt: skip
        until(lambda: answers(self.port))

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, how)
            self._process.wait(60)
            self._process = None
            until(lambda: not answers(self.port))


class Postgres:
    """A cluster of its own in a folder, run by an unprivileged user, with one empty database for each name."""

    def __init__(self, home: Path, binaries: Path) -> None:
        self.port = free_port()
        self._home, self._binaries = home, binaries
        self._data = home / "data"
        self._user = "postgres" if os.geteuid() == 0 else None
        home.mkdir(parents=True)
        if self._user is not None:
            shutil.chown(home, self._user)
        self._run("initdb", "-D", str(self._data), "-U", "spiketune", "--auth=trust", "-E", "UTF8", "--locale=C")

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://spiketune@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._home}"
        self._control("start", "-w", "-o", options, "-l", str(self._home / "postgres.log"))

    def stop(self, mode: str = "immediate") -> None:
        """Stop; `immediate` is as good as a power cut."""
        self._control("stop", "-w", "-m", mode)

    def make(self, database: str) -> None:
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "spiketune", database)

    def _control(self, verb: str, *options: str) -> None:
        self._run("pg_ctl", verb, "-D", str(self._data), *options)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._binaries / program), *arguments]
        # Its output goes nowhere: the server it may leave behind would hold a pipe open.
        subprocess.run(
            command, check=True, cwd=self._home, user=self._user, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120,
        )  # fmt: skip


@contextmanager
def postgres(name: str) -> Iterator[Postgres]:
    """A running PostgreSQL; the test is skipped where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres")) or [
        Path(path).resolve() for path in [shutil.which("postgres")] if path
    ]
    if not found:
        pytest.skip("PostgreSQL is not installed (Debian's package is called postgresql)")
    # Not below a test's folder, which only its user may enter, who is not PostgreSQL's.
    with tempfile.TemporaryDirectory(prefix=f"spiketune-{name}-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = Postgres(Path(folder) / "postgres", found[-1].parent)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def studies_and_runs(name: str, home: Path) -> Iterator[tuple[Postgres, MlflowServer]]:
    """PostgreSQL with a database for studies, and MLflow's server over another one of it."""
    with postgres(name) as database:
        for each in ("studies", "runs"):
            database.make(each)
        server = MlflowServer(home, database.url("runs"))
        server.start()
        try:
            yield database, server
        finally:
            server.stop()
