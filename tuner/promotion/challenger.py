"""Who is to become champion: a trial of a search, with the trainings that speak for it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.storage import sha256_of
from model.trial_config import TrialConfig
from tuner.result import SearchResult
from tuner.study.record import TrialRecord, TrialState


@dataclass(frozen=True)
class Training:
    """One training of the configuration."""

    seed: int
    source: str  # which trial of which search it was
    checkpoint: Path
    sha256: str  # of the checkpoint's file
    val_map: float  # at the epoch whose weights are kept; means nothing where val was trained on

    def as_dict(self) -> dict[str, Any]:
        """As it is written down."""
        return {
            "seed": self.seed,
            "source": self.source,
            "checkpoint": str(self.checkpoint),
            "sha256": self.sha256,
            "val_map": self.val_map,
        }


@dataclass(frozen=True)
class Challenger:
    """A configuration and its trainings."""

    search_id: str
    spec_digest: str  # of the search's specification
    trial: int
    with_val: bool  # trained on train and val
    config: TrialConfig
    dataset_digest: str
    trainings: tuple[Training, ...]

    @property
    def digest(self) -> str:
        """Which trainings of what these are, in 32 hexadecimal digits."""
        checkpoints = sorted(training.sha256 for training in self.trainings)
        told = [self.search_id, self.trial, self.with_val, self.dataset_digest, checkpoints]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]

    @property
    def shipped(self) -> Training:
        """The training whose weights are registered: the best on val; the first where val was trained on."""
        return self.trainings[0] if self.with_val else max(self.trainings, key=lambda training: training.val_map)


def challenger_key(trial: int, with_val: bool) -> str:
    """What files of this challenger are called."""
    return f"{trial:04d}-with-val" if with_val else f"{trial:04d}"


def chosen_trial(result: SearchResult, number: int | None) -> TrialRecord:
    """The trial of this number, or the search's winner.

    Raises:
        InputError: there is none, or it is a repeat of another.
    """
    if number is None:
        if result.best is None:
            raise InputError(f"{result.folder}: the search has no winner; no trial came to a value")
        return result.best
    if not 0 <= number < len(result.trials):
        raise InputError(f"--trial {number}: {result.folder} has trials 0 to {len(result.trials) - 1}")
    record = result.trials[number]
    if record.origin.repeats is not None:
        raise InputError(f"--trial {number}: repeats trial {record.origin.repeats}; give that one")
    if record.origin.donor is not None:
        raise InputError(
            f"--trial {number}: went on with another trial's weights, so no training of its own repeats it"
        )
    return record


def repeats_of(result: SearchResult, number: int) -> list[Training]:
    """The trainings of a trial by its search with other seeds, as far as they had their whole budget."""
    return trainings_of(result, [trial for trial in result.trials if trial.origin.repeats == number])


def own_training(result: SearchResult, record: TrialRecord) -> Training:
    """The trial's own training.

    Raises:
        InputError: it did not have its whole budget, or its checkpoint is gone.
    """
    found = trainings_of(result, [record])
    if not found:
        why = f"is {record.state.value} after {record.last_epoch} of {result.spec.file.budget.epochs} epochs"
        if record.state is TrialState.COMPLETE:
            why = "has no checkpoint any more"
        raise InputError(f"trial {record.number} {why}, and has no repeats; add --retrain to train it anew")
    return found[0]


def trainings_of(result: SearchResult, records: Sequence[TrialRecord]) -> list[Training]:
    """The trainings of these trials that had their whole budget and have their checkpoint still."""
    found = []
    for record in records:
        if record.state is not TrialState.COMPLETE or record.checkpoint is None or record.metrics is None:
            continue
        path = result.folder / record.checkpoint
        if path.is_file():
            source = f"{result.search_id}, trial {record.number}"
            found.append(Training(record.seed, source, path, sha256_of(path), float(record.metrics["map"])))
    return found


def configured(leaves: Mapping[str, Any], with_val: bool) -> TrialConfig:
    """The configuration as it is retrained."""
    # What val says ends no training that learns from it.
    final = {"training.with_val": True, "training.patience": None, "training.min_gain": 0.0} if with_val else {}
    return TrialConfig().with_leaves({**leaves, **final}, "the trial's configuration")
