"""What a search came to: computed from the study, printed, written as JSON, and read again by `best`."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tuner.spec import SearchSpec, load_spec
from tuner.study import DEFAULT_TRIAL, TrialRecord, TrialState, read_trials

SPEC_FILE = "spec.yaml"
BEST_CONFIG = "best.yaml"
BEST_CHECKPOINT = "best.safetensors"
RESULT_FILE = "result.json"


@dataclass(frozen=True)
class SearchResult:
    """The trials of a search, and which of them won."""

    search_id: str
    folder: Path
    spec: SearchSpec
    trials: Sequence[TrialRecord]
    halted: str | None = None  # why it ended before its budget
    notes: Sequence[str] = ()  # what did not go as it should, though the search went on

    @property
    def best(self) -> TrialRecord | None:
        """The best trial of the whole budget; if there is none, of those stopped, then cut off, then diverged."""
        metric = self.spec.file.objective.metric
        for state in (TrialState.COMPLETE, TrialState.STOPPED, TrialState.FAILED, TrialState.DIVERGED):
            known = [trial for trial in self.trials if trial.state is state and trial.scores]
            if known:
                return max(known, key=lambda trial: (trial.scores or {})[metric])
        return None

    @property
    def default(self) -> TrialRecord | None:
        """The default configuration's trial, if it has a score."""
        return next((trial for trial in self.trials if trial.number == DEFAULT_TRIAL and trial.scores), None)

    def states(self) -> dict[str, int]:
        """How many trials are in each state."""
        return {state.value: sum(trial.state is state for trial in self.trials) for state in TrialState}

    def as_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        best, default = self.best, self.default
        return {
            "search_id": self.search_id,
            "folder": str(self.folder),
            "trials": self.states(),
            "best": None if best is None else self._best_dict(best),
            "default": None if default is None else dict(default.scores or {}),
            "halted": self.halted,
            "notes": list(self.notes),
        }

    def _best_dict(self, best: TrialRecord) -> dict[str, Any]:
        return {
            "number": best.number,
            **(best.scores or {}),
            "epoch": best.best_epoch,
            "sampled": best.sampled,
            "config": best.config,
            "diagnosis": best.diagnosis,
            "checkpoint": str(self.folder / BEST_CHECKPOINT),
        }

    def write_winner(self) -> None:
        """Write the winning configuration and its checkpoint into the search's folder."""
        best = self.best
        if best is not None:
            tree = self.spec.configuration(best.sampled).model_dump(mode="json")
            (self.folder / BEST_CONFIG).write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
            if best.checkpoint is not None:
                shutil.copyfile(self.folder / best.checkpoint, self.folder / BEST_CHECKPOINT)

    def write_summary(self) -> None:
        """Write what `--json` prints into the search's folder."""
        text = json.dumps(self.as_dict(), indent=2)
        (self.folder / RESULT_FILE).write_text(text + "\n", encoding="utf-8")


def read_result(folder: Path) -> SearchResult:
    """The result of an earlier search, from its spec and its study.

    Raises:
        InputError: the folder holds no search that can be read.
    """
    search_id, trials = read_trials(folder)
    return SearchResult(search_id, folder, load_spec(folder / SPEC_FILE), trials)
