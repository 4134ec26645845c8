"""What a search came to: computed from the study, printed, written as JSON, and read again by `best`."""

import dataclasses
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from data.storage import whole_path, whole_text
from tuner.finalists import Finalist, Verdict, finalists, verdict
from tuner.front import front_of, hypervolume_of
from tuner.observing import Observer
from tuner.samplers.choose import final_choice
from tuner.search_folder import RESULT_FILE, SPEC_FILE, read_identity
from tuner.spec.search_spec import SearchSpec, load_spec
from tuner.study.history import read_trials
from tuner.study.record import DEFAULT_TRIAL, TrialKind, TrialRecord, TrialState, count_states

BEST_CONFIG = "best.yaml"
BEST_CHECKPOINT = "best.safetensors"

_RANKS = (
    TrialState.COMPLETE,
    TrialState.STOPPED,
    TrialState.PAUSED,
    TrialState.PREEMPTED,
    TrialState.RUNNING,
    TrialState.FAILED,
    TrialState.OUT_OF_MEMORY,
    TrialState.DIVERGED,
)


@dataclass(frozen=True)
class SearchResult:
    """The trials of a search, and which of them won."""

    search_id: str
    folder: Path
    spec: SearchSpec
    trials: Sequence[TrialRecord]
    halted: str | None = None  # why it ended before its budget
    notes: Sequence[str] = ()  # what did not go as it should, though the search went on

    @cached_property
    def best(self) -> TrialRecord | None:
        """The winner: of the finalists that were trained again the one with the highest lower bound, if there are any.

        Otherwise the best trial of the whole budget that keeps the constraints; if there is none, of those stopped,
        then cut off, then lost; and only then one that breaks constraints. With several objectives: by the first.
        """
        ranked = self.finalists
        if ranked:
            return self.trials[ranked[0].number]
        mine = [t for t in self.trials if t.origin.kind is TrialKind.SEARCH and t.best_epoch is not None]
        for feasible in (True, False):
            for state in _RANKS:
                known = [trial for trial in mine if trial.state is state and (trial.violation == 0) is feasible]
                if known:
                    return self._chosen(known)
        return None

    @cached_property
    def finalists(self) -> list[Finalist]:
        """Those that were trained again with other seeds, best first."""
        return finalists(self.spec, self.trials)

    @property
    def verdict(self) -> Verdict | None:
        """Whether the winner differs from the runner-up, where both were trained again."""
        return verdict(self.finalists)

    @cached_property
    def front(self) -> list[TrialRecord]:
        """With several objectives, the trials that no other one beats in all of them."""
        return front_of(self.spec, self.trials) if self.spec.file.objective.also else []

    def _chosen(self, known: Sequence[TrialRecord]) -> TrialRecord:
        """By the smoothed curve, not by its luckiest epoch."""
        observer = Observer(self.spec)
        number = final_choice(observer.history(known), self.spec.file.budget.epochs)
        return next((trial for trial in known if trial.number == number), known[0])

    def _winning_checkpoint(self, best: TrialRecord) -> str | None:
        """Of the winner's trainings, its own and the repeats, the best one's."""
        worth = self.spec.file.objective.worth
        trained = [t for t in self.trials if best.number in (t.number, t.origin.repeats) and t.best_epoch is not None]
        kept = [trial for trial in trained if trial.checkpoint is not None]
        found = max(kept, key=lambda trial: worth(trial.values), default=None)
        return None if found is None else found.checkpoint

    @property
    def default(self) -> TrialRecord | None:
        """The default configuration's trial, if it has a score."""
        return next((trial for trial in self.trials if trial.number == DEFAULT_TRIAL and trial.scores), None)

    def states(self) -> dict[str, int]:
        """How many trials are in each state."""
        return count_states(self.trials)

    def as_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        best, default = self.best, self.default
        return {
            "search_id": self.search_id,
            "folder": str(self.folder),
            "trials": self.states(),
            "best": None if best is None else self._best_dict(best),
            "default": None if default is None else dict(default.scores or {}),
            "finalists": [dataclasses.asdict(one) for one in self.finalists],
            "verdict": self._verdict_dict(),
            "front": self._front_dict(),
            "halted": self.halted,
            "notes": list(self.notes),
        }

    def _verdict_dict(self) -> dict[str, Any] | None:
        found = self.verdict
        return None if found is None else {**dataclasses.asdict(found), "differs": found.differs}

    def _front_dict(self) -> dict[str, Any] | None:
        front = self.front
        if not front:
            return None
        names = self.spec.file.objective.metrics
        points = [{"number": t.number, **dict(zip(names, t.values, strict=True)), "sampled": t.sampled} for t in front]
        volume, reference = hypervolume_of(self.spec, self.trials)
        return {"trials": points, "hypervolume": volume, "reference": dict(zip(names, reference, strict=True))}

    def _best_dict(self, best: TrialRecord) -> dict[str, Any]:
        return {
            "number": best.number,
            **(best.scores or {}),
            "epoch": best.best_epoch,
            "violation": best.violation,
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
            whole_text(self.folder / BEST_CONFIG, yaml.safe_dump(tree, sort_keys=False))
            checkpoint = self._winning_checkpoint(best)
            if checkpoint is not None and (self.folder / checkpoint).is_file():
                with whole_path(self.folder / BEST_CHECKPOINT) as part:
                    shutil.copyfile(self.folder / checkpoint, part)

    def write_summary(self) -> None:
        """Write what `--json` prints into the search's folder."""
        whole_text(self.folder / RESULT_FILE, json.dumps(self.as_dict(), indent=2) + "\n")


def read_result(folder: Path) -> SearchResult:
    """The result of an earlier search, from its spec and its study.

    Raises:
        InputError: the folder holds no search that can be read.
    """
    identity = read_identity(folder)
    search_id, trials = read_trials(folder, identity.search_id)
    return SearchResult(search_id, folder, load_spec(folder / SPEC_FILE), trials)
