"""What a supervisor that was killed, or a host that died, has left of PostgreSQL."""

import signal

import psutil

from tuner.services.state import State

_PATIENCE_S = 60


def end_postgres(state: State) -> None:
    """End a server that still runs on this data, in order; and remove the file that names one which does not.

    PostgreSQL does not start while the process of that number lives; after a restart of the host, that may be any.
    """
    lock = state.database / "postmaster.pid"
    try:
        number = int(lock.read_text(encoding="utf-8").split()[0])
    except (FileNotFoundError, ValueError, IndexError):
        return
    server = _server(number, state)
    if server is None:
        lock.unlink(missing_ok=True)
        return
    server.send_signal(signal.SIGINT)
    psutil.wait_procs([server], timeout=_PATIENCE_S)


def _server(number: int, state: State) -> psutil.Process | None:
    """The process of this number, if it is a server on this data."""
    try:
        process = psutil.Process(number)
        return process if process.cwd() == str(state.database.resolve()) else None
    except (psutil.Error, OSError):  # there is none, or it is another user's
        return None
