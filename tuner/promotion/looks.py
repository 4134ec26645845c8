"""Looks at the test recordings: each checkpoint is measured on them once, and what was seen is kept for good."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from data.dataset import Dataset
from data.manifest import Split
from data.storage import sha256_of, whole_text
from model.evaluation.protocol import evaluate_checkpoint
from model.prediction import Validation

Evaluate = Callable[[Path, Dataset], Mapping[str, Any]]
FOLDER = "test"


def evaluate_on_test(checkpoint: Path, dataset: Dataset) -> Mapping[str, Any]:
    """What `spiketune evaluate --split test --json` says of a checkpoint."""
    return evaluate_checkpoint(checkpoint, dataset, Validation(Split.TEST)).as_dict()


@dataclass(frozen=True)
class Look:
    """One checkpoint on the test recordings of one dataset."""

    sha256: str  # of the checkpoint
    dataset_digest: str
    at: str  # ISO 8601
    scores: Mapping[str, Any]

    @property
    def map(self) -> float:
        """Mean average precision."""
        return float(self.scores["map"])


class TestLooks:
    """All looks of one search at test: a file for each, so that a killed process loses none."""

    __test__ = False  # no test, whatever its name begins with

    def __init__(self, folder: Path, evaluate: Evaluate = evaluate_on_test) -> None:
        self._folder = folder / FOLDER
        self._evaluate = evaluate

    @property
    def count(self) -> int:
        """How often this search has had a checkpoint measured on test."""
        return len(list(self._folder.glob("*.json")))

    def at(self, checkpoint: Path, dataset: Dataset) -> Look:
        """What the checkpoint is worth on test: as it was seen before, else measured and written down at once."""
        sha256 = sha256_of(checkpoint)
        path = self._folder / f"{sha256[:16]}-{dataset.digest[:16]}.json"
        if path.is_file():
            return Look(**json.loads(path.read_text(encoding="utf-8")))
        scores = self._evaluate(checkpoint, dataset)
        look = Look(sha256, dataset.digest, datetime.now(UTC).isoformat(timespec="seconds"), dict(scores))
        path.parent.mkdir(parents=True, exist_ok=True)
        whole_text(path, json.dumps(vars(look), indent=2) + "\n")
        return look
