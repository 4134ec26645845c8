"""Programs that serve pages on this machine's loopback for as long as a command runs."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from data.errors import InputError

HOST = "127.0.0.1"


def check_free(port: int) -> None:
    """Raise an InputError if the port is taken."""
    reason = why_taken(port)
    if reason:
        raise InputError(f"--port {port}: cannot be used ({reason}); choose another")


def usual_or_free(port: int) -> int:
    """This port, or any free one where it is taken."""
    if not why_taken(port):
        return port
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def why_taken(port: int, address: str = HOST) -> str:
    """Why nothing can listen at a port of this machine; empty if something can."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            return error.strerror or str(error)
    return ""


def answers(port: int) -> bool:
    """Whether something listens there."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


@contextmanager
def interrupted_by_any_end() -> Iterator[None]:
    """SIGTERM, and the terminal's end, do what Ctrl-C does: else the program would outlive the command."""
    ends = (signal.SIGTERM, signal.SIGHUP)
    previous = {number: signal.signal(number, signal.default_int_handler) for number in ends}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def end(program: subprocess.Popen[bytes]) -> None:
    """End a program, which passes the word on, or else the process group that it leads."""
    if program.poll() is None:
        program.terminate()
        try:
            program.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(program.pid, signal.SIGKILL)
            program.wait()
