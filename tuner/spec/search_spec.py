"""SearchSpec: what a file of search_spaces/ asks for, validated down to the line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from data.errors import ConfigError
from data.manifest import Split
from data.storage import whole_text
from model.training.inheriting import can_change
from model.trial_config import TrialConfig
from tuner.leaves import check_leaf, configured, leaves_in
from tuner.located import KeyPath, Located, read_located
from tuner.schedulers.names import SchedulerName
from tuner.schedulers.population import SHARE
from tuner.space import Branch, BranchError, Leaves, Space
from tuner.spec.budget import Budget
from tuner.spec.objective import Constraint
from tuner.spec.search_file import SearchFile
from tuner.spec.sections import Fidelity
from tuner.spec.space_section import branches_of, unnested

EPOCHS = "training.epochs"  # set by the budget; without a scheduler base and start_with may ask for less
PHASES = "training.phases"
WITH_VAL = "training.with_val"


@dataclass(frozen=True)
class SearchSpec:
    """A search that can be run."""

    file: SearchFile
    default: TrialConfig  # base over the defaults, nothing sampled: trial 0
    space: Space
    start_with: tuple[Leaves, ...] = ()

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        """The bounds that trials must keep."""
        return tuple(Constraint.parse(text) for text in self.file.constraints)

    def configuration(self, leaves: Leaves) -> TrialConfig:
        """The default with these sampled leaves."""
        return self.default.with_leaves(leaves, self.file.name)

    def as_tree(self) -> dict[str, Any]:
        """The spec as plain values."""
        # Without what was not given: a default that the chosen sampler or scheduler does not read would be refused.
        return self.file.model_dump(mode="json", exclude_unset=True)

    def write(self, path: Path) -> None:
        """Write the spec as it is used, readable by `load_spec`."""
        whole_text(path, yaml.safe_dump(self.as_tree(), sort_keys=False))


def load_spec(path: Path, trials: int | None = None) -> SearchSpec:
    """Read and check a search specification; `trials` overrides its budget.

    Raises:
        ConfigError: one line for each rule broken, with the file's line and key.
    """
    return checked_spec(read_located(path), trials)


def checked_spec(source: Located, trials: int | None = None) -> SearchSpec:
    """Check a search specification; `trials` overrides its budget.

    Raises:
        ConfigError: one line for each rule broken, with the file's line and key.
    """
    file = SearchFile.read(source)
    if trials is not None:
        budget = Budget.parse({**file.budget.model_dump(), "trials": trials}, "--trials")
        file = file.model_copy(update={"budget": budget})
    _check_budget(source, file)
    default = _default(source, file)
    _check_phases(source, file, default)
    _check_held_out(source, file, default)
    space = _space(source, file, default)
    _check_population(source, file, space)
    return SearchSpec(file, default, space, _start_with(source, file, default))


def _check_budget(source: Located, file: SearchFile) -> None:
    epochs, grace, scheduler = file.budget.epochs, file.scheduler.grace, file.scheduler
    if scheduler.name is not SchedulerName.NONE and scheduler.fidelity is Fidelity.EPOCHS and grace > epochs:
        where = source.where(("scheduler", "grace"))
        raise ConfigError(f"{where}: grace={grace} must not exceed budget.epochs={epochs}; lower it or train longer")


def _check_phases(source: Located, file: SearchFile, default: TrialConfig) -> None:
    if file.scheduler.fidelity is Fidelity.PHASES and not default.training.phases:
        where = source.where(("scheduler", "fidelity"))
        raise ConfigError(f"{where}: rungs are the ends of {PHASES}, of which base has none; add them, or use 'epochs'")


def _check_held_out(source: Located, file: SearchFile, default: TrialConfig) -> None:
    if default.training.with_val and file.objective.split is Split.VAL:
        where = source.where(("objective", "split"))
        raise ConfigError(
            f"{where}: {WITH_VAL} trains on val, which then compares nothing; set objective.split=train, or drop it"
        )


def _check_population(source: Located, file: SearchFile, space: Space) -> None:
    if file.scheduler.name is not SchedulerName.PBT:
        return
    if file.budget.trials < SHARE:
        raise ConfigError(
            f"{source.where(('budget', 'trials'))}: trials={file.budget.trials} is the population of scheduler 'pbt', "
            f"which ends the worst of {SHARE}; raise it"
        )
    if not any(can_change(leaf) for leaf in space.leaves):
        raise ConfigError(
            f"{source.where(('space',))}: scheduler 'pbt' changes settings of trainings under way, of which the space "
            "has none; add optimizer.lr, optimizer.weight_decay, or some of loss and data.augment"
        )


def _default(source: Located, file: SearchFile) -> TrialConfig:
    given = leaves_in(source, file.base, ("base",))
    for key, leaf, value in given:
        _check_epochs(source, key, leaf, value, file)
    budget = TrialConfig().with_leaves({EPOCHS: file.budget.epochs}, source.where(("budget", "epochs")))
    return configured(source, given, ("base",), budget)


def _start_with(source: Located, file: SearchFile, default: TrialConfig) -> tuple[Leaves, ...]:
    found = []
    for index, tree in enumerate(file.start_with):
        root: KeyPath = ("start_with", index)
        given = leaves_in(source, tree, root)
        for key, leaf, value in given:
            _check_epochs(source, key, leaf, value, file)
        config = configured(source, given, root, default).leaves()
        found.append({leaf: config[leaf] for _, leaf, _ in given})
    return tuple(found)


def _check_epochs(source: Located, key: KeyPath, leaf: str, value: Any, file: SearchFile) -> None:
    """Where nothing compares trials on the way, each may be as long as it likes within the budget."""
    if leaf != EPOCHS or file.scheduler.name is not SchedulerName.NONE:
        _refuse_epochs(source, key, leaf)
    elif isinstance(value, int) and value > file.budget.epochs:
        rule = f"{value} must not exceed budget.epochs={file.budget.epochs}; raise that, or lower it"
        raise ConfigError(f"{source.where(key)}: {rule}")


def _refuse_epochs(source: Located, key: KeyPath, leaf: str) -> None:
    if leaf == EPOCHS:
        raise ConfigError(f"{source.where(key)}: the epochs of a trial are budget.epochs; set it there")


def _space(source: Located, file: SearchFile, default: TrialConfig) -> Space:
    branches: list[Branch] = []
    keys: list[KeyPath] = []
    for leaf, given in unnested(source, file.space).items():
        check_leaf(source, ("space", leaf), leaf)
        if leaf.startswith("tracking."):
            raise ConfigError(
                f"{source.where(('space', leaf))}: {leaf} is read where tracks are measured, and changes nothing that "
                "a search maximises; set it in base, and compare values with `spiketune evaluate --tracking --set`"
            )
        if leaf == WITH_VAL:
            raise ConfigError(
                f"{source.where(('space', leaf))}: {leaf} decides what trials learn from, so that they cannot be "
                "compared; retrain the winner with `spiketune promote --retrain --with-val`"
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
