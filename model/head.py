"""The head: for each time step and anchor point, a box, class logits and a track embedding."""

import math
from dataclasses import dataclass

import torch
from spikingjelly.activation_based import layer
from torch import nn

from model.backbone import Pyramid
from model.blocks import NeuronConvNorm
from model.neurons import Neuron

STRIDES = (8, 16, 32)  # output pixels between the anchor points of a level
BINS = 16  # box sides reach 0..15 strides from the anchor point (DFL, Li et al. 2020)
EMBEDDING = 32  # length of a track embedding


@dataclass(frozen=True, slots=True)
class Predictions:
    """What the detector says at every time step; nothing is averaged over T."""

    sides: torch.Tensor  # [T, B, N, 4, BINS] logits of the distance left, top, right, bottom, in strides
    classes: torch.Tensor  # [T, B, N, K] logits
    embeddings: torch.Tensor  # [T, B, N, EMBEDDING], not normalised
    points: torch.Tensor  # [N, 2] anchor points x, y, in output pixels
    strides: torch.Tensor  # [N] output pixels

    def corners(self) -> torch.Tensor:
        """Boxes x1, y1, x2, y2 `[T, B, N, 4]` in output pixels: the mean of each side's distribution."""
        bins = torch.arange(BINS, device=self.sides.device, dtype=self.sides.dtype)
        distances = self.sides.softmax(-1) @ bins * self.strides[:, None]
        return torch.cat([self.points - distances[..., :2], self.points + distances[..., 2:]], dim=-1)


class _Branch(nn.Module):
    """One 3x3 layer and a readout whose values are taken as they are, `[T, B, C, H, W] -> [T, B, H * W, outputs]`."""

    def __init__(self, neuron: Neuron, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.spikes = nn.Sequential(NeuronConvNorm(neuron, inputs, width, 3), neuron())
        self.readout = layer.Conv2d(width, outputs, 1, step_mode="m")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat: torch.Tensor = self.readout(self.spikes(x)).flatten(3).transpose(2, 3)
        return flat


class DecoupledHead(nn.Module):
    """Separate branches for what and where, at every level, anchor-free (YOLOX, Ge et al. 2021)."""

    def __init__(self, neuron: Neuron, widths: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        box_width = max(16, widths[0])
        class_width = max(widths[0], min(classes, 64))
        self.box = nn.ModuleList(_Branch(neuron, width, box_width, 4 * BINS + EMBEDDING) for width in widths)
        self.category = nn.ModuleList(_Branch(neuron, width, class_width, classes) for width in widths)
        self.classes = classes
        self._start_from_priors()

    def _start_from_priors(self) -> None:
        for branch in self.category:
            assert isinstance(branch, _Branch)
            # Objects are rare: start from a probability of 0.01 (Lin et al. 2017), or background drowns the rest.
            nn.init.constant_(branch.readout.bias, -math.log((1 - 0.01) / 0.01))

    def forward(self, pyramid: Pyramid) -> Predictions:
        boxes = torch.cat([branch(x) for branch, x in zip(self.box, pyramid, strict=True)], dim=2)
        classes = torch.cat([branch(x) for branch, x in zip(self.category, pyramid, strict=True)], dim=2)
        points, strides = anchor_points([(x.shape[-2], x.shape[-1]) for x in pyramid], boxes.device)
        sides, embeddings = boxes.split([4 * BINS, EMBEDDING], dim=-1)
        return Predictions(sides.unflatten(-1, (4, BINS)).float(), classes.float(), embeddings.float(), points, strides)


def anchor_points(sizes: list[tuple[int, int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The centres of all cells of levels of these heights and widths, `[N, 2]` as x, y, and their strides `[N]`."""
    points, strides = [], []
    for (height, width), stride in zip(sizes, STRIDES, strict=True):
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        points.append((torch.stack([columns, rows], dim=-1).flatten(0, 1) + 0.5) * stride)
        strides.append(torch.full((height * width,), float(stride)))
    return torch.cat(points).to(device), torch.cat(strides).to(device)
