"""The durable study: an Optuna study in SQLite is the state of record, asked for trials and told their ends."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState
from sqlalchemy.exc import SQLAlchemyError

from data.errors import DatasetError
from tuner.space import Leaves
from tuner.spec import Sampler, SamplerName, SearchSpec

STUDY_FILE = "study.db"
DEFAULT_TRIAL = 0  # the default configuration; never stopped, so that the winner is compared with it at full budget
SCORES = ("map", "map50", "map75")


class TrialState(StrEnum):
    """Where a trial is."""

    RUNNING = "running"
    COMPLETE = "complete"  # trained for the whole budget, or as long as its patience lasted
    STOPPED = "stopped"  # by the scheduler, at a rung
    DIVERGED = "diverged"  # its numbers were no longer finite
    FAILED = "failed"


_OPTUNA_STATES = {
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.STOPPED: OptunaState.PRUNED,
    TrialState.DIVERGED: OptunaState.FAIL,
    TrialState.FAILED: OptunaState.FAIL,
}


@dataclass(frozen=True)
class TrialRecord:
    """What the study knows of a trial; scores are those of its best epoch."""

    number: int
    state: TrialState
    sampled: Leaves
    config: Leaves
    epochs: int = 0
    best_epoch: int | None = None
    scores: Mapping[str, float] | None = None
    checkpoint: str | None = None  # its best.safetensors, below the search's folder
    error: str | None = None
    diagnosis: str | None = None  # the last that was made: what keeps its mAP from rising, if anything does


class Study:
    """Asks for configurations and keeps what became of them."""

    def __init__(self, study: optuna.Study, storage: RDBStorage, spec: SearchSpec, folder: Path) -> None:
        self._study = study
        self._storage = storage
        self._spec = spec
        self._folder = folder
        self._asked: dict[int, optuna.Trial] = {}
        self._reports: dict[int, dict[int, dict[str, float]]] = {}  # of each trial, by epoch

    @classmethod
    def create(cls, folder: Path, spec: SearchSpec, search_id: str) -> "Study":
        """A new study in `folder`; its first trial will be the default configuration."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = RDBStorage(_url(folder / STUDY_FILE))
        study = optuna.create_study(
            storage=storage,
            study_name=search_id,
            direction="maximize",
            sampler=_sampler(spec.file.sampler),
            pruner=optuna.pruners.NopPruner(),  # stopping is Ray's
        )
        study.set_user_attr("search_id", search_id)
        return cls(study, storage, spec, folder)

    @property
    def search_id(self) -> str:
        """The name of the search, unique by its time."""
        return str(self._study.study_name)

    @property
    def sampler(self) -> optuna.samplers.BaseSampler:
        """Who proposes."""
        return self._study.sampler

    def ask(self) -> tuple[int, Leaves]:
        """The next trial's number and sampled leaves; number 0 samples nothing."""
        default = self._spec.default.leaves()
        observed = self._spec.space.observed(default) if not self._asked else []
        if observed:
            # The sampler learns from the default too, by those of its values that lie in their domains.
            self._study.enqueue_trial({branch.name: value for branch, value in observed})
        trial = self._study.ask()
        if trial.number == DEFAULT_TRIAL:
            leaves: Leaves = {}
            for branch, _ in observed:
                branch.domain.suggest(trial, branch.name)
        else:
            leaves = self._spec.space.sample(trial)
        self._asked[trial.number] = trial
        self._reports[trial.number] = {}
        self._remember(trial.number, state=TrialState.RUNNING, sampled=leaves, config={**default, **leaves})
        return trial.number, leaves

    def report(self, number: int, metrics: Mapping[str, float]) -> None:
        """Keep an epoch's metrics; the objective becomes an intermediate value."""
        epoch = int(metrics["epoch"])
        if epoch not in self._reports[number]:  # it is, if a worker was lost and the next one had to do it again
            self._asked[number].report(metrics[self._spec.file.objective.metric], epoch)
        self._reports[number][epoch] = dict(metrics)

    def keep(self, number: int, checkpoint: Path) -> None:
        """Keep where the trial's best weights lie now."""
        self._remember(number, checkpoint=_below(checkpoint, self._folder))

    def finish(self, number: int, state: TrialState, error: str | None = None) -> TrialRecord:
        """Tell a trial's end: its value is its best epoch's, not its last one's; without any number it has failed."""
        metric = self._spec.file.objective.metric
        reports = [report for report in self._reports[number].values() if math.isfinite(report[metric])]
        # The last that was best: a phase of a training that is nearer its full configuration begins anew.
        best = next((report for report in reversed(reports) if report["best"]), None)
        lost = state in (TrialState.DIVERGED, TrialState.FAILED)
        if not lost and best is None:
            state, error = TrialState.FAILED, error or f"no epoch reported a finite {metric}"
        self._remember(number, state=state, epochs=len(self._reports[number]), error=error)
        if best is not None:
            self._remember(number, best_epoch=int(best["epoch"]), **{score: best[score] for score in SCORES})
        told = None if best is None or lost else [float(best[metric])]
        # Not study.tell: it would take a stopped trial's last value for its value.
        study_id = self._storage.get_study_id_from_name(self.search_id)
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(study_id, number)
        self._storage.set_trial_state_values(trial_id, _OPTUNA_STATES[state], told)
        return self.trial(number)

    def close(self, reason: str) -> list[TrialRecord]:
        """Tell every trial still running that it has failed for this reason."""
        running = [record.number for record in self.trials() if record.state is TrialState.RUNNING]
        return [self.finish(number, TrialState.FAILED, reason) for number in running]

    def tag(self, number: int, key: str, value: str) -> None:
        """Attach a fact to a running trial."""
        self._asked[number].set_user_attr(key, value)

    def trial(self, number: int) -> TrialRecord:
        """One trial as it is now."""
        return _record(self._study.get_trials(deepcopy=False)[number])

    def trials(self) -> list[TrialRecord]:
        """All trials, by number."""
        return [_record(trial) for trial in self._study.get_trials(deepcopy=False)]

    def _remember(self, number: int, **facts: Any) -> None:
        for key, fact in facts.items():
            if fact is not None:
                self._asked[number].set_user_attr(key, fact)


def read_trials(folder: Path) -> tuple[str, list[TrialRecord]]:
    """A search's id and trials, from its study alone.

    Raises:
        DatasetError: there is no study in the folder, or it cannot be read.
    """
    file = folder / STUDY_FILE
    if not file.is_file():
        raise DatasetError(f"{folder}: holds no {STUDY_FILE}, so no search ran there; give the folder a search wrote")
    try:
        summaries = optuna.get_all_study_names(_url(file))
        study = optuna.load_study(study_name=summaries[0], storage=_url(file))
    except (IndexError, KeyError, RuntimeError, SQLAlchemyError, optuna.exceptions.OptunaError) as error:
        reason = str(error).splitlines()[0]
        raise DatasetError(f"{file}: is no study that can be read: {reason}") from None
    return str(study.study_name), [_record(trial) for trial in study.get_trials(deepcopy=False)]


def _record(trial: FrozenTrial) -> TrialRecord:
    facts = trial.user_attrs
    return TrialRecord(
        number=trial.number,
        state=TrialState(facts.get("state", TrialState.RUNNING)),
        sampled=facts.get("sampled", {}),
        config=facts.get("config", {}),
        epochs=facts.get("epochs", len(trial.intermediate_values)),
        best_epoch=facts.get("best_epoch"),
        scores={score: facts[score] for score in SCORES} if "best_epoch" in facts else None,
        checkpoint=facts.get("checkpoint"),
        error=facts.get("error"),
        diagnosis=facts.get("diagnosis"),
    )


def _sampler(sampler: Sampler) -> optuna.samplers.BaseSampler:
    match sampler.name:
        case SamplerName.TPE:
            # Univariate without constant liar: with Optuna 5's defaults (multivariate, liar) TPE loses to random search
            # when trials are stopped early.
            return optuna.samplers.TPESampler(
                seed=sampler.seed, n_startup_trials=sampler.startup_trials, multivariate=False, constant_liar=False
            )
        case SamplerName.RANDOM:
            return optuna.samplers.RandomSampler(seed=sampler.seed)


def _url(file: Path) -> str:
    return f"sqlite:///{file.absolute()}"


def _below(path: Path, folder: Path) -> str:
    absolute, root = path.absolute(), folder.absolute()
    return str(absolute.relative_to(root)) if absolute.is_relative_to(root) else str(path)
