"""Overlap of boxes given as corners x1, y1, x2, y2."""

import math

import torch

_TINY = 1e-7


def intersection_over_union(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """IoU `[...]` of boxes `[..., 4]`; leading axes are broadcast. Two empty boxes overlap by 0."""
    sides = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    common = sides.prod(-1)
    return common / (_area(a) + _area(b) - common).clamp(min=_TINY)


def complete_iou(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """CIoU `[...]` of boxes `[..., 4]`: IoU less centre distance and aspect difference (Zheng et al. 2020)."""
    overlap = intersection_over_union(a, b)
    hull = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    centres = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) / 2
    distance = centres.square().sum(-1) / hull.square().sum(-1).clamp(min=_TINY)
    aspect = 4 / math.pi**2 * (_slant(a) - _slant(b)).square()
    with torch.no_grad():
        weight = aspect / (1 - overlap + aspect).clamp(min=_TINY)
    return overlap - distance - weight * aspect


def _area(boxes: torch.Tensor) -> torch.Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)


def _slant(boxes: torch.Tensor) -> torch.Tensor:
    width, height = (boxes[..., 2:] - boxes[..., :2]).unbind(-1)
    return torch.atan2(width, height.clamp(min=_TINY))
