"""Ending a search before its budget is spent: by the user's signal, or because every trial fails alike."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ray import tune

from tuner.study import TrialRecord, TrialState

INTERRUPTED = "interrupted"
ALIKE = 3  # first trials that fail with one error: a bug, not bad luck


class Halt(tune.Stopper):
    """Asked by Ray after every step; also counts the first failures."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self._first_errors: list[str | None] = []

    def __call__(self, *_: Any) -> bool:
        """Never stops a single trial; that is the scheduler's."""
        return False

    def stop_all(self) -> bool:
        """Whether the search is to end now."""
        return self.reason is not None

    def watch(self, ended: TrialRecord) -> None:
        """Ask for the end if the first trials have all failed with the same error."""
        if len(self._first_errors) < ALIKE:
            self._first_errors.append(ended.error if ended.state is TrialState.FAILED else None)
            error = self._first_errors[0]
            if len(self._first_errors) == ALIKE and error and set(self._first_errors) == {error}:
                self.reason = f"the first {ALIKE} trials failed with the same error: {error}"

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Ctrl-C or SIGTERM ends the search in order; a second one ends it at once."""
        previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def interrupt(_number: int, _frame: FrameType | None) -> None:
            self.reason = INTERRUPTED
            for known, handler in previous.items():
                signal.signal(known, handler)

        for number in previous:
            signal.signal(number, interrupt)
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
