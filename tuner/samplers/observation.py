"""What a sampler sees of the trials so far, and what it answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from tuner.domains import Scalar

Values = dict[str, Scalar]  # by Branch.name, of the branches that are active


class Stage(StrEnum):
    """How far a trial is, as a sampler needs to know it."""

    RUNNING = "running"  # on a worker, or about to be
    WAITING = "waiting"  # paused at a rung; it may go on
    ENDED = "ended"  # complete or stopped; its curve is all there will be
    LOST = "lost"  # diverged, out of memory, infeasible or failed: what it reported until then, if anything


@dataclass(frozen=True)
class Observation:
    """One trial. Values lie in their domains; a curve's objectives are all to be maximised (costs come negated)."""

    number: int
    values: Mapping[str, Scalar]  # by Branch.name
    curve: Mapping[int, tuple[float, ...]]  # by epoch, from 1: one value for each objective
    stage: Stage
    violation: float = 0.0  # sum of how far constraints are broken, each as a share of its bound; 0 is feasible
    source: str | None = None  # the earlier search this comes from; None is the search itself
    memory: Mapping[str, Any] = field(default_factory=dict)  # what the sampler put into the trial's proposal


@dataclass(frozen=True)
class Proposal:
    """The next trial: a value for every active branch, and what the sampler wants to find with it later (JSON)."""

    values: Values
    memory: Mapping[str, Any] = field(default_factory=dict)
    expected_gain: float | None = None  # expected improvement of the first objective over the best so far, in its units


class Proposer(Protocol):
    """A sampler. All randomness comes from its seed and the trial's number, so a resumed search draws nothing twice."""

    def propose(self, number: int, history: Sequence[Observation]) -> Proposal:
        """Values for trial `number`, given all trials before it in order of their numbers."""
