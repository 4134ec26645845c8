"""What the driver tells of a search and its trials, in words that need neither the study nor Ray."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuner.wording import settings_told

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

_GROUPS = {"complete": "complete", "stopped": "stopped"}
_GROUPS |= dict.fromkeys(("running", "paused", "preempted"), "unfinished")


@dataclass(frozen=True)
class SearchFacts:
    """What is known of a search when it begins, or goes on."""

    search_id: str
    dataset: str  # its location
    params: Mapping[str, Any]  # leaves of the search specification, by dotted name
    spec_file: Path  # below the search's folder
    digest: str | None = None  # of the dataset's manifest
    objective: str = "map"  # what trials are compared by
    maximise: bool = True
    sampled: Sequence[str] = ()  # the leaves that are searched


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
    scores: Mapping[str, float] = field(default_factory=dict)  # of its best epoch so far
    best_epoch: int | None = None
    last_epoch: int = 0
    epochs: int | None = None  # that it may train
    settings: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)  # its own and the default's, by leaf

    def status(self) -> str:
        """What MLflow calls this end.

        Raises:
            KeyError: the state is no end.
        """
        return _STATUS[self.state]

    def ending(self) -> str | None:
        """How it ended, in a sentence; None while it is running."""
        after = f"after epoch {self.last_epoch}" + ("" if self.epochs is None else f" of {self.epochs}")
        match self.state:
            case "running":
                return None
            case "complete":
                return f"complete {after}"
            case "stopped":
                return f"stopped {after}: {self.error or 'others were better by then'}"
            case "paused":
                return f"waits {after}"
            case "preempted":
                return f"interrupted {after}"
            case _:
                return f"{self.state} {after}" + ("" if self.error is None else f": {self.error}")

    def tags(self) -> dict[str, str]:
        """What is known of the trial besides numbers."""
        known = {
            "state": self.state,
            "title": self.title,
            "settings": settings_told({leaf: mine for leaf, (mine, _) in self.settings.items()}) or None,
            "ending": self.ending(),
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
    others: Sequence[RunFacts] = ()  # the next best, in this order
    trials: Mapping[int, RunFacts] = field(default_factory=dict)  # all of them, by number
    config: Path | None = None  # file of the best one's configuration, for its own run
    sure: Sequence[str] = ()  # what other seeds say of the best, a sentence each
    epochs: int = 0  # that all trials trained
    busy_s: float = 0.0  # on all workers together
    cost: float = 0.0  # money
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
        """How many trials ended how, and the scores of the best and of the default one."""
        counts = dict.fromkeys(("complete", "stopped", "unfinished", "lost"), 0)
        for state, count in self.counts.items():
            counts[_GROUPS.get(state, "lost")] += count
        best = self.best.scores if self.best is not None else {}
        default = self.default.scores if self.default is not None else {}
        return {
            **{f"trials/{group}": float(count) for group, count in counts.items()},
            **{f"best_{name}": value for name, value in best.items()},
            **{f"default_{name}": value for name, value in default.items()},
        }

    def tags(self) -> dict[str, str]:
        """Which trial won, and why the search ended early if it did."""
        best = {}
        if self.best is not None:
            best = {"best_trial": str(self.best.number), "settings": self.best.tags().get("settings", "default")}
        return best | ({} if self.halted is None else {"halted": self.halted})

    def params(self) -> dict[str, Any]:
        """The best trial's values, by `best.LEAF`."""
        return {f"best.{leaf}": value for leaf, value in self.best_values.items()}

    def uploaded(self) -> list[Checkpoint]:
        """The checkpoints worth their room: of the best trials and of the default one."""
        best = self.checkpoints[: self.uploads]
        return [*best, *(each for each in self.checkpoints[self.uploads :] if each.number == DEFAULT_TRIAL)]
