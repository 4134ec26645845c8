"""A configuration trained again with fresh seeds: a search over nothing but the seed, run as every other search is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from data.dataset import Dataset
from data.errors import TrainingError
from data.manifest import Split
from data.storage import whole_text
from model.training.run import train
from model.trial_config import TrialConfig
from tuner.halt import INTERRUPTED
from tuner.promotion.challenger import Training, trainings_of
from tuner.result import SearchResult, read_result
from tuner.search import run_search
from tuner.search_folder import IDENTITY_FILE
from tuner.spec.search_spec import EPOCHS, SearchSpec, load_spec
from tuner.study.record import UNFINISHED
from tuner.trial import TrainFunction

SEED = "training.seed"
SEEDS = (1_000_000, 2_000_000_000)  # far above those a search's repeats count up to
MOST_WINDOWS = 200  # measured after each epoch where the search measures on all, but val is trained on


class Interrupted(TrainingError):  # noqa: N818 - what the user did
    """The user has ended it; the same command goes on."""


@dataclass(frozen=True)
class Retraining:
    """Trainings of one configuration, in a folder of their own."""

    spec: SearchSpec  # of the search that found it
    config: TrialConfig
    number: int  # of the trial
    folder: Path
    train: TrainFunction = train

    def done(self) -> list[Training]:
        """Those that are trained."""
        result = self._result()
        return [] if result is None else trainings_of(result, result.trials)

    def run(self, dataset: Dataset, count: int, *, progress_on_stderr: bool) -> list[Training]:
        """Train until there are so many, as many at a time as fit; what an earlier call began is gone on with.

        Raises:
            TrainingError: all failed.
            Interrupted: by the user.
        """
        before = self._result()
        trials = max(count, 0 if before is None else len(before.trials))
        if before is None or len(before.trials) < trials or any(t.state in UNFINISHED for t in before.trials):
            result = run_search(
                self._written(trials),
                dataset.location,
                self.folder,
                resume=True,
                progress_on_stderr=progress_on_stderr,
                report=False,
                train_function=self.train,
            )
            if result.halted == INTERRUPTED:
                raise Interrupted(f"{self.folder}: interrupted; the same command goes on from here")
        return self.done()

    def _result(self) -> SearchResult | None:
        return read_result(self.folder) if (self.folder / IDENTITY_FILE).is_file() else None

    def _written(self, trials: int) -> SearchSpec:
        path = self.folder.with_suffix(".yaml")
        path.parent.mkdir(exist_ok=True)
        whole_text(path, yaml.safe_dump(self._tree(trials), sort_keys=False))
        return load_spec(path)

    def _tree(self, trials: int) -> dict[str, Any]:
        file = self.spec.file
        objective: dict[str, Any] = {"windows": file.objective.windows, "split": file.objective.split.value}
        if self.config.training.with_val:  # what is reported after an epoch chooses nothing then
            objective = {"windows": file.objective.windows or MOST_WINDOWS, "split": Split.TRAIN.value}
        leaves = {leaf: value for leaf, value in self.config.leaves().items() if leaf not in (EPOCHS, SEED)}
        return {
            "name": f"{file.name[:40]}-retrain-{self.number}",
            "base": {**leaves, SEED: SEEDS[0]},
            "space": {SEED: {"integer": list(SEEDS)}},
            "objective": objective,
            "sampler": {"name": "random", "seed": self.number},
            "scheduler": {"name": "none"},
            "budget": {"trials": trials, "epochs": file.budget.epochs},
            "resources": file.resources.model_dump(mode="json", exclude_unset=True),
            "mlflow": {"checkpoints": 0},
        }
