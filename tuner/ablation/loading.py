"""Reads an ablation's specification, with one of its variants laid over it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from data.config import problems, unknown_key
from data.errors import ConfigError
from model.trial_config import TrialConfig
from tuner.ablation.spec import AblationFile, Improvement, Variant
from tuner.leaves import configured, leaves_in
from tuner.located import KeyPath, Located, read_located
from tuner.space import Leaves
from tuner.spec.objective import Objective
from tuner.spec.sections import Resources

RESOURCES = "resources"
_SETTABLE = ("cpus", "gpus", "processes")  # of the resources, by an improvement
_REFUSED = {
    "training.seed": "seeds are those of the ablation, the same for every configuration; set `seeds`",
    "training.with_val": "what is trained on val cannot be measured there; leave it out",
    "tracking.": "it is read where tracks are measured and changes no mAP; leave it out",
}


@dataclass(frozen=True)
class Step:
    """An improvement, its leaves checked one by one."""

    name: str
    leaves: Leaves
    resources: Mapping[str, Any]  # what it changes of them
    claimed: str
    where: str  # file, line and key, for errors


@dataclass(frozen=True)
class Ablation:
    """An ablation that can be run, its variant laid over it."""

    file: AblationFile
    variant: str | None
    base: TrialConfig
    steps: tuple[Step, ...]
    seeds: tuple[int, ...]
    objective: Objective
    resources: Resources


def load_ablation(path: Path, variant: str | None = None, seeds: int | None = None) -> Ablation:
    """Read and check a specification; `variant` is one of its variants, `seeds` overrides how many.

    Raises:
        ConfigError: one line for each rule broken, with the file's line and key.
    """
    source = read_located(path)
    try:
        file = AblationFile.model_validate(source.tree)
    except ValidationError as error:
        found = problems(AblationFile, error)
        raise ConfigError("\n".join(f"{source.where(item.path)}: {item.rule}" for item in found)) from None
    over = _variant(source, file, variant)
    root: KeyPath = ("variants", variant) if variant is not None else ()
    base = _base(source, file, over, root)
    first = base.training.seed
    number = seeds or over.seeds or file.seeds
    return Ablation(
        file=file,
        variant=variant,
        base=base,
        steps=tuple(_step(source, index, one, over, root) for index, one in enumerate(file.improvements)),
        seeds=tuple(range(first, first + number)),
        objective=over.objective or file.objective,
        resources=over.resources or file.resources,
    )


def _variant(source: Located, file: AblationFile, name: str | None) -> Variant:
    names = [improvement.name for improvement in file.improvements]
    for key, variant in file.variants.items():
        for improvement in variant.improvements:
            if improvement not in names:
                where = source.where(("variants", key, "improvements", improvement))
                raise ConfigError(f"{where}: {unknown_key(improvement, names)}")
    if name is None:
        return Variant()
    if name not in file.variants:
        known = [*file.variants]
        told = unknown_key(name, known) if known else f"{source.path} has no variants; leave it out"
        raise ConfigError(f"--variant {name}: {told}")
    return file.variants[name]


def _base(source: Located, file: AblationFile, over: Variant, root: KeyPath) -> TrialConfig:
    base = TrialConfig()
    for tree, key in ((file.base, ("base",)), (over.base, (*root, "base"))):
        given = leaves_in(source, tree, key)
        base = configured(source, given, key, base)
    return base


def _step(source: Located, index: int, improvement: Improvement, over: Variant, root: KeyPath) -> Step:
    key: KeyPath = ("improvements", index, "set")
    leaves, resources = _settings(source, improvement.set, key)
    further = over.improvements.get(improvement.name)
    if further is not None:
        key = (*root, "improvements", improvement.name)
        more_leaves, more_resources = _settings(source, further, key)
        leaves, resources = {**leaves, **more_leaves}, {**resources, **more_resources}
    return Step(improvement.name, leaves, resources, improvement.claimed, source.where(key))


def _settings(source: Located, tree: Mapping[str, Any], key: KeyPath) -> tuple[Leaves, dict[str, Any]]:
    """What an improvement sets: leaves of the configuration, and of the resources."""
    resources: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for name, value in tree.items():
        if name == RESOURCES and isinstance(value, dict):
            resources |= {inner: _settable(source, (*key, name, inner), inner, item) for inner, item in value.items()}
        elif name.startswith(f"{RESOURCES}."):
            inner = name.removeprefix(f"{RESOURCES}.")
            resources[inner] = _settable(source, (*key, name), inner, value)
        else:
            rest[name] = value
    given = leaves_in(source, rest, key)
    for place, leaf, _ in given:
        for refused, why in _REFUSED.items():
            if leaf.startswith(refused):
                raise ConfigError(f"{source.where(place)}: {why}")
    return {leaf: value for _, leaf, value in given}, resources


def _settable(source: Located, key: KeyPath, name: str, value: Any) -> Any:
    if name not in _SETTABLE:
        raise ConfigError(f"{source.where(key)}: {unknown_key(name, [*_SETTABLE])}")
    Resources.parse({name: value}, source.where(key))
    return value
