"""Detectors and frames to profile where nothing is trained or recorded yet; both are drawn from a seed."""

import torch
from torch import nn

from data.representation import RepresentationConfig, RepresentationName
from model.detector import SpikingDetector
from model.trial_config import TrialConfig

OCCUPANCY = 0.05  # share of a step's cells with an event: that of traffic at 640x360, 100 ms in 8 steps
MOST_EVENTS = 3  # events a synthetic cell holds at most


def synthetic_frames(
    config: RepresentationConfig, time_steps: int, windows: int, height: int, width: int, seed: int
) -> torch.Tensor:
    """Frames `[T, B, C, H, W]` whose cells hold something with probability `OCCUPANCY`, without any structure."""
    random = torch.Generator().manual_seed(seed)
    shape = (time_steps, windows, config.channels, height, width)
    busy = torch.rand(shape, generator=random) < OCCUPANCY
    if config.name is RepresentationName.TIME_SURFACE:
        return (busy * torch.randint(1, 256, shape, generator=random)).to(torch.uint8)
    counts = busy * torch.randint(1, MOST_EVENTS + 1, shape, generator=random)
    if config.signed:
        return (counts * (1 - 2 * torch.randint(0, 2, shape, generator=random))).to(torch.int8)
    return counts.to(torch.uint8)


def untrained_detector(config: TrialConfig, classes: int, frames_TBCHW: torch.Tensor) -> SpikingDetector:
    """A detector with the configuration's first weights, whose batch norms know these frames.

    Without them its norms would scale nothing, and hardly a neuron would fire: a cost too good to be true.
    """
    data = config.data
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        detector = SpikingDetector(config.model, data.representation, data.time_steps, classes)
    norms = [module for module in detector.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0  # these frames' statistics, and nothing of those before
    with torch.no_grad():
        detector.train()(frames_TBCHW)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return detector.eval()
