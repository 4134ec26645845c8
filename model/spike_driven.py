"""Spike-driven inference: integer counts become D binary slots, so that every product with a weight is an addition."""

import copy

import torch
from spikingjelly.activation_based.layer import SpikeCountToBinary, TemporalBinSum
from torch import nn

from data.errors import ConfigError
from model.detector import SpikingDetector
from model.neuron_config import NeuronName


class SpikeDrivenConvolution(nn.Module):
    """A convolution of counts `[T, B, C, H, W]` as the sum of its answers to D slots of zeros and ones.

    The bias is added once a step, after the sum, so that the sum is that of the counts.
    """

    def __init__(self, convolution: nn.Conv2d, slots: int) -> None:
        super().__init__()
        self.bias = convolution.bias
        self.unbiased = copy.deepcopy(convolution)
        self.unbiased.bias = None
        self.to_slots = SpikeCountToBinary(slots, always_convert=True)
        self.to_steps = TemporalBinSum(slots, always_convert=True)

    def forward(self, counts: torch.Tensor) -> torch.Tensor:
        summed: torch.Tensor = self.to_steps(self.unbiased(self.to_slots(counts)))
        return summed if self.bias is None else summed + self.bias[:, None, None]


def spike_driven(detector: SpikingDetector) -> SpikingDetector:
    """A copy for inference whose weights meet nothing but zeros and ones; only the stem reads the frames' own numbers.

    Raises:
        ConfigError: its neurons do not count spikes in integers.
    """
    config = detector.config.neuron
    if config.name is not NeuronName.ILIF:
        raise ConfigError(f"model.neuron.name={config.name.value}: only ilif counts spikes that can be unrolled")
    driven = copy.deepcopy(detector).eval()
    stem = next(module for module in driven.modules() if isinstance(module, nn.Conv2d))  # it reads frames, not spikes
    for module in list(driven.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Conv2d) and child is not stem:
                setattr(module, name, SpikeDrivenConvolution(child, config.max_spikes))
    return driven
