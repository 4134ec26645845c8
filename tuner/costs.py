"""What a trial's detector costs: known before training, or measured on what it has learnt."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch

from data.dataset import Dataset
from data.frame_size import content_size, padded
from data.loading import EvaluationLoader
from data.manifest import Split
from model.checkpoint import load_checkpoint
from model.device import resolve_device
from model.profiling.profile import profile_detector
from model.profiling.untrained import synthetic_frames, untrained_detector
from model.trial_config import TrialConfig
from tuner.spec.objective import AFTER, BEFORE

LATENCY_RUNS = 10
WINDOWS = 4  # of the validation recordings, over which spikes are averaged


def costs_before(config: TrialConfig, dataset: Dataset, wanted: Collection[str]) -> dict[str, float]:
    """Those of `BEFORE` that are wanted: parameters, MACs a window, and milliseconds a window on this machine.

    They hang on the configuration alone. The latency is the median, of one window, on the device trials train on.
    """
    if not set(wanted) & set(BEFORE):
        return {}
    data = config.data
    height, width = padded(content_size(dataset.size, data.scale), data.square)
    frames_TBCHW = synthetic_frames(data.representation, data.time_steps, 1, height, width, config.training.seed)
    detector = untrained_detector(config, len(dataset.label_set.classes), frames_TBCHW).to(resolve_device("auto"))
    profile = profile_detector(detector, frames_TBCHW, LATENCY_RUNS if "latency_ms" in wanted else 0)
    costs = {"parameters": float(profile.parameters), "macs": profile.macs}
    if profile.latency is not None:
        costs["latency_ms"] = profile.latency.p50_ms
    return {name: value for name, value in costs.items() if name in wanted}


def costs_after(checkpoint: Path, dataset: Dataset, split: Split, wanted: Collection[str]) -> dict[str, float]:
    """Those of `AFTER` that are wanted, of trained weights on windows of the split: they hang on what fires."""
    if not set(wanted) & set(AFTER):
        return {}
    loaded = load_checkpoint(checkpoint)
    loader = EvaluationLoader(dataset.shards(split), loaded.config.data, WINDOWS, WINDOWS)
    _, frames_TBCHW = next(iter(loader))
    with torch.no_grad():
        profile = profile_detector(loaded.detector, frames_TBCHW)
    rates = profile.firing_rates
    costs = {
        "energy_uj": profile.energy_pj / 1e6,
        "synops": profile.synops,
        "firing_rate": sum(rates.values()) / len(rates),
    }
    return {name: value for name, value in costs.items() if name in wanted}


@dataclass
class Costs:
    """The costs of one trial, measured no more often than they change."""

    dataset: Dataset
    split: Split
    wanted: frozenset[str]
    before: dict[str, float]
    _after: dict[str, float] | None = None

    def at(self, checkpoint: Path, *, is_new: bool) -> dict[str, float]:
        """What the detector in the checkpoint costs; measured again where the checkpoint is new."""
        if is_new or self._after is None:
            self._after = costs_after(checkpoint, self.dataset, self.split, self.wanted)
        return {**self.before, **self._after}
