"""SearchSpec: what a file of search_spaces/ asks for, validated down to the line."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from data.config import Config, problems
from data.errors import ConfigError
from data.manifest import Split
from model.trial_config import TrialConfig
from tuner.leaves import check_leaf, configured, leaves_in
from tuner.located import KeyPath, Located, read_located
from tuner.space import Branch, BranchError, Leaves, Space
from tuner.spec_space import branches_of

EPOCHS = "training.epochs"  # set by the budget, never by base or space
PHASES = "training.phases"


class SamplerName(StrEnum):
    """Who proposes the next trial."""

    TPE = "tpe"  # univariate, without constant liar: the flags that beat random search in our measurements
    RANDOM = "random"


class SchedulerName(StrEnum):
    """Who stops weak trials."""

    ASHA = "asha"
    NONE = "none"


class Fidelity(StrEnum):
    """At which costs trials are compared before they have the full one."""

    EPOCHS = "epochs"  # rungs at grace, and at ever longer trainings
    PHASES = "phases"  # rungs at the ends of training.phases: fewer pixels, time steps or recordings


class Objective(Config):
    """What is compared, on windows that are the same for every trial."""

    metric: Literal["map"] = "map"  # the metric by which a trial keeps its best checkpoint
    mode: Literal["max"] = "max"
    split: Literal[Split.TRAIN, Split.VAL] = Split.VAL  # a winner chosen on test could not be judged on test
    windows: int | None = Field(default=None, ge=1)  # label times, evenly spaced over the split; null takes all


class Sampler(Config):
    """How trials are proposed."""

    name: SamplerName = SamplerName.TPE
    seed: int = Field(default=0, ge=0)
    startup_trials: int = Field(default=4, ge=1)  # finished trials before TPE stops proposing at random

    @model_validator(mode="after")
    def _only_what_is_read(self) -> "Sampler":
        if self.name is SamplerName.RANDOM:
            _refuse_unread(self, "sampler", {"startup_trials"})
        return self


class Scheduler(Config):
    """How weak trials are stopped."""

    name: SchedulerName = SchedulerName.ASHA
    fidelity: Fidelity = Fidelity.EPOCHS
    grace: int = Field(default=2, ge=1)  # epochs no trial is stopped before; the first rung; not with phases
    reduction_factor: float = Field(default=3, ge=2)  # eta in ASHA (Li et al. 2020): 1/eta of each rung survives

    @model_validator(mode="after")
    def _only_what_is_read(self) -> "Scheduler":
        if self.name is SchedulerName.NONE:
            _refuse_unread(self, "scheduler", {"fidelity", "grace", "reduction_factor"})
        if self.fidelity is Fidelity.PHASES and "grace" in self.model_fields_set:
            raise ValueError("grace is not read with fidelity 'phases', whose first end is the first rung; remove it")
        return self


def _refuse_unread(given: Sampler | Scheduler, role: str, unread: set[str]) -> None:
    for key in sorted(unread & given.model_fields_set):
        raise ValueError(f"{key} is not read by the {role} '{given.name.value}'; remove it")


class Budget(Config):
    """What the search may spend."""

    trials: int = Field(ge=1)  # in total, the default configuration included
    epochs: int = Field(ge=1)  # of a trial that is not stopped


class Resources(Config):
    """What one trial takes."""

    cpus: int = Field(default=1, ge=1)  # threads of each of its processes; two trials of one thread beat one of two
    gpus: float = Field(default=0, ge=0)  # a share of one, or whole ones; of all its processes together
    processes: int | None = Field(default=None, ge=1)  # that train it on parts of each batch; null: one for each GPU
    concurrent: int | None = Field(default=None, ge=1)  # trials at a time; null runs as many as fit

    @model_validator(mode="after")
    def _gpus_can_be_given(self) -> "Resources":
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"gpus={self.gpus:g} must be a share of one, or a whole number")
        if self.gpus and self.ranks > 1 and self.gpus % self.ranks:
            raise ValueError(
                f"processes={self.ranks} must divide gpus={self.gpus:g}; give each process a GPU, or drop processes"
            )
        return self

    @property
    def ranks(self) -> int:
        """How many processes train a trial."""
        return self.processes or max(int(self.gpus), 1)

    @property
    def all_cpus(self) -> int:
        """CPUs that a trial takes, with all of its processes."""
        return self.ranks * self.cpus


class SearchFile(Config):
    """The file as it stands, before its leaves are known to exist."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=60)
    base: dict[str, Any] = Field(default_factory=dict)
    space: dict[str, Any] = Field(min_length=1)
    objective: Objective = Objective()
    sampler: Sampler = Sampler()
    scheduler: Scheduler = Scheduler()
    budget: Budget
    resources: Resources = Resources()


@dataclass(frozen=True)
class SearchSpec:
    """A search that can be run."""

    file: SearchFile
    default: TrialConfig  # base over the defaults, nothing sampled: trial 0
    space: Space

    def configuration(self, leaves: Leaves) -> TrialConfig:
        """The default with these sampled leaves."""
        return self.default.with_leaves(leaves, self.file.name)

    def write(self, path: Path) -> None:
        """Write the spec as it is used, readable by `load_spec`."""
        # Without what was not given: a default that the chosen sampler or scheduler does not read would be refused.
        tree = self.file.model_dump(mode="json", exclude_unset=True)
        path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")


def load_spec(path: Path, trials: int | None = None) -> SearchSpec:
    """Read and check a search specification; `trials` overrides its budget.

    Raises:
        ConfigError: one line for each rule broken, with the file's line and key.
    """
    source = read_located(path)
    try:
        file = SearchFile.model_validate(source.tree)
    except ValidationError as error:
        found = problems(SearchFile, error)
        raise ConfigError("\n".join(f"{source.where(item.path)}: {item.rule}" for item in found)) from None
    if trials is not None:
        budget = Budget.parse({**file.budget.model_dump(), "trials": trials}, "--trials")
        file = file.model_copy(update={"budget": budget})
    _check_budget(source, file)
    default = _default(source, file)
    _check_phases(source, file, default)
    return SearchSpec(file, default, _space(source, file, default))


def _check_budget(source: Located, file: SearchFile) -> None:
    epochs, grace, scheduler = file.budget.epochs, file.scheduler.grace, file.scheduler
    if scheduler.name is SchedulerName.ASHA and scheduler.fidelity is Fidelity.EPOCHS and grace > epochs:
        where = source.where(("scheduler", "grace"))
        raise ConfigError(f"{where}: grace={grace} must not exceed budget.epochs={epochs}; lower it or train longer")


def _check_phases(source: Located, file: SearchFile, default: TrialConfig) -> None:
    if file.scheduler.fidelity is Fidelity.PHASES and not default.training.phases:
        where = source.where(("scheduler", "fidelity"))
        raise ConfigError(f"{where}: rungs are the ends of {PHASES}, of which base has none; add them, or use 'epochs'")


def _default(source: Located, file: SearchFile) -> TrialConfig:
    given = leaves_in(source, file.base, ("base",))
    for key, leaf, _ in given:
        _refuse_epochs(source, key, leaf)
    budget = TrialConfig().with_leaves({EPOCHS: file.budget.epochs}, source.where(("budget", "epochs")))
    return configured(source, given, ("base",), budget)


def _refuse_epochs(source: Located, key: KeyPath, leaf: str) -> None:
    if leaf == EPOCHS:
        raise ConfigError(f"{source.where(key)}: the epochs of a trial are budget.epochs; set it there")


def _space(source: Located, file: SearchFile, default: TrialConfig) -> Space:
    branches: list[Branch] = []
    keys: list[KeyPath] = []
    for leaf, given in file.space.items():
        check_leaf(source, ("space", leaf), leaf)
        if leaf.startswith("tracking."):
            raise ConfigError(
                f"{source.where(('space', leaf))}: {leaf} is read where tracks are measured, and changes nothing that "
                "a search maximises; set it in base, and compare values with `spiketune evaluate --tracking --set`"
            )
        _refuse_epochs(source, ("space", leaf), leaf)
        for key, branch in branches_of(source, leaf, given):
            branches.append(branch)
            keys.append(key)
    try:
        space = Space(branches)
    except BranchError as error:
        raise ConfigError(f"{source.where(keys[_index(branches, error.branch)])}: {error}") from None
    for key, branch in zip(keys, branches, strict=True):
        for value in branch.domain.extremes():
            # Both ends of a range, or every option: what the configuration itself refuses cannot be sampled.
            default.with_leaves({**space.witness(branch), branch.leaf: value}, source.where(key))
    return space


def _index(branches: list[Branch], wanted: Branch) -> int:
    return next(index for index, branch in enumerate(branches) if branch is wanted)
