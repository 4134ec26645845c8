"""A trial's settings in few words."""

from collections.abc import Mapping, Sequence
from typing import Any

from tuner.study.record import DEFAULT_TRIAL, SCORES, TrialRecord


def trial_told(trial: TrialRecord, names: Sequence[str] = ()) -> str:
    """What tells the trial from others: its name, if the specification has one for it, or its settings."""
    if trial.number < len(names):
        return names[trial.number]
    if trial.number == DEFAULT_TRIAL:
        return "default configuration"
    if trial.origin.repeats is not None:
        return f"trial {trial.origin.repeats} again, seed {trial.seed}"
    return settings_told(trial.sampled)


def settings_told(leaves: Mapping[str, Any]) -> str:
    """Leaves and their values on a line: `box=2.3 optimizer=sgd lr=0.01`."""
    return " ".join(f"{short_name(leaf)}={short_value(value)}" for leaf, value in leaves.items())


def short_name(leaf: str) -> str:
    """The last part of a leaf's name, or the part before a last one that says nothing: `lr`, `optimizer`."""
    branch, _, name = leaf.rpartition(".")
    return branch if name == "name" else name


def metric_told(name: str) -> str:
    """A metric's name as people write it: `mAP50`; others are words already."""
    return f"mAP{name.removeprefix('map')}" if name in SCORES else name


def short_value(value: Any) -> str:
    """Three digits of a float; anything else as it is written."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
