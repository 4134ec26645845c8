"""Trial configurations from files and options: leaves given nested or dotted, errors with the line."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from data.config import leaf_paths, unknown_key
from data.errors import ConfigError
from model.trial_config import TrialConfig
from tuner.located import KeyPath, Located, read_located, read_value

GivenLeaf = tuple[KeyPath, str, Any]  # where it stands, its dotted path, its value


def load_config(file: Path | None, assignments: Sequence[str], preset: Mapping[str, Any] | None = None) -> TrialConfig:
    """The default configuration with a preset's leaves, then those of a YAML file, then of KEY=VALUE assignments.

    Raises:
        ConfigError: an unknown leaf, or a value the configuration refuses.
    """
    config = TrialConfig().with_leaves(preset or {}, "--preset")
    if file is not None:
        source = read_located(file)
        config = configured(source, leaves_in(source, source.tree, ()), (), config)
    for assignment in assignments:
        leaf, value = assigned(assignment)
        config = config.with_leaves({leaf: value}, f"--set {assignment}")
    return config


def assigned(assignment: str) -> tuple[str, Any]:
    """The leaf and the value of a KEY=VALUE.

    Raises:
        ConfigError: it is none.
    """
    leaf, equals, text = assignment.partition("=")
    if not equals:
        raise ConfigError(f"--set {assignment}: must be KEY=VALUE, as in loss.box=5")
    try:
        return leaf, read_value(text)
    except yaml.YAMLError:
        raise ConfigError(f"--set {assignment}: '{text}' is no value YAML can read") from None


def leaves_in(source: Located, tree: Mapping[str, Any], key: KeyPath) -> list[GivenLeaf]:
    """The leaves a mapping gives, all of them known and none twice.

    Raises:
        ConfigError: with file, line and key.
    """
    given = _given(tree, key, "")
    seen: set[str] = set()
    for place, leaf, _ in given:
        check_leaf(source, place, leaf)
        if leaf in seen:
            raise ConfigError(f"{source.where(place)}: {leaf} is already given, nested or dotted; keep one")
        seen.add(leaf)
    return given


def configured(
    source: Located, given: Sequence[GivenLeaf], root: KeyPath, base: TrialConfig = TrialConfig()
) -> TrialConfig:
    """The base, which is the defaults unless it is given, with the given leaves.

    Raises:
        ConfigError: the configuration refuses a value; with the line of the leaf, or of `root` if the leaves only fail
            together.
    """
    try:
        return base.with_leaves({leaf: value for _, leaf, value in given}, source.where(root))
    except ConfigError:
        for key, leaf, value in given:
            base.with_leaves({leaf: value}, source.place(key))  # raises, and names its line
        raise


def check_leaf(source: Located, key: KeyPath, leaf: str) -> None:
    """Raise a ConfigError if there is no such leaf."""
    known = leaf_paths(TrialConfig)
    if leaf not in known:
        raise ConfigError(f"{source.where(key)}: {unknown_key(leaf, known)}")


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every value of a tree by its dotted path; an empty mapping is a value."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def _given(tree: Mapping[str, Any], key: KeyPath, prefix: str) -> list[GivenLeaf]:
    found: list[GivenLeaf] = []
    for name, value in tree.items():
        if isinstance(value, dict):
            found += _given(value, (*key, name), f"{prefix}{name}.")
        else:
            found.append(((*key, name), f"{prefix}{name}", value))
    return found
