"""One run of a program at a time: what an earlier run of it, or of its supervisor, left behind is ended first.

`python -m tuner.services.sole COMMAND...` becomes the command. Supervisord starts MLflow so: when the process it
watches is killed, those which that one had started live on and hold the port.
"""

import os
import sys
from collections.abc import Iterable

import psutil

_SUPERVISOR, _PROGRAM = "SUPERVISOR_SERVER_URL", "SUPERVISOR_PROCESS_NAME"  # in the environment of all it starts
_PATIENCE_S = 10


def left_behind(socket_url: str, program: str | None = None) -> list[psutil.Process]:
    """The processes, but this one and those above it, that this supervisord started as `program`, or as any."""
    mine = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return [
        process
        for process in psutil.process_iter()
        if process.pid not in mine
        and (environment := _environment(process)).get(_SUPERVISOR) == socket_url
        and program in (None, environment.get(_PROGRAM))
    ]


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except (psutil.Error, OSError):  # it has ended, or is another user's
        return {}


def end(processes: Iterable[psutil.Process]) -> None:
    """Ask them to end; kill those that have not after a while."""
    alive = list(processes)
    for how in (psutil.Process.terminate, psutil.Process.kill):
        for process in alive:
            try:
                how(process)
            except psutil.NoSuchProcess:
                continue
        _, alive = psutil.wait_procs(alive, timeout=_PATIENCE_S)


def main() -> None:
    """Become the command, alone."""
    end(left_behind(os.environ[_SUPERVISOR], os.environ[_PROGRAM]))
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 - the command of supervisord's own file


if __name__ == "__main__":
    main()
