"""How far a detector's weights have come from where its training began."""

import torch

from model.detector import SpikingDetector


@torch.no_grad()
def relative_distance(detector: SpikingDetector, start: SpikingDetector) -> float:
    """Length of the way from the weights of `start` to those of `detector`, as a share of the length of `start`'s."""
    ends = dict(detector.named_parameters())
    way = [
        float((ends[name].cpu().double() - value.double()).square().sum()) for name, value in start.named_parameters()
    ]
    length = [float(value.double().square().sum()) for value in start.parameters()]
    return float((sum(way) / sum(length)) ** 0.5)
