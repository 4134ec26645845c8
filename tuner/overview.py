"""A search as its folder tells at once: without its space, for which PyTorch would have to be loaded."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tuner.located import read_located
from tuner.search_folder import RESULT_FILE, SPEC_FILE, Identity, held_since, read_identity
from tuner.spec.search_file import SearchFile
from tuner.study.history import StudyHistory, TrialHistory, read_study
from tuner.study.record import DEFAULT_TRIAL, UNFINISHED, TrialKind, TrialRecord, count_states


@dataclass(frozen=True)
class Overview:
    """What its spec and its study say of a search."""

    folder: Path
    identity: Identity
    file: SearchFile
    study: StudyHistory
    running_since_s: float | None  # Unix seconds; None if no process is running it

    @property
    def trials(self) -> Sequence[TrialHistory]:
        """By number."""
        return self.study.trials

    @cached_property
    def records(self) -> list[TrialRecord]:
        """Of the trials, by number."""
        return [trial.record for trial in self.study.trials]

    @cached_property
    def states(self) -> dict[str, int]:
        """How many trials are in each state."""
        return count_states(self.records)

    @cached_property
    def summary(self) -> dict[str, Any] | None:
        """What the search itself said at its end; None if it is running or died, or has been going on since then."""
        if self.running_since_s is not None:
            return None
        try:
            summary: dict[str, Any] = json.loads((self.folder / RESULT_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return summary if summary.get("trials") == self.states else None

    @cached_property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        waits = any(record.state in UNFINISHED for record in self.records)
        return self.summary is not None and self.summary["halted"] is None and not waits

    @cached_property
    def best(self) -> TrialRecord | None:
        """The winner, as the search itself named it, or so far the one with the highest value."""
        if self.summary is not None:
            named = self.summary["best"]
            return None if named is None else self.records[named["number"]]
        known = [r for r in self.records if r.best_epoch is not None and r.origin.kind is TrialKind.SEARCH]
        worth = self.file.objective.worth
        return max(known, key=lambda record: (-record.violation, worth(record.values)), default=None)

    @property
    def default(self) -> TrialRecord | None:
        """The default configuration's trial, if it has a value."""
        return next((r for r in self.records[:1] if r.number == DEFAULT_TRIAL and r.best_epoch is not None), None)


def read_overview(folder: Path) -> Overview:
    """A search, which may be running.

    Raises:
        InputError: the folder holds no search that can be read.
    """
    identity = read_identity(folder)
    since = held_since(folder)  # before the study: a search that ends in between would seem to have died
    file = SearchFile.read(read_located(folder / SPEC_FILE))
    return Overview(folder, identity, file, read_study(folder, identity.search_id), since)
