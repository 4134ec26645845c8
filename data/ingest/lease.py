"""A lease on a target that other machines write into as well: a small file in it, renewed for as long as the work goes.

A store has no lock, and a machine that was lost cannot give one back; so whoever finds a lease watches it, and takes it
over when it has not been renewed for a while. No clocks are compared.
"""

import json
import logging
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data.errors import InputError
from data.ingest.journal import FOLDER
from data.storage import Storage

NAME = FOLDER / "lease.json"
RENEW_S = 15.0
EXPIRES_S = 60.0  # without being renewed
SETTLE_S = 0.5  # in which two that began at one moment overwrite each other; the last one has it
_log = logging.getLogger(__name__)


class Lease:
    """The right to write into a target, until another machine has taken it."""

    def __init__(self, target: Storage) -> None:
        self._target = target
        self._owner = uuid.uuid4().hex
        self._renewed = 0
        self._ended = threading.Event()
        self._taken_by: str | None = None

    def check(self) -> None:
        """Whether it still holds: asked before what others must not see half done.

        Raises:
            InputError: another ingestion has taken the target.
        """
        if self._taken_by is not None:
            raise InputError(
                f"{self._target.location}: the ingestion on {self._taken_by} has taken it over, for this one was "
                "not heard of for a minute; what is done is kept: wait until that one ends"
            )

    def _take(self) -> None:
        found = self._read()
        if found is not None and found["machine"] != machine():  # on this one, a file lock has told already
            self._watch(found)
        self._write()
        self._ended.wait(SETTLE_S)
        now = self._read()
        if now is not None and now["owner"] != self._owner:
            raise self._is_another_s(now)

    def _watch(self, found: dict[str, str]) -> None:
        """Wait until it is sure that nobody renews the lease that was found."""
        _log.warning(
            "%s: an ingestion on %s may be under way; taking over in %.0f s unless it is",
            self._target.location, found["host"], EXPIRES_S,
        )  # fmt: skip
        for _ in range(round(EXPIRES_S / RENEW_S)):
            self._ended.wait(RENEW_S)
            now = self._read()
            if now is None:
                return
            if now != found:
                raise self._is_another_s(now)

    def _renew(self) -> None:
        while not self._ended.wait(RENEW_S):
            try:
                found = self._read()
                if found is not None and found["owner"] != self._owner:
                    self._taken_by = found["host"]
                    return
                self._write()
            except InputError as error:  # the store has tried again and again; the work itself will tell, if it goes on
                _log.warning("the lease on the target could not be renewed: %s", error)

    def _give_back(self) -> None:
        if self._taken_by is not None:
            return
        try:
            self._target.remove(NAME)
        except InputError as error:  # it expires by itself
            _log.warning("the lease on the target could not be given back: %s", error)

    def _read(self) -> dict[str, str] | None:
        data = self._target.read(NAME)
        try:
            found = None if data is None else json.loads(data)
        except ValueError:
            return None
        wanted = {"owner", "host", "machine", "renewed"}
        return found if isinstance(found, dict) and found.keys() >= wanted else None

    def _write(self) -> None:
        self._renewed += 1
        told = {"owner": self._owner, "host": socket.gethostname(), "machine": machine(), "renewed": str(self._renewed)}
        self._target.write(json.dumps(told).encode(), NAME)

    def _is_another_s(self, found: dict[str, str]) -> InputError:
        return InputError(
            f"{self._target.location}: an ingestion on {found['host']} writes into it; wait until it ends, or choose "
            "another target"
        )


@contextmanager
def leased(target: Storage) -> Iterator[Lease]:
    """Hold the lease on a target while the `with` block lasts.

    Raises:
        InputError: another machine holds it.
    """
    lease = Lease(target)
    lease._take()
    renewing = threading.Thread(target=lease._renew, name="lease", daemon=True)
    renewing.start()
    try:
        yield lease
    finally:
        lease._ended.set()
        renewing.join()
        lease._give_back()


def machine() -> str:
    """This machine, for as long as it runs; containers and users of one kernel are apart."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{socket.gethostname()} {boot} {Path('/proc/self/ns/pid').readlink()} {os.getuid()}"
