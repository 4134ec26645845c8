"""The thread that writes a spool to MLflow, and waiting for it."""

import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from data.errors import InputError
from tuner.recording.runs import Runs, connect
from tuner.recording.spool import RECORDS, REFUSED, SPOOL_FOLDER, Spool
from tuner.recording.writer import Writer
from tuner.store import tracking_uri

_LOOK_S = 0.05
_LAST_REQUEST_S = 5.0  # that the thread may take to end


@dataclass(frozen=True)
class Settled:
    """How far a spool has come."""

    store: str
    written: int  # records, since the thread began
    waiting: int
    notes: tuple[str, ...]  # what did not go as it should


class Background:
    """One thread that writes for as long as the process lives, or until it is settled."""

    def __init__(self, spool: Spool) -> None:
        uri = tracking_uri()
        self.store = re.sub(r"//[^/@]*@", "//", uri)  # without the password
        self._spool = spool
        self.writer = Writer(spool, self.store, lambda: self._runs(uri))
        self._thread = threading.Thread(target=self.writer.run, name="MLflow", daemon=True)
        self._thread.start()

    def settle(self, timeout_s: float) -> Settled:
        """Wait until all is written, for so long at most, and end the thread."""
        waiting = self._spool.waiting(self.store)
        end, deadline = self._spool.end(), time.monotonic() + timeout_s
        self.writer.hurry()
        self.writer.wake()
        while self._thread.is_alive() and self._spool.position(self.store) < end and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
        crashed = not self._thread.is_alive() and self.writer.barred is None
        self.writer.stop()
        self._thread.join(_LAST_REQUEST_S)
        left = self._spool.waiting(self.store)
        return Settled(self.store, waiting - left, left, tuple(self._notes(left, crashed)))

    def _notes(self, waiting: int, crashed: bool) -> list[str]:
        notes = []
        if self.writer.refusal is not None:
            where = self._spool.folder / REFUSED
            notes.append(f"MLflow refused {self.writer.refused} records, kept in {where}; {self.writer.refusal}")
        if waiting:
            reason = self.writer.barred or self.writer.trouble or ("the writer failed" if crashed else "no time left")
            notes.append(
                f"{waiting} records for MLflow wait in {self._spool.folder} ({reason}); "
                f"`spiketune sync {self._spool.search_folder}` writes them"
            )
        return notes

    def _runs(self, uri: str) -> Runs:
        def keep(run: int, run_id: str) -> None:
            self._spool.keep_run(self.store, run, run_id)
            self.writer.opened.put((run, run_id))

        return Runs(connect(uri), self._spool.search_folder, self._spool.runs(self.store), keep)


def drain(folder: Path, timeout_s: float) -> Settled:
    """Write what an earlier search has left in its folder.

    Raises:
        InputError: no search has left anything there.
    """
    if not (folder / SPOOL_FOLDER / RECORDS).is_file():
        raise InputError(f"{folder}: holds no {SPOOL_FOLDER}/{RECORDS}; give the folder a search wrote")
    spool = Spool(folder)
    try:
        return Background(spool).settle(timeout_s)
    finally:
        spool.close()
