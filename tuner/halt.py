"""Ending a search before its budget is spent: by the user's signal, or because trial after trial fails alike."""

import signal
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ray import tune

from data.errors import TrainingError
from tuner.study.record import TrialRecord, TrialState

INTERRUPTED = "interrupted"


class Interrupted(TrainingError):  # noqa: N818 - what became of it
    """A search was asked to end before it had begun with anything."""


class Halt(tune.Stopper):
    """Asked by Ray after every step; also counts failures.

    Args:
        alike: trials that fail one after the other with one error are a bug, not bad luck.
    """

    def __init__(self, alike: int) -> None:
        self.reason: str | None = None
        self._last_errors: deque[str | None] = deque(maxlen=alike)

    def __call__(self, *_: Any) -> bool:
        """Never stops a single trial; that is the scheduler's."""
        return False

    def stop_all(self) -> bool:
        """Whether the search is to end now."""
        return self.reason is not None

    def watch(self, ended: TrialRecord) -> None:
        """Ask for the end if the last trials have all failed with the same error."""
        self._last_errors.append(ended.error if ended.state is TrialState.FAILED else None)
        error, alike = self._last_errors[0], len(self._last_errors)
        if error is not None and alike == self._last_errors.maxlen and set(self._last_errors) == {error}:
            self.reason = self.reason or f"{alike} trials in a row failed with the same error: {error}"

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
