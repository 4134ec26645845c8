"""What a scheduler decides, and the protocol of all of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Decision(StrEnum):
    """What becomes of a trial that has just reported."""

    CONTINUE = "continue"
    PAUSE = "pause"  # gives up its worker and keeps its checkpoint, until it is promoted
    STOP = "stop"


@dataclass(frozen=True)
class Past:
    """A trial as the study remembers it, for a scheduler that begins in the middle of a search."""

    number: int
    curve: Mapping[int, float]  # by epoch; larger is better
    ended: bool  # it will not go on
    waiting: bool = False  # it was paused; neither ended nor waiting means running


@dataclass(frozen=True)
class Rung:
    """The trials compared at one fidelity, for reports and tests."""

    bracket: int
    epoch: int
    values: Mapping[int, float]  # by trial number
    promoted: frozenset[int] = frozenset()


class Scheduler(Protocol):
    """Compares trials by the first objective. All randomness comes from a seed and the trial's number."""

    def report(self, number: int, epoch: int, value: float) -> Decision:
        """Take in an epoch's value; an epoch told again changes nothing and decides the same."""

    def end(self, number: int) -> None:
        """The trial is over, for whatever reason, and will not be promoted."""

    def promote(self) -> int | None:
        """The waiting trial that a free worker should go on with rather than begin a new one; it then runs."""

    def restore(self, trials: Iterable[Past]) -> None:
        """Begin where the study stands: rungs afterwards equal those of a scheduler that lived through it."""

    def rungs(self) -> list[Rung]:
        """The rungs as they are; empty for a scheduler without any."""
