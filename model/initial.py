"""The detector of a configuration before its first step."""

import torch

from data.boxes import LabelSet
from model.detector import SpikingDetector
from model.trial_config import TrialConfig


def initial_detector(config: TrialConfig, label_set: LabelSet, compiled: bool = False) -> SpikingDetector:
    """A new detector, on the CPU: the training's seed draws its weights, and nothing else's draws are disturbed."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.training.seed)
        return SpikingDetector(
            config.model, config.data.representation, config.data.time_steps, len(label_set.classes), compiled
        )
