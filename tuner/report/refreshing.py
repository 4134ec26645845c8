"""Keeps a running search's report fresh: a process beside it that gives way to everything else."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tuner.search_folder import REPORT_FILE
from tuner.study.record import TrialRecord

EXAMINED = "--examined"
EVERY_S = 60.0  # at most
SHARE = 0.05  # of the time, at most, in which a report is being written
LAST_S = 1800.0  # for the last one, with the winner measured

_log = logging.getLogger(__name__)
_Process = Callable[[Sequence[str]], "subprocess.Popen[bytes]"]


def _beside(arguments: Sequence[str]) -> "subprocess.Popen[bytes]":
    """A process that writes to the same log; of one thread, for the search has all processors at work."""
    return subprocess.Popen(  # noqa: S603
        [sys.executable, *arguments],
        stdin=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        start_new_session=True,  # an interrupt is the search's, which ends it
    )


class Refresher:
    """A listener of the search that has the report written again, one process at a time.

    A report that fails says why in the search's log, and the search goes on.

    Args:
        folder: of the search.
        clock: seconds, ever rising.
        start: begins a Python process with these arguments.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic, start: _Process = _beside) -> None:
        self._command = ["-m", "tuner.report", str(folder)]
        self._folder, self._clock, self._start = folder, clock, start
        self._process: subprocess.Popen[bytes] | None = None
        self._began = clock()
        self._next = self._began + EVERY_S

    def started(self, trial: TrialRecord) -> None:  # noqa: ARG002 - what there is to tell is read from the study
        """Look whether it is time."""
        self._refresh()

    def reported(self, trial: TrialRecord, metrics: Mapping[str, float]) -> None:  # noqa: ARG002
        """Look whether it is time."""
        self._refresh()

    def waiting(self, trial: TrialRecord) -> None:  # noqa: ARG002
        """Look whether it is time."""
        self._refresh()

    def ended(self, trial: TrialRecord) -> None:  # noqa: ARG002
        """Look whether it is time."""
        self._refresh()

    def finish(self, *, examined: bool) -> str | None:
        """Write the last report and wait for it; why there is none, if so.

        Args:
            examined: measure the winner, too, which takes as long as to validate it.
        """
        self.stop()
        try:
            last = self._start([*self._command, *([EXAMINED] if examined else [])])
        except OSError as error:
            return f"{REPORT_FILE} could not be written: {error}"
        try:
            code = last.wait(LAST_S)
        except subprocess.TimeoutExpired:
            last.kill()
            last.wait()
            return f"{REPORT_FILE} was not ready after {LAST_S / 60:.0f} min; try: spiketune report {self._folder}"
        except BaseException:
            last.kill()
            raise
        if code == 0:
            return None
        return f"{REPORT_FILE} could not be written; the search's log tells why, and: spiketune report {self._folder}"

    def stop(self) -> None:
        """End what is being written."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _refresh(self) -> None:
        now = self._clock()
        if self._process is not None:
            if self._process.poll() is None:
                return
            # It may have ended a while ago, which only makes the next one later.
            self._next = max(self._next, self._began + (now - self._began) / SHARE)
            self._process = None
        if now >= self._next:
            self._began, self._next = now, now + EVERY_S
            try:
                self._process = self._start(self._command)
            except OSError as error:
                _log.warning("%s is not refreshed: %s", REPORT_FILE, error)
