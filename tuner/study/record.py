"""What the study knows of a trial."""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tuner.schedulers.decision import Decision, Past
from tuner.space import Leaves

DEFAULT_TRIAL = 0  # the default configuration; never stopped, so that the winner is compared with it at full budget
SCORES = ("map", "map50", "map75")


class TrialState(StrEnum):
    """Where a trial is, and why it ended."""

    RUNNING = "running"
    PAUSED = "paused"  # at a rung, until it is promoted
    COMPLETE = "complete"  # trained for the whole budget, or as long as its patience lasted
    STOPPED = "stopped"  # by the scheduler, by the health check, or because the search's budget was spent
    DIVERGED = "diverged"  # its numbers were no longer finite
    OUT_OF_MEMORY = "out of memory"
    INFEASIBLE = "infeasible"  # broke a constraint that is checked before training
    FAILED = "failed"
    PREEMPTED = "preempted"  # its search was interrupted; a resumed search goes on with it


UNFINISHED = frozenset({TrialState.RUNNING, TrialState.PAUSED, TrialState.PREEMPTED})
LOST = frozenset({TrialState.DIVERGED, TrialState.OUT_OF_MEMORY, TrialState.INFEASIBLE, TrialState.FAILED})


class TrialKind(StrEnum):
    """Why a trial was run."""

    SEARCH = "search"
    REPEAT = "repeat"  # a finalist again, with another seed


@dataclass(frozen=True)
class Origin:
    """What a trial was begun with; never changes."""

    sampled: Leaves
    kind: TrialKind = TrialKind.SEARCH
    repeats: int | None = None  # the number of the trial it repeats
    donor: int | None = None  # the number of the trial from whose files it goes on
    replaces: int | None = None  # the number of the trial that lost its place in the population to it
    epoch: int = 0  # the donor's, after which it goes on
    files: str | None = None  # a copy of the donor's
    memory: Mapping[str, Any] = field(default_factory=dict)  # the sampler's own
    expected_gain: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The fields that differ from their defaults."""
        written: dict[str, Any] = {"sampled": self.sampled, "kind": self.kind.value, "repeats": self.repeats}
        written |= {"donor": self.donor, "replaces": self.replaces, "epoch": self.epoch or None, "files": self.files}
        written |= {"memory": dict(self.memory), "expected_gain": self.expected_gain}
        return {key: value for key, value in written.items() if value not in (None, {}) or key == "sampled"}

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> "Origin":
        """The inverse of `as_json`."""
        return cls(**{**tree, "kind": TrialKind(tree["kind"])})


@dataclass(frozen=True)
class Told:
    """One epoch as it was reported, and what was decided on it."""

    epoch: int
    metrics: Mapping[str, float]
    checkpoint: str | None  # the folder of the epoch's files, below the search's folder or absolute
    decision: Decision
    busy_s: float  # seconds on a worker so far, over all of the trial's workers
    cost: float = 0.0  # money so far
    at_s: float | None = None  # when it was reported, Unix seconds; None in studies that did not keep it


@dataclass(frozen=True)
class TrialRecord:
    """A trial as it stands; scores are those of the epoch whose checkpoint it keeps."""

    number: int
    origin: Origin
    default: Leaves = field(repr=False)  # the search's default configuration
    state: TrialState = TrialState.RUNNING
    curve: Mapping[int, tuple[float, ...]] = field(default_factory=dict)  # by epoch, the objectives as reported
    best_epoch: int | None = None
    metrics: Mapping[str, float] | None = None  # all that was reported of the best epoch
    files: str | None = None  # of the last epoch, to go on from
    decision: Decision = Decision.CONTINUE  # on the last epoch
    over: bool = False  # it said that no epoch follows
    busy_s: float = 0.0
    cost: float = 0.0
    legs: int = 0  # workers that have taken it up
    leg_from: int = 0  # the epoch after which the last of them began
    node: str | None = None
    error: str | None = None
    diagnosis: str | None = None  # the last that was made: what keeps its mAP from rising, if anything does
    violation: float = 0.0  # sum of how far constraints are broken, each as a share of its bound
    mlflow_run_id: str | None = None

    @classmethod
    def begun(cls, number: int, origin: Origin, default: Leaves) -> "TrialRecord":
        """The record of a trial that has reported nothing."""
        return cls(number, origin, default, files=origin.files)

    @property
    def sampled(self) -> Leaves:
        """The leaves that the search chose."""
        return self.origin.sampled

    @property
    def config(self) -> Leaves:
        """All leaves."""
        return {**self.default, **self.origin.sampled}

    @property
    def epochs(self) -> int:
        """How many were reported."""
        return len(self.curve)

    @property
    def values(self) -> tuple[float, ...]:
        """The objectives at the best epoch, as reported.

        Raises:
            KeyError: there is none.
        """
        if self.best_epoch is None:
            raise KeyError(f"trial {self.number} has no best epoch")
        return self.curve[self.best_epoch]

    @property
    def scores(self) -> dict[str, float] | None:
        """AP of the best epoch."""
        return None if self.metrics is None else {name: self.metrics[name] for name in SCORES}

    @property
    def seed(self) -> int:
        """What its training draws from."""
        return int(self.config["training.seed"])

    @property
    def last_epoch(self) -> int:
        """The last that was reported; before the first the one that it goes on from, 0 if it begins."""
        return max(self.curve, default=self.origin.epoch)

    @property
    def checkpoint(self) -> str | None:
        """Its best weights, below the search's folder."""
        return None if self.files is None else f"{self.files}/best.safetensors"

    def past(self, worth: Callable[[tuple[float, ...]], float]) -> Past:
        """What a scheduler remembers of it."""
        curve = {epoch: worth(values) for epoch, values in self.curve.items()}
        return Past(self.number, curve, ended=self.state not in UNFINISHED, waiting=self.state is TrialState.PAUSED)

    def without_files(self) -> "TrialRecord":
        """The record with nothing to go on from."""
        return dataclasses.replace(self, files=None)

    def told(self, reports: Iterable[tuple[Told, tuple[float, ...]]]) -> "TrialRecord":
        """The record after these epochs, each with its objectives; an epoch told again only replaces its files."""
        curve, last_epoch, over = dict(self.curve), self.last_epoch, self.over
        best_epoch, metrics, files, decision = self.best_epoch, self.metrics, self.files, self.decision
        busy_s, cost = self.busy_s, self.cost
        for told, objectives in reports:
            if told.epoch not in curve:
                curve[told.epoch] = objectives
                # The last that was best: a phase of a training that is nearer its full configuration begins anew.
                if told.metrics.get("best") and all(map(math.isfinite, objectives)):
                    best_epoch, metrics = told.epoch, told.metrics
            if told.epoch >= last_epoch:
                last_epoch, decision = told.epoch, told.decision
            files = told.checkpoint or files
            over = over or bool(told.metrics.get("last"))
            busy_s, cost = max(told.busy_s, busy_s), max(told.cost, cost)
        return dataclasses.replace(
            self, curve=curve, best_epoch=best_epoch, metrics=metrics, files=files, decision=decision, over=over,
            busy_s=busy_s, cost=cost,
        )  # fmt: skip


def count_states(records: Iterable[TrialRecord]) -> dict[str, int]:
    """How many trials are in each state, by its word; all states are there."""
    counts = Counter(record.state for record in records)
    return {state.value: counts[state] for state in TrialState}
