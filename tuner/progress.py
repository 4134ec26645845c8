"""What a search writes down and says of itself on its way."""

import time
from collections.abc import Callable, Mapping

from tuner.ledger import Ledger
from tuner.plan import ESTIMATE_AFTER, estimate
from tuner.schedulers.decision import Scheduler
from tuner.spec.search_spec import SearchSpec
from tuner.study.record import TrialRecord
from tuner.study.study import Study

_TICK_S = 10.0


class Progress:
    """A listener that keeps the search's clock in the study, and says once what is still to come."""

    def __init__(
        self,
        spec: SearchSpec,
        study: Study,
        scheduler: Scheduler,
        ledger: Ledger,
        workers: Callable[[], int],
        say: Callable[[str], None],
    ) -> None:
        self._spec, self._study, self._scheduler = spec, study, scheduler
        self._ledger, self._workers, self._say = ledger, workers, say
        self._ended = 0
        self._ticked = time.monotonic()

    def started(self, trial: TrialRecord) -> None:
        """Nothing."""

    def reported(self, trial: TrialRecord, metrics: Mapping[str, float]) -> None:  # noqa: ARG002 - a listener's shape
        """Keep the clock, so that a death costs its budget of hours ten seconds at most."""
        if time.monotonic() - self._ticked > _TICK_S:
            self._ticked = time.monotonic()
            self._study.tick(self._ledger.session_s)

    def waiting(self, trial: TrialRecord) -> None:
        """A trial that waits at its rung is as good a sample of the pace as one that has ended."""
        self.ended(trial)

    def ended(self, trial: TrialRecord) -> None:  # noqa: ARG002 - a listener's shape
        """Say what is to come once a few trials have ended."""
        self._ended += 1
        if self._ended == ESTIMATE_AFTER:
            told = estimate(self._spec, self._scheduler, self._ledger, self._workers())
            if told is not None:
                self._say(told)
