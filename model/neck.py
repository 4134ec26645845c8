"""The neck: what is coarse and what is fine inform each other. Widths stay; what is joined is membrane input."""

from enum import StrEnum

import torch
from spikingjelly.activation_based import layer
from torch import nn

from model.backbone import Pyramid
from model.blocks import CrossStagePartial, Maxout, NeuronConvNorm, joined
from model.neurons import Neuron


class NeckName(StrEnum):
    """Which levels of the pyramid hear of which."""

    PAN = "pan"  # all of all: down the pyramid, then up
    FPN = "fpn"  # fine of coarse, joined
    EFM = "efm"  # each of its neighbours alone
    PRN = "prn"  # fine of coarse, added to some of its channels: the cheapest


class FeaturePyramid(nn.Module):
    """Down the pyramid by upsampling, joined; the coarsest level stays as it is (FPN, Lin et al. 2017)."""

    def __init__(self, neuron: Neuron, widths: tuple[int, int, int], depth: int) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.upsample = _upsample()
        self.middle_out = CrossStagePartial(neuron, coarse + middle, middle, depth)
        self.fine_out = CrossStagePartial(neuron, middle + fine, fine, depth)

    def forward(self, pyramid: Pyramid) -> Pyramid:
        fine, middle, coarse = pyramid
        middle_out = self.middle_out(joined([self.upsample(coarse), middle]))
        fine_out = self.fine_out(joined([self.upsample(middle_out), fine]))
        return fine_out, middle_out, coarse


class PathAggregation(nn.Module):
    """Down the pyramid by upsampling, then up again by strided convolution (PAN, Liu et al. 2018)."""

    def __init__(self, neuron: Neuron, widths: tuple[int, int, int], depth: int) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.upsample = _upsample()
        self.middle_down = CrossStagePartial(neuron, coarse + middle, middle, depth)
        self.fine_out = CrossStagePartial(neuron, middle + fine, fine, depth)
        self.fine_up = NeuronConvNorm(neuron, fine, fine, 3, stride=2)
        self.middle_out = CrossStagePartial(neuron, fine + middle, middle, depth)
        self.middle_up = NeuronConvNorm(neuron, middle, middle, 3, stride=2)
        self.coarse_out = CrossStagePartial(neuron, middle + coarse, coarse, depth)

    def forward(self, pyramid: Pyramid) -> Pyramid:
        fine, middle, coarse = pyramid
        middle_down = self.middle_down(joined([self.upsample(coarse), middle]))
        fine_out = self.fine_out(joined([self.upsample(middle_down), fine]))
        middle_out = self.middle_out(joined([self.fine_up(fine_out), middle_down]))
        coarse_out = self.coarse_out(joined([self.middle_up(middle_out), coarse]))
        return fine_out, middle_out, coarse_out


class ExactFusion(nn.Module):
    """Each level joins its two neighbours, then maxout compresses them (EFM of CSPNet, Wang et al. 2020).

    The size of a box found at one scale is bounded by the scales beside it, so these are fused and no others.
    Simplified: the paper fuses inside a YOLOv3 head; here every level reads the backbone's own, never another's fusion,
    maxout chooses between two pieces, and a cross-stage-partial stage follows it.
    """

    def __init__(self, neuron: Neuron, widths: tuple[int, int, int], depth: int) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.upsample = _upsample()
        self.fine_up = NeuronConvNorm(neuron, fine, fine, 3, stride=2)
        self.middle_up = NeuronConvNorm(neuron, middle, middle, 3, stride=2)
        self.fine_out = _compressed(neuron, fine + middle, fine, depth)
        self.middle_out = _compressed(neuron, fine + middle + coarse, middle, depth)
        self.coarse_out = _compressed(neuron, middle + coarse, coarse, depth)

    def forward(self, pyramid: Pyramid) -> Pyramid:
        fine, middle, coarse = pyramid
        fine_out = self.fine_out(joined([fine, self.upsample(middle)]))
        middle_out = self.middle_out(joined([self.fine_up(fine), middle, self.upsample(coarse)]))
        coarse_out = self.coarse_out(joined([self.middle_up(middle), coarse]))
        return fine_out, middle_out, coarse_out


class PartialResidual(nn.Module):
    """Down the pyramid by adding to the first half of the finer level's channels (PRN, Wang et al. 2019).

    Nothing is joined, so no layer gets wider; the other half keeps a way of its own, and gradients differ between the
    two. The coarsest level stays as it is.
    """

    def __init__(self, neuron: Neuron, widths: tuple[int, int, int], depth: int) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.upsample = _upsample()
        self.coarse_down = NeuronConvNorm(neuron, coarse, middle // 2)
        self.middle_out = CrossStagePartial(neuron, middle, middle, depth)
        self.middle_down = NeuronConvNorm(neuron, middle, fine // 2)
        self.fine_out = CrossStagePartial(neuron, fine, fine, depth)

    def forward(self, pyramid: Pyramid) -> Pyramid:
        fine, middle, coarse = pyramid
        middle_out = self.middle_out(add_to_first(middle, self.upsample(self.coarse_down(coarse))))
        fine_out = self.fine_out(add_to_first(fine, self.upsample(self.middle_down(middle_out))))
        return fine_out, middle_out, coarse


def make_neck(name: NeckName, neuron: Neuron, widths: tuple[int, int, int], depth: int) -> nn.Module:
    """The neck of this name, from pyramid to pyramid; `widths` are channels at strides 8, 16, 32."""
    return _NECKS[name](neuron, widths, depth)


def add_to_first(x: torch.Tensor, addend: torch.Tensor) -> torch.Tensor:
    """`x` `[T, B, C, H, W]` with `addend` `[T, B, c <= C, H, W]` on its first c channels; the others unchanged."""
    channels = addend.shape[2]
    return joined([x[:, :, :channels] + addend, x[:, :, channels:]])


def _upsample() -> nn.Module:
    upsample: nn.Module = layer.Upsample(scale_factor=2, mode="nearest", step_mode="m")
    return upsample


def _compressed(neuron: Neuron, inputs: int, outputs: int, depth: int) -> nn.Sequential:
    bottleneck = NeuronConvNorm(neuron, inputs, 2 * outputs)
    return nn.Sequential(bottleneck, Maxout(), CrossStagePartial(neuron, outputs, outputs, depth))


_NECKS: dict[NeckName, type[FeaturePyramid | PathAggregation | ExactFusion | PartialResidual]] = {
    NeckName.PAN: PathAggregation,
    NeckName.FPN: FeaturePyramid,
    NeckName.EFM: ExactFusion,
    NeckName.PRN: PartialResidual,
}
