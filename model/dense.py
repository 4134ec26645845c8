"""The densely connected stage of PeleeNet (Wang et al. 2018, arXiv 1804.06882), on spikes."""

import torch
from spikingjelly.activation_based import layer
from torch import nn

from model.blocks import NeuronConvNorm, joined
from model.neurons import Neuron


class TwoWayDense(nn.Module):
    """All that came in, joined with `growth` new channels: half have seen one 3x3 layer, half have seen two.

    `growth` is even. One bottleneck serves both ways: PeleeNet's two read the same input, so their neurons would agree.
    """

    def __init__(self, neuron: Neuron, inputs: int, growth: int) -> None:
        super().__init__()
        half = growth // 2
        # As PeleeNet's, it follows the width of what it reads, or it would cost the early layers more than it saves.
        bottleneck = max(1, min(2 * growth, inputs // 2))
        self.bottleneck = NeuronConvNorm(neuron, inputs, 2 * bottleneck)
        self.near = NeuronConvNorm(neuron, bottleneck, half, 3)
        self.far = nn.Sequential(NeuronConvNorm(neuron, bottleneck, half, 3), NeuronConvNorm(neuron, half, half, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        near, far = self.bottleneck(x).chunk(2, dim=2)
        return joined([x, self.near(near), self.far(far)])


class DenseStage(nn.Sequential):
    """Halves the picture, lets dense layers add channels, and leaves `outputs` of them by a 1x1 transition.

    Unlike PeleeNet's, neurons come before convolutions, so what is joined is membrane input. Its transition pools at
    the end of a stage, ours at the start of the next: the same order of layers.
    """

    def __init__(self, neuron: Neuron, inputs: int, outputs: int, depth: int) -> None:
        growth = 2 * max(1, outputs // 8)
        # This many layers of a quarter of the outputs each have about the weights of a cross-stage-partial stage.
        layers = 2 + 2 * depth
        super().__init__(
            layer.AvgPool2d(2, 2, step_mode="m"),
            nn.Sequential(*(TwoWayDense(neuron, inputs + i * growth, growth) for i in range(layers))),
            NeuronConvNorm(neuron, inputs + layers * growth, outputs),
        )
