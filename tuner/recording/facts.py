"""What the driver tells of a search and its trials, in words that need neither the study nor Ray."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DEFAULT_TRIAL = 0  # the default configuration's, whose checkpoint is always uploaded

# By a trial's state at its end: what MLflow knows of ends is less.
_STATUS = {
    "complete": "FINISHED",
    "stopped": "KILLED",
    "paused": "KILLED",  # and never promoted
    "preempted": "KILLED",
    "infeasible": "KILLED",
    "diverged": "FAILED",
    "out of memory": "FAILED",
    "failed": "FAILED",
}


@dataclass(frozen=True)
class SearchFacts:
    """What is known of a search when it begins, or goes on."""

    search_id: str
    dataset: str  # its location
    params: Mapping[str, Any]  # leaves of the search specification, by dotted name
    spec_file: Path  # below the search's folder
    digest: str | None = None  # of the dataset's manifest


@dataclass(frozen=True)
class RunFacts:
    """A trial as it is now."""

    number: int
    name: str  # of its run
    config: Mapping[str, Any]  # all leaves
    state: str
    title: str | None = None  # what the specification calls it
    repeats: int | None = None  # the number of the trial that this one repeats with another seed
    seed: int | None = None
    node: str | None = None
    error: str | None = None
    diagnosis: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)  # of its best epoch
    best_epoch: int | None = None
    interrupted: bool = False  # the user ended it: KILLED, whatever its state

    def status(self) -> str:
        """What MLflow calls this end.

        Raises:
            KeyError: the state is no end.
        """
        return "KILLED" if self.interrupted else _STATUS[self.state]

    def tags(self) -> dict[str, str]:
        """What is known of the trial besides numbers."""
        known = {
            "state": self.state,
            "title": self.title,
            "seed": self.seed,
            "node": self.node,
            "repeats": self.repeats,
            "error": self.error,
            "diagnosis": self.diagnosis,
        }
        return {name: str(fact) for name, fact in known.items() if fact is not None}


@dataclass(frozen=True)
class Checkpoint:
    """The weights of a trial's best epoch."""

    number: int
    file: Path


@dataclass(frozen=True)
class SearchEnd:
    """What a search came to."""

    counts: Mapping[str, int]  # of trials, by state
    best: RunFacts | None = None
    best_values: Mapping[str, Any] = field(default_factory=dict)  # the leaves that were sampled for the best
    default: RunFacts | None = None
    halted: str | None = None  # why it ended before its budget
    interrupted: bool = False  # by the user
    objective: str = "map"  # the metric of the curves
    maximise: bool = True
    curves: Mapping[int, Mapping[int, float]] = field(default_factory=dict)  # its value by trial and epoch, to draw
    files: Sequence[Path] = ()  # for the search's own run
    checkpoints: Sequence[Checkpoint] = ()  # the best first
    uploads: int = 1  # how many of the best of them go to MLflow

    def status(self) -> str:
        """What MLflow calls this end."""
        if self.interrupted:
            return "KILLED"
        return "FINISHED" if self.best is not None and self.halted is None else "FAILED"

    def metrics(self) -> dict[str, float]:
        """How many trials there are of each state, and the scores of the best and of the default one."""
        counts = {f"trials_{state.replace(' ', '_')}": float(count) for state, count in self.counts.items()}
        best = self.best.scores if self.best is not None else {}
        default = self.default.scores if self.default is not None else {}
        return {
            **counts,
            **{f"best_{name}": value for name, value in best.items()},
            **{f"default_{name}": value for name, value in default.items()},
        }

    def tags(self) -> dict[str, str]:
        """Which trial won, and why the search ended early if it did."""
        best = {} if self.best is None else {"best_trial": str(self.best.number)}
        return best | ({} if self.halted is None else {"halted": self.halted})

    def params(self) -> dict[str, Any]:
        """The best trial's values, by `best.LEAF`."""
        return {f"best.{leaf}": value for leaf, value in self.best_values.items()}

    def uploaded(self) -> list[Checkpoint]:
        """The checkpoints worth their room: of the best trials and of the default one."""
        best = self.checkpoints[: self.uploads]
        return [*best, *(each for each in self.checkpoints[self.uploads :] if each.number == DEFAULT_TRIAL)]
