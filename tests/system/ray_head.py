"""A Ray head of its own with a job server, that asks for a token and can be killed and started again."""

import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.system.servers import answers, free_port, until

CPUS = 2


class RayHead:
    """Started by `ray start --head`, as on a cluster, with everything of it in one process group."""

    def __init__(self, home: Path, shared: Path) -> None:
        self.home, self.shared = home, shared
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self._gcs = free_port()
        token = home / "token"
        token.write_text(secrets.token_hex(16))
        token.chmod(0o600)
        # Nothing of a cluster that the caller may use.
        strange = ("RAY_", "MLFLOW_", "SPIKETUNE_")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
        self.client_environment = clean | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_API_SERVER_ADDRESS": self.address,
            "RAY_worker_niceness": "0",
            "RAY_raylet_start_wait_time_s": "120",  # on a busy machine
            "OMP_NUM_THREADS": "1",
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Until its job server answers."""
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"]
        command += ["--port", str(self._gcs), "--dashboard-host", "127.0.0.1", "--dashboard-port", str(self.port)]
        command += ["--num-cpus", str(CPUS), "--object-store-memory", "200000000", "--temp-dir", str(self.home / "r")]
        command += ["--dashboard-agent-listen-port", str(free_port()), "--ray-client-server-port", str(free_port())]
        environment = self.client_environment | {"SPIKETUNE_SHARED": str(self.shared)}
        del environment["RAY_API_SERVER_ADDRESS"]  # who runs on the head must find it by itself
        bin_folder = str(Path(sys.executable).parent)
        environment["PATH"] = f"{bin_folder}:{environment['PATH']}"
        with (self.home / "head.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=self.home
            )
        until(lambda: answers(self.port) or self._process is None or self._process.poll() is not None)
        assert self._process.poll() is None, (self.home / "head.log").read_text()[-3000:]

    def kill(self) -> None:
        """Everything that it has started, at once, as a machine that loses its power."""
        for process in self.processes():
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if self._process is not None:
            self._process.wait(60)
        until(lambda: not self.processes())

    def processes(self) -> list[int]:
        """Those of this head: all have its folder in their arguments or their environment."""
        mark = str(self.home).encode()
        return [number for number, told in told_by_processes().items() if mark in told and number != os.getpid()]


def told_by_processes() -> dict[int, bytes]:
    """What can be read of each process of this user: its arguments, and the environment it was started with."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                found[int(folder.name)] = (folder / "cmdline").read_bytes() + b"\n" + (folder / "environ").read_bytes()
            except OSError:
                continue
    return found


@contextmanager
def ray_head() -> Iterator[RayHead]:
    """A running head; its folder is short, for Ray's sockets lie below it."""
    with tempfile.TemporaryDirectory(prefix="jobs-", dir="/tmp", ignore_cleanup_errors=True) as name:
        home = Path(name)
        (home / "shared").mkdir()
        head = RayHead(home, home / "shared")
        try:
            head.start()
            yield head
        finally:
            head.kill()
