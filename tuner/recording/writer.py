"""The one who writes: carries out the spool's records in order, waits while MLflow is away, skips what it refuses."""

import threading
from collections.abc import Callable
from queue import SimpleQueue

from filelock import FileLock, Timeout

from tuner.recording.records import SEARCH, Open, Record
from tuner.recording.runs import Runs
from tuner.recording.spool import LOCK, Spool
from tuner.recording.verdict import Barred, Verdict, expected, first_line, judge

FIRST_WAIT_S, LONGEST_WAIT_S, HURRIED_WAIT_S = 0.5, 30.0, 1.0
_SAID_AFTER = 3  # attempts; a busy database is no news
_DOUBTS = 10  # attempts in a row, the store being well after each of them, that make it the record's fault
_LOOK_S = 0.5  # for what others have appended


class Writer:
    """Writes a spool to one store, in the thread that calls `run`. The rest may be asked from any thread."""

    def __init__(self, spool: Spool, store: str, make_runs: Callable[[], Runs]) -> None:
        self.messages: SimpleQueue[str] = SimpleQueue()
        self.opened: SimpleQueue[tuple[int, str]] = SimpleQueue()  # a run of ours and its id in MLflow
        self.barred: str | None = None  # why nothing can be written
        self.trouble: str | None = None  # why nothing can be written just now
        self.refused = 0  # records that MLflow will never take
        self.refusal: str | None = None  # what it said of the first of them
        self._spool = spool
        self._store = store
        self._make_runs = make_runs
        self._runs: Runs | None = None
        self._said_away = False
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._stopped = threading.Event()

    def wake(self) -> None:
        """There is something to write."""
        self._wake.set()

    def hurry(self) -> None:
        """Try more often: somebody waits for the end."""
        self._closing.set()

    def stop(self) -> None:
        """Ask for the end, after the record that is being written."""
        self._stopped.set()
        self._closing.set()
        self._wake.set()

    def run(self) -> None:
        """Write until asked to stop, or barred. Waits for another process that is writing the same spool."""
        lock = FileLock(self._spool.folder / LOCK)
        while not self._stopped.is_set():
            try:
                with lock.acquire(timeout=_LOOK_S):
                    self._write_on()
            except Timeout:
                continue
            else:
                return

    def catch_up(self) -> bool:
        """Write what there is; whether all of it is written."""
        position = self._spool.position(self._store)
        for record, after in self._spool.read(position):
            if record is not None and not self._written(record):
                return False
            self._spool.set_position(self._store, after)
        return True

    def _write_on(self) -> None:
        while self.catch_up() and not self._stopped.is_set():
            self._wake.wait(_LOOK_S)
            self._wake.clear()

    def _written(self, record: Record) -> bool:
        """Whether the record is done with, in whichever way; else the writer is to stop."""
        attempts = doubts = 0
        while not self._stopped.is_set():
            try:
                self._connected().write(record)
            except expected() as error:
                attempts += 1
                verdict = self._looked_into(judge(error))
                doubts = doubts + 1 if verdict is Verdict.DOUBTFUL else 0
                refused = verdict is Verdict.REFUSED or doubts >= _DOUBTS
                # Without the search's own run there is nothing that the others could be children of.
                if verdict is Verdict.BARRED or (refused and isinstance(record, Open) and record.run == SEARCH):
                    self._bar(error)
                    return False
                if not refused:
                    self._wait(error, attempts)
                    continue
                self._skip(record, error)
            self._well_again()
            return True
        return False

    def _looked_into(self, verdict: Verdict) -> Verdict:
        """The verdict after a look at the store, where the record might be to blame."""
        if verdict not in (Verdict.REFUSED, Verdict.DOUBTFUL):
            return verdict
        if self._runs is None:
            return Verdict.BARRED if verdict is Verdict.REFUSED else Verdict.AWAY
        try:
            self._runs.check()
        except expected() as error:
            return Verdict.BARRED if judge(error) is Verdict.BARRED else Verdict.AWAY
        return verdict

    def _connected(self) -> Runs:
        if self._runs is None:
            try:
                self._runs = self._make_runs()
            except ImportError as error:
                raise Barred(f"the database's driver is missing: {error}") from None
        return self._runs

    def _skip(self, record: Record, error: Exception) -> None:
        reason = first_line(error)
        self._spool.keep_refused(record, reason)
        self.refused += 1
        if self.refusal is None:
            self.refusal = reason
            self.messages.put(f"warning: MLflow refuses a record: {reason}")

    def _bar(self, error: Exception) -> None:
        self.barred = first_line(error)
        self.messages.put(f"warning: MLflow takes nothing: {self.barred}; the search goes on")

    def _wait(self, error: Exception, attempts: int) -> None:
        self.trouble = first_line(error)
        if attempts == _SAID_AFTER:
            self._said_away = True
            self.messages.put(f"MLflow cannot be written to for now ({self.trouble}); the search goes on")
        pause = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(attempts - 1, 16))
        if self._closing.is_set():
            self._stopped.wait(min(pause, HURRIED_WAIT_S))
        else:
            self._closing.wait(pause)

    def _well_again(self) -> None:
        self.trouble = None
        if self._said_away:
            self._said_away = False
            self.messages.put("MLflow is written to again")
