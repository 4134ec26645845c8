"""No scheduler: every trial trains to its end."""

from collections.abc import Iterable

from tuner.schedulers.decision import Decision, Past, Rung
from tuner.schedulers.without_waiting import WithoutWaiting


class NeverStops(WithoutWaiting):
    """Lets every trial go on, whatever it reports."""

    def report(self, number: int, epoch: int, value: float) -> Decision:  # noqa: ARG002 - the protocol's
        """CONTINUE."""
        return Decision.CONTINUE

    def restore(self, trials: Iterable[Past]) -> None:
        """Nothing is remembered."""

    def rungs(self) -> list[Rung]:
        """None."""
        return []
