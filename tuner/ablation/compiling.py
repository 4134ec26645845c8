"""An ablation as searches: every configuration with every seed is one trial of them, and nothing is sampled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.trial_config import TrialConfig
from tuner.ablation.configurations import Configuration, distinct, rows_of
from tuner.ablation.loading import Ablation
from tuner.finalists import SEED
from tuner.located import Located
from tuner.samplers.names import SamplerName
from tuner.schedulers.names import SchedulerName
from tuner.spec.search_spec import SearchSpec, checked_spec
from tuner.spec.sections import Resources

TRAININGS = "trainings"


@dataclass(frozen=True)
class Member:
    """One training: the trial whose number is its place in the group."""

    configuration: Configuration
    seed: int


@dataclass(frozen=True)
class Group:
    """The trainings that take the same resources: one search."""

    folder: str  # below the ablation's
    spec: SearchSpec
    members: tuple[Member, ...]


def compiled(ablation: Ablation) -> list[Group]:
    """The searches that train each configuration with each seed, once.

    All configurations with one seed come before the next seed, so that an early end leaves all with as many, and what
    else the machine does falls on all of them.

    Raises:
        ConfigError: the configuration refuses a combination; with its line.
    """
    names = distinct(rows_of(ablation))
    groups = []
    for resources in dict.fromkeys(configuration.resources for configuration in names):
        mine = {one: name for one, name in names.items() if one.resources == resources}
        members = tuple(Member(one, seed) for seed in ablation.seeds for one in mine)
        suffix = _suffix(resources, ablation.resources)
        spec = _search(ablation, resources, members, mine, suffix)
        groups.append(Group(f"{TRAININGS}{suffix}", spec, members))
    return groups


def _search(
    ablation: Ablation,
    resources: Resources,
    members: Sequence[Member],
    names: Mapping[Configuration, str],
    suffix: str,
) -> SearchSpec:
    first = members[0].configuration.config
    seeds = list(ablation.seeds)
    tree = {
        "name": f"{ablation.file.name}{suffix}",
        "base": _differences(first, TrialConfig()),
        "space": {SEED: {"choice": seeds} if len(seeds) > 1 else seeds[0]},
        "start_with": [{**_differences(m.configuration.config, first), SEED: m.seed} for m in members[1:]],
        "names": [f"{names[member.configuration]}, seed {member.seed}" for member in members],
        "objective": ablation.objective.model_dump(mode="json", exclude_unset=True),
        "sampler": {"name": SamplerName.RANDOM.value},  # never asked: start_with fills the budget
        "scheduler": {"name": SchedulerName.NONE.value},
        "budget": {
            "trials": len(members),
            "epochs": max(member.configuration.config.training.epochs for member in members),
        },
        "resources": resources.model_dump(mode="json", exclude_unset=True),
    }
    return checked_spec(Located(Path(ablation.file.name), tree, {(): 1}))


def _differences(config: TrialConfig, base: TrialConfig) -> dict[str, Any]:
    theirs = base.leaves()
    return {leaf: value for leaf, value in config.leaves().items() if value != theirs[leaf]}


def _suffix(resources: Resources, usual: Resources) -> str:
    """What tells a group from the others, as in -2-processes; nothing for those that take what base takes."""
    parts: tuple[tuple[str, float, float], ...] = (
        ("processes", resources.ranks, usual.ranks),
        ("cpus", resources.cpus, usual.cpus),
        ("gpus", resources.gpus, usual.gpus),
    )
    return "".join(f"-{mine:g}-{name}".replace(".", "_") for name, mine, theirs in parts if mine != theirs)
