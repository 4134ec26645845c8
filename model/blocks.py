"""Building blocks. Every weight layer but the very first reads spikes; what is added and joined is membrane input.

All modules here map `[T, B, C, H, W] -> [T, B, C', H', W']`.
"""

from collections.abc import Sequence

import torch
from spikingjelly.activation_based import layer
from torch import nn

from model.neurons import Neuron


class NeuronConvNorm(nn.Sequential):
    """Neuron, then convolution, then batch norm over time and batch: spikes in, membrane input out."""

    def __init__(self, neuron: Neuron, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__(neuron(), *conv_norm(inputs, outputs, kernel, stride))


def conv_norm(inputs: int, outputs: int, kernel: int, stride: int) -> tuple[nn.Module, nn.Module]:
    """A convolution without bias and its batch norm."""
    conv = layer.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False, step_mode="m")
    return conv, layer.BatchNorm2d(outputs, step_mode="m")


def joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """The channels of all parts side by side; as pictures, since of sequences torch forgets the layout."""
    pictures = [part.flatten(0, 1) for part in parts]
    sequence: torch.Tensor = torch.cat(pictures, dim=1).unflatten(0, (parts[0].shape[0], -1))
    return sequence


class MembraneResidual(nn.Module):
    """Two neuron-conv-norm layers beside a shortcut of the membrane input (MS-ResNet, Hu et al. 2021)."""

    def __init__(self, neuron: Neuron, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            NeuronConvNorm(neuron, channels, channels, 3), NeuronConvNorm(neuron, channels, channels, 3)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        change: torch.Tensor = self.branch(x)
        return x + change


class CrossStagePartial(nn.Module):
    """Half of the channels passes through residual blocks, half goes around them (CSPNet, Wang et al. 2020)."""

    def __init__(self, neuron: Neuron, inputs: int, outputs: int, depth: int) -> None:
        super().__init__()
        half = outputs // 2
        self.split = NeuronConvNorm(neuron, inputs, 2 * half)
        self.blocks = nn.Sequential(*(MembraneResidual(neuron, half) for _ in range(depth)))
        self.merge = NeuronConvNorm(neuron, 2 * half, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        around, through = self.split(x).chunk(2, dim=2)
        merged: torch.Tensor = self.merge(joined([around, self.blocks(through)]))
        return merged


class Maxout(nn.Module):
    """The greater of each channel and its partner, half as many channels as come in (Goodfellow et al. 2013)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = x.chunk(2, dim=2)
        return torch.maximum(first, second)


class SpatialPyramidPooling(nn.Module):
    """Three poolings in a row, all kept, so the coarsest level sees far (SPPF of YOLOv5)."""

    def __init__(self, neuron: Neuron, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.reduce = NeuronConvNorm(neuron, channels, half)
        self.pool = layer.MaxPool2d(5, 1, 2, step_mode="m")
        self.merge = NeuronConvNorm(neuron, 4 * half, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = [self.reduce(x)]
        for _ in range(3):
            pooled.append(self.pool(pooled[-1]))
        merged: torch.Tensor = self.merge(joined(pooled))
        return merged
