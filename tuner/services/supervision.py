"""Speaking with the supervisord of a state folder: start it, have it start programs, ask, and end it."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any
from xmlrpc.client import Fault, ServerProxy

import psutil

from data.errors import SpiketuneError
from tuner.services.sole import end, left_behind
from tuner.services.state import State

_END_S = 90  # longer than supervisord waits for a program
_START_S = 20
_ALREADY_STARTED = 60  # supervisord's number of that fault
# Nobody's settings of MLflow are the server's, but for where an object store is; and no password is for all to inherit.
_STRANGE = ("MLFLOW_", "SPIKETUNE_", "RAY_AUTH_TOKEN", "PG", "SUPERVISOR_")
_KEPT = ("MLFLOW_S3_", "RAY_AUTH_TOKEN_PATH")


class Supervisor:
    """That of one state folder, which may run or not."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._url = f"unix://{state.socket}"

    def _ask(self, method: str, *arguments: object) -> Any:
        from supervisor.xmlrpc import SupervisorTransport

        with ServerProxy("http://localhost", transport=SupervisorTransport(None, None, self._url)) as proxy:
            return getattr(proxy.supervisor, method)(*arguments)

    def runs(self) -> bool:
        """Whether it answers; the socket of a dead one does not."""
        try:
            self._ask("getState")
        except OSError:
            return False
        return True

    def launch(self) -> None:
        """Start it, in the background.

        Raises:
            SpiketuneError: it did not start.
        """
        command = [sys.executable, "-P", "-m", "supervisor.supervisord", "-c", str(self._state.configuration)]
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(_STRANGE) or name.startswith(_KEPT)
        }
        done = subprocess.run(  # noqa: S603 - our own interpreter, no shell
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        deadline = time.monotonic() + _START_S
        while done.returncode == 0 and time.monotonic() < deadline:
            if self.runs():
                return
            time.sleep(0.1)
        raise SpiketuneError(f"supervisord did not start: {done.stderr.strip()}; look into {self._state.logs}")

    def follow_configuration(self) -> None:
        """Have a running one take up a file that has changed: what is new in it, is ended and known anew."""
        added, changed, removed = self._ask("reloadConfig")[0]
        for name in (*changed, *removed):
            self._ask("stopProcessGroup", name)
            self._ask("removeProcessGroup", name)
        for name in (*added, *changed):
            self._ask("addProcessGroup", name)

    def start(self, program: str) -> None:
        """Start a program, unless it is started already."""
        try:
            self._ask("startProcess", program, False)
        except Fault as fault:
            if fault.faultCode != _ALREADY_STARTED:
                raise SpiketuneError(f"{program} cannot be started: {fault.faultString}; look into its log") from None

    def states(self) -> dict[str, dict[str, Any]]:
        """What it knows of each program, by name; empty where it does not run."""
        try:
            return {str(found["name"]): found for found in self._ask("getAllProcessInfo")}
        except OSError:
            return {}

    def end(self) -> None:
        """End it and all its programs, the last one first."""
        if self.runs():
            supervisord = psutil.Process(self._ask("getPID"))
            with suppress(OSError):  # it may be gone before it has answered
                self._ask("shutdown")
            with suppress(psutil.TimeoutExpired):
                supervisord.wait(_END_S)
        end(left_behind(self._url))
