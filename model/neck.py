"""The neck: what is coarse and what is fine inform each other (PAN, Liu et al. 2018)."""

import torch
from spikingjelly.activation_based import layer
from torch import nn

from model.backbone import Pyramid
from model.blocks import CrossStagePartial, NeuronConvNorm
from model.neurons import Neuron


class PathAggregation(nn.Module):
    """Down the pyramid by upsampling, then up again by strided convolution; widths stay."""

    def __init__(self, neuron: Neuron, widths: tuple[int, int, int], depth: int) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.upsample = layer.Upsample(scale_factor=2, mode="nearest", step_mode="m")
        self.middle_down = CrossStagePartial(neuron, coarse + middle, middle, depth)
        self.fine_out = CrossStagePartial(neuron, middle + fine, fine, depth)
        self.fine_up = NeuronConvNorm(neuron, fine, fine, 3, stride=2)
        self.middle_out = CrossStagePartial(neuron, fine + middle, middle, depth)
        self.middle_up = NeuronConvNorm(neuron, middle, middle, 3, stride=2)
        self.coarse_out = CrossStagePartial(neuron, middle + coarse, coarse, depth)

    def forward(self, pyramid: Pyramid) -> Pyramid:
        fine, middle, coarse = pyramid
        middle_down = self.middle_down(torch.cat([self.upsample(coarse), middle], dim=2))
        fine_out = self.fine_out(torch.cat([self.upsample(middle_down), fine], dim=2))
        middle_out = self.middle_out(torch.cat([self.fine_up(fine_out), middle_down], dim=2))
        coarse_out = self.coarse_out(torch.cat([self.middle_up(middle_out), coarse], dim=2))
        return fine_out, middle_out, coarse_out
