"""The backbone: a spiking stem and cross-stage-partial stages, answering at strides 8, 16 and 32."""

import itertools

import torch
from torch import nn

from model.blocks import CrossStagePartial, NeuronConvNorm, SpatialPyramidPooling, conv_norm
from model.neurons import Neuron

Pyramid = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # levels of stride 8, 16, 32, each [T, B, C, H, W]


class CrossStagePartialBackbone(nn.Module):
    """Frames `[T, B, 2, H, W]` become a pyramid of membrane inputs."""

    def __init__(self, neuron: Neuron, inputs: int, widths: tuple[int, int, int, int], depth: int) -> None:
        super().__init__()
        # One wide stride of 4: neurons at stride 2 cost 40 % of a step on a CPU and did not pay.
        self.stem = nn.Sequential(*conv_norm(inputs, widths[0], kernel=7, stride=4))
        self.stages = nn.ModuleList(
            nn.Sequential(
                NeuronConvNorm(neuron, shallow, deep, 3, stride=2), CrossStagePartial(neuron, deep, deep, depth)
            )
            for shallow, deep in itertools.pairwise(widths)
        )
        self.context = SpatialPyramidPooling(neuron, widths[-1])

    def forward(self, frames: torch.Tensor) -> Pyramid:
        fine = self.stages[0](self.stem(frames))
        middle = self.stages[1](fine)
        return fine, middle, self.context(self.stages[2](middle))
