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

    # [T, B, N, 4, BINS] logits of the distance left, top, right, bottom, in strides; in the type the net computes in
    sides: torch.Tensor
    classes: torch.Tensor  # [T, B, N, K] logits
    embeddings: torch.Tensor  # [T, B, N, EMBEDDING], not normalised
    points: torch.Tensor  # [N, 2] anchor points x, y, in output pixels
    strides: torch.Tensor  # [N] output pixels
    objectness: torch.Tensor | None = None  # [T, B, N] logits of anything being there; None: classes alone say so

    def corners(self) -> torch.Tensor:
        """Boxes x1, y1, x2, y2 `[T, B, N, 4]` in output pixels: the mean of each side's distribution."""
        return box_corners(self.sides, self.points, self.strides)

    def part(self, steps: slice, rows: slice) -> "Predictions":
        """What is said at these steps of these rows."""
        objectness = None if self.objectness is None else self.objectness[steps, rows]
        sides, classes, embeddings = (said[steps, rows] for said in (self.sides, self.classes, self.embeddings))
        return Predictions(sides, classes, embeddings, self.points, self.strides, objectness)

    def mean(self) -> "Predictions":
        """What all steps say on average, logit by logit, as that of a single step."""
        objectness = None if self.objectness is None else self.objectness.mean(0, keepdim=True)
        sides, classes, embeddings = (
            said.mean(0, keepdim=True) for said in (self.sides, self.classes, self.embeddings)
        )
        return Predictions(sides, classes, embeddings, self.points, self.strides, objectness)

    def scores(self) -> torch.Tensor:
        """How sure the detector is of each class at each point, `[T, B, N, K]` in [0, 1]."""
        classes = self.classes.sigmoid()
        return classes if self.objectness is None else classes * self.objectness.sigmoid()[..., None]


def box_corners(sides: torch.Tensor, points: torch.Tensor, strides: torch.Tensor) -> torch.Tensor:
    """Boxes `[..., 4]` in output pixels of sides `[..., 4, BINS]` at points `[..., 2]` of levels of these strides."""
    sides = precise(sides)
    bins = torch.arange(BINS, device=sides.device, dtype=sides.dtype)
    distances = sides.softmax(-1) @ bins * strides[..., None]
    return torch.cat([points - distances[..., :2], points + distances[..., 2:]], dim=-1)


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

    def __init__(self, neuron: Neuron, widths: tuple[int, int, int], classes: int, objectness: bool) -> None:
        super().__init__()
        box_width = max(16, widths[0])
        class_width = max(widths[0], min(classes, 64))
        self._parts = [4 * BINS, EMBEDDING, int(objectness)]  # what the box branch says, in this order
        self.box = nn.ModuleList(_Branch(neuron, width, box_width, sum(self._parts)) for width in widths)
        self.category = nn.ModuleList(_Branch(neuron, width, class_width, classes) for width in widths)
        self.classes = classes
        self._start_from_priors()

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return next(self.parameters()).dtype

    def _start_from_priors(self) -> None:
        # Objects are rare: start from a probability of 0.01 (Lin et al. 2017), or background drowns the rest.
        rare = -math.log((1 - 0.01) / 0.01)
        for box, category in zip(self.box, self.category, strict=True):
            assert isinstance(box, _Branch)
            assert isinstance(category, _Branch)
            if self._parts[-1]:
                nn.init.constant_(box.readout.bias[-1:], rare)
                nn.init.zeros_(category.readout.bias)  # the class is asked for only where something is
            else:
                nn.init.constant_(category.readout.bias, rare)

    def forward(self, pyramid: Pyramid) -> Predictions:
        boxes = torch.cat([branch(x) for branch, x in zip(self.box, pyramid, strict=True)], dim=2)
        classes = torch.cat([branch(x) for branch, x in zip(self.category, pyramid, strict=True)], dim=2)
        points, strides = anchor_points([(x.shape[-2], x.shape[-1]) for x in pyramid], boxes.device)
        sides, embeddings, objectness = boxes.split(self._parts, dim=-1)
        number = torch.promote_types(boxes.dtype, torch.float32)
        return Predictions(
            sides=sides.unflatten(-1, (4, BINS)),
            classes=precise(classes),
            embeddings=embeddings,
            points=points.to(number),
            strides=strides.to(number),
            objectness=precise(objectness).squeeze(-1) if self._parts[-1] else None,
        )


def precise(logits: torch.Tensor) -> torch.Tensor:
    """Logits in fp32 at least: losses and boxes are not made of half precision."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def anchor_points(sizes: list[tuple[int, int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The centres of all cells of levels of these heights and widths, `[N, 2]` as x, y, and their strides `[N]`."""
    points, strides = [], []
    for (height, width), stride in zip(sizes, STRIDES, strict=True):
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        points.append((torch.stack([columns, rows], dim=-1).flatten(0, 1) + 0.5) * stride)
        strides.append(torch.full((height * width,), float(stride)))
    return torch.cat(points).to(device), torch.cat(strides).to(device)
