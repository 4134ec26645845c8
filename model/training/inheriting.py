"""A run that goes on from where another one stands, with other settings, as far as a training can change them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.errors import ConfigError
from model.training.config import AUTO
from model.training.run_folder import RunFolder
from model.trial_config import TrialConfig

# What trained weights can live on with; models, data and an optimizer's kind they cannot.
CHANGEABLE = frozenset({"optimizer.lr", "optimizer.max_lr", "optimizer.weight_decay", "optimizer.clip_norm"})
CHANGEABLE_BRANCHES = ("loss.", "data.augment.")


def can_change(leaf: str) -> bool:
    """Whether this leaf of the configuration may change while a training is under way."""
    return leaf in CHANGEABLE or leaf.startswith(CHANGEABLE_BRANCHES)


def adopt(out: str | Path, config: TrialConfig) -> None:
    """Make the interrupted run in a folder one of this configuration, which `train` then resumes.

    Weights, the optimizer's moments, draws and epochs done stay. Which epoch is the best is asked anew from there on,
    and so is patience: they speak of these settings. Nothing happens where nothing was left.

    Raises:
        ConfigError: a setting differs that cannot change in a training that is under way.
        DatasetError: what was left is damaged.
    """
    folder = RunFolder(out, config.training.checkpoint)
    state = folder.load_state()
    if state is None:
        return
    before = TrialConfig.parse(state["config"], "the run to go on from")
    config = with_batch_size_of(before, config)
    fixed = [told for leaf, told in differences(before, config).items() if not can_change(leaf)]
    if fixed:
        raise ConfigError(f"a training under way cannot change {'; '.join(fixed)}; begin a new one")
    standing: Mapping[str, Any] = {**state["standing"], "best": -1.0, "gain_from": -1.0}
    folder.save_state({**state, "config": config.model_dump(mode="json"), "standing": standing})


def with_batch_size_of(before: TrialConfig, config: TrialConfig) -> TrialConfig:
    """The configuration with the batch size that an earlier run settled, where it leaves that to the machine."""
    if config.training.batch_size != AUTO:
        return config
    return config.with_leaves({"training.batch_size": before.training.batch_size}, "training.batch_size")


def differences(before: TrialConfig, config: TrialConfig) -> dict[str, str]:
    """What differs, by leaf, in words."""
    then, now = before.leaves(), config.leaves()
    return {leaf: f"{leaf}: {then[leaf]!r} then, {now[leaf]!r} now" for leaf in now if now[leaf] != then[leaf]}
