"""An examination: the winner of a search measured once and kept in the search's folder, so that a report costs nothing.

It lies in examination/KEY/, where the key tells the checkpoints, the dataset, and the windows it was made on: a folder
appears when all of it is written, and what does not fit any more is removed.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from data.dataset import Dataset
from data.errors import InputError
from data.storage import partial_path, sha256_of, whole_text
from model.prediction import Validation
from tuner.history import SearchHistory
from tuner.result import BEST_CHECKPOINT

FOLDER = "examination"
FIGURES = "figures.json"
FORMAT = 1  # rises whenever figures change their meaning


@dataclass(frozen=True)
class Examination:
    """What was measured; or nothing, and why."""

    folder: Path | None = None  # of the pictures
    figures: Mapping[str, Any] = field(default_factory=dict)  # as `tuner.examination.measuring.measure` gives them
    reason: str | None = None  # why there is nothing; None: there is

    @property
    def map_interval(self) -> tuple[float, float] | None:
        """95 % bootstrap interval of the winner's mAP."""
        return self._interval("map")

    @property
    def default_map_interval(self) -> tuple[float, float] | None:
        """The same of the default configuration's, if its checkpoint is kept."""
        return self._interval("default_map")

    @property
    def difference_interval(self) -> tuple[float, float] | None:
        """95 % interval of the winner's mAP minus the default's, drawn in pairs."""
        return self._interval("difference")

    @property
    def unit(self) -> str | None:
        """What was drawn again and again for the intervals: windows or recordings."""
        return str(self.figures["intervals"]["unit"]) if self.figures else None

    @property
    def costs(self) -> Mapping[str, float]:
        """What the winner costs in use, by the names that trials report it by, among others."""
        return self.figures["cost"] if self.figures else {}

    def _interval(self, name: str) -> tuple[float, float] | None:
        found = self.figures["intervals"][name] if self.figures else None
        return None if found is None else (float(found[0]), float(found[1]))


def examine(history: SearchHistory, dataset: Dataset | None = None, *, only_kept: bool = False) -> Examination:
    """The examination of a search's winner, made now if none is kept that fits.

    Never None: where the checkpoint or the dataset are not there, it is empty and its `reason` says so.

    Args:
        history: of the search.
        dataset: that of the search, where it lies now; None: where it lay then.
        only_kept: measure nothing.
    """
    folder = history.result.folder
    winner = folder / BEST_CHECKPOINT
    if not winner.is_file():
        return Examination(reason=f"the search has written no {BEST_CHECKPOINT} yet, as it does when it ends")
    default = _default_checkpoint(history)
    objective = history.result.spec.file.objective
    validation = Validation(objective.split, objective.windows)
    place = folder / FOLDER / _key(winner, default, history.identity.digest, validation)
    if (place / FIGURES).is_file():
        return _kept(place)
    if only_kept:
        return Examination(reason="the winner has not been examined yet")
    try:
        found = dataset if dataset is not None else Dataset.open(history.identity.dataset)
        if found.digest != history.identity.digest:
            return Examination(reason=f"the dataset at {found.location} is not the one the search ran on")
        return _made(place, winner, default, found, validation)
    except (InputError, OSError) as error:
        return Examination(reason=str(error))


def _made(place: Path, winner: Path, default: Path | None, dataset: Dataset, validation: Validation) -> Examination:
    from tuner.examination.measuring import measure

    partial = partial_path(place)
    shutil.rmtree(partial, ignore_errors=True)  # of an examination that was killed
    partial.mkdir(parents=True)
    try:
        figures = measure(winner, default, dataset, validation, partial)
        whole_text(partial / FIGURES, json.dumps(figures, indent=1, allow_nan=False) + "\n")
        partial.rename(place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for other in place.parent.iterdir():
        if other != place:
            shutil.rmtree(other, ignore_errors=True)
    return _kept(place)


def _kept(place: Path) -> Examination:
    return Examination(place, json.loads((place / FIGURES).read_text(encoding="utf-8")))


def _key(winner: Path, default: Path | None, dataset_digest: str, validation: Validation) -> str:
    digests = [sha256_of(winner), None if default is None else sha256_of(default)]
    told = [FORMAT, *digests, dataset_digest, asdict(validation)]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def _default_checkpoint(history: SearchHistory) -> Path | None:
    """The default configuration's, if it is kept and the default did not win."""
    default, best = history.result.default, history.result.best
    if default is None or default.checkpoint is None or (best is not None and best.number == default.number):
        return None
    path = history.result.folder / default.checkpoint
    return path if path.is_file() else None
