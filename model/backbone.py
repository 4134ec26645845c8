"""The backbone: a stem and three spiking stages, answering at strides 8, 16 and 32."""

import itertools
from collections.abc import Callable
from enum import StrEnum

import torch
from torch import nn

from model.blocks import CrossStagePartial, MembraneResidual, NeuronConvNorm, SpatialPyramidPooling, conv_norm
from model.dense import DenseStage
from model.neurons import Neuron

Pyramid = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # levels of stride 8, 16, 32, each [T, B, C, H, W]
# Neuron, channels in and out, depth -> a module that halves height and width.
Stage = Callable[[Neuron, int, int, int], nn.Module]


class BackboneName(StrEnum):
    """How the layers of a stage are wired."""

    CSP = "csp"  # half of the channels goes around the residual blocks (CSPNet, arXiv 1911.11929)
    PLAIN = "plain"  # all channels go through them
    DENSE = "dense"  # each layer reads all before it (PeleeNet, arXiv 1804.06882)


class Backbone(nn.Module):
    """Frames `[T, B, inputs, H, W]` become a pyramid of membrane inputs of `widths[1:]` channels."""

    def __init__(
        self, stage: Stage, neuron: Neuron, inputs: int, widths: tuple[int, int, int, int], depth: int
    ) -> None:
        super().__init__()
        # One wide stride of 4: neurons at stride 2 cost 40 % of a step on a CPU and did not pay.
        self.stem = nn.Sequential(*conv_norm(inputs, widths[0], kernel=7, stride=4))
        self.stages = nn.ModuleList(stage(neuron, shallow, deep, depth) for shallow, deep in itertools.pairwise(widths))
        self.context = SpatialPyramidPooling(neuron, widths[-1])

    def forward(self, frames: torch.Tensor) -> Pyramid:
        fine = self.stages[0](self.stem(frames))
        middle = self.stages[1](fine)
        return fine, middle, self.context(self.stages[2](middle))


def make_backbone(
    name: BackboneName, neuron: Neuron, inputs: int, widths: tuple[int, int, int, int], depth: int
) -> Backbone:
    """The backbone of this name; `widths` are channels at strides 4, 8, 16, 32, `depth` is blocks a stage."""
    return Backbone(_STAGES[name], neuron, inputs, widths, depth)


def _csp_stage(neuron: Neuron, shallow: int, deep: int, depth: int) -> nn.Module:
    return nn.Sequential(
        NeuronConvNorm(neuron, shallow, deep, 3, stride=2), CrossStagePartial(neuron, deep, deep, depth)
    )


def _plain_stage(neuron: Neuron, shallow: int, deep: int, depth: int) -> nn.Module:
    blocks = (MembraneResidual(neuron, deep) for _ in range(depth))
    return nn.Sequential(NeuronConvNorm(neuron, shallow, deep, 3, stride=2), *blocks)


_STAGES: dict[BackboneName, Stage] = {
    BackboneName.CSP: _csp_stage,
    BackboneName.PLAIN: _plain_stage,
    BackboneName.DENSE: DenseStage,
}
