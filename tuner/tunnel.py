"""A cluster's pages on this machine's loopback: one ssh with forwards, made anew whenever it breaks."""

import json
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, NoReturn

from data.errors import SpiketuneError
from tuner.head import CONNECT_S, Head
from tuner.loopback import HOST, answers, check_free, end, interrupted_by_any_end, usual_or_free

MLFLOW, DASHBOARD = 5000, 8265
START_S = 60.0
_LONGEST_PAUSE_S = 30.0
_SETTINGS = "~/spiketune-services/settings.json /var/lib/spiketune-services/settings.json"
# The address that ssh came in by is the one that the cluster files of this project give to MLflow.
_ASK = f"set -- $SSH_CONNECTION; echo $3; cat {_SETTINGS} 2>/dev/null || true"
_ADDRESS = re.compile(r"[0-9a-fA-F.:]+")


@dataclass(frozen=True)
class Forward:
    """A port of this machine's loopback that leads to one behind the head."""

    name: str
    local: int
    host: str  # as the head knows it
    port: int

    @property
    def option(self) -> str:
        """Of ssh's -L."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{HOST}:{self.local}:{host}:{self.port}"

    @property
    def url(self) -> str:
        """Here."""
        return f"http://{HOST}:{self.local}"


class Tunnel:
    """An ssh that forwards ports, as long as the `with` block lasts or the connection holds."""

    def __init__(self, head: Head, forwards: Sequence[Forward]) -> None:
        options = ["-N", "-o", "ExitOnForwardFailure=yes", "-o", "ControlMaster=no", "-o", "ControlPath=none"]
        options += [word for forward in forwards for word in ("-L", forward.option)]
        self._command = head.ssh(*options)
        self._forwards = forwards
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Tunnel":
        self.process = subprocess.Popen(  # noqa: S603 - no shell
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._said,
            start_new_session=True,  # Ctrl-C is ours to pass on
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process is not None
        end(self.process)
        self._said.close()

    def is_up(self) -> bool:
        """Wait until all ports answer; False if ssh ends first, or that takes too long."""
        assert self.process is not None
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self.process.poll() is None:
            if all(answers(forward.local) for forward in self._forwards):
                return True
            time.sleep(0.1)
        return False

    def last_words(self) -> str:
        """What ssh said last."""
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"ssh ended with {self.process and self.process.returncode}"


def serve_tunnel(head: Head, port: int | None, say: Callable[[str], None]) -> int:
    """Keep the tunnel until it is interrupted; return the exit code.

    Args:
        head: of the cluster.
        port: of this machine's loopback for MLflow; the usual one if it is free, or else another, if not given.
        say: takes a line for people.

    Raises:
        InputError: the port is taken.
        SpiketuneError: the head does not let us in.
    """
    if port is not None:
        check_free(port)
    address, mlflow_port = _ask_head(head)
    forwards = [
        Forward("MLflow", port or usual_or_free(MLFLOW), address, mlflow_port),
        Forward("Ray", usual_or_free(DASHBOARD), HOST, DASHBOARD),
    ]
    with interrupted_by_any_end():
        try:
            _keep(head, forwards, say)
        except KeyboardInterrupt:
            return 0


def _keep(head: Head, forwards: Sequence[Forward], say: Callable[[str], None]) -> NoReturn:
    """Make it again and again."""
    was_up, pause_s = False, 1.0
    while True:
        with Tunnel(head, forwards) as tunnel:
            assert tunnel.process is not None
            if tunnel.is_up():
                if was_up:
                    say("the tunnel is there again")
                else:
                    _announce(head, forwards, say)
                was_up, pause_s = True, 1.0
                tunnel.process.wait()
            end(tunnel.process)
            reason = tunnel.last_words()
        if not was_up:
            raise SpiketuneError(
                f"the tunnel to {head.user}@{head.host} cannot be made: {reason}; `spiketune doctor --cluster` tells "
                "whether the head lets us in, and the head's sshd must allow TCP forwarding"
            )
        say(f"the tunnel broke ({reason}); again in {pause_s:.0f} s")
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _ask_head(head: Head) -> tuple[str, int]:
    """Where MLflow listens, as the head's services were started; the address ssh came in by if there are none.

    Raises:
        SpiketuneError: the head does not let us in.
    """
    where = f"{head.user}@{head.host}"
    try:
        done = head.run(_ASK, patience_s=3 * CONNECT_S)
    except subprocess.TimeoutExpired:
        raise SpiketuneError(f"{where} gives no answer; check that the head is up (`ray up`)") from None
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or [f"ssh ended with {done.returncode}"])[-1]
        raise SpiketuneError(f"{where} does not let us in: {said}; `spiketune doctor --cluster` tells more")
    address, _, settings = done.stdout.partition("\n")
    with suppress(ValueError, KeyError, TypeError):  # no services there, or of another version
        told = json.loads(settings)
        address, port = str(told["address"]), int(told["mlflow_port"])
        return _checked(address.strip(), where), port
    return _checked(address.strip(), where), MLFLOW


def _checked(address: str, where: str) -> str:
    if not _ADDRESS.fullmatch(address):
        raise SpiketuneError(f"{where} does not tell its address, but '{address}'; log in there and look at its shell")
    return address


def _announce(head: Head, forwards: Sequence[Forward], say: Callable[[str], None]) -> None:
    import requests

    for forward in forwards:
        page = ""
        try:
            requests.get(f"{forward.url}/health", timeout=CONNECT_S).close()
        except requests.RequestException:
            where = f"{forward.host}:{forward.port}"
            say(f"{forward.name:8}{forward.url}  (nothing answers behind it, which is {where} as the head sees it)")
            continue
        if forward.name == "MLflow":
            page = _searches(forward.url)
            hint = "asks for your name and password there; a search's page opens with its report"
        else:
            hint = "asks for the token in ~/.ray/auth_token; --address of `spiketune submit` and its kind"
        say(f"{forward.name:8}{forward.url}/{page}  ({hint})")
    say(f"tunnel to {head.user}@{head.host}; Ctrl-C ends it")


def _searches(uri: str) -> str:
    """The page of all searches, if the environment has a name and password that MLflow takes."""
    from mlflow.exceptions import MlflowException

    from tuner.server import searches_page

    try:
        return searches_page(uri)
    except MlflowException:
        return ""
