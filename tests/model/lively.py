"""Checkpoints whose neurons fire: an untrained net is nearly silent, and a silent net would prove nothing."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from data.boxes import LabelSet
from data.events import SensorSize
from model.checkpoint import Checkpoint
from model.decoding import Detections, Readout, decode
from model.detector import SpikingDetector
from model.head import Predictions
from model.neurons import SpikingNeuron
from model.trial_config import TrialConfig

SIZE = SensorSize(90, 60)  # frames of 64 x 96
LABELS = LabelSet("mine", ("cat", "dög"))


def lively_checkpoint(neuron: str, **leaves: Any) -> Checkpoint:
    """A small detector with the batch norms and decays a training would leave: far from what they start with."""
    config = TrialConfig().with_leaves(
        {"model.width": 0.25, "data.time_steps": 3, "model.neuron.name": neuron, **leaves}, "test"
    )
    torch.manual_seed(5)
    detector = SpikingDetector(config.model, config.data.representation, config.data.time_steps, len(LABELS.classes))
    with torch.no_grad():
        for module in detector.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.7, 1.6)
                module.bias.uniform_(-0.2, 0.6)
                module.momentum = 0.6  # so that a few windows settle the statistics
        for name, parameter in detector.named_parameters():
            if name.endswith(".w"):  # what a PLIF learnt
                parameter.uniform_(-1, 2)
            elif name.endswith("readout.weight"):
                parameter.mul_(2)
            elif name.endswith("readout.bias"):
                parameter.uniform_(-1, 1)
            elif name.endswith("psn.weight"):
                parameter.uniform_(-0.2, 0.8)
            elif name.endswith("psn.bias"):
                parameter.fill_(-0.4)
        detector.train()
        for seed in range(6):
            detector(frames(config, 100 + seed))
    return Checkpoint(detector.eval(), config, LABELS, SIZE, 1, {})


def frames(config: TrialConfig, seed: int, rows: int = 2) -> torch.Tensor:
    """A window `[T, B, C, 64, 96]` of random counts, beyond what the detector reads at most."""
    low, kind = (-14, torch.int8) if config.data.representation.signed else (0, torch.uint8)
    shape = (config.data.time_steps, rows, config.data.representation.channels, 64, 96)
    return torch.randint(low, 14, shape, dtype=kind, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def decided_frames(checkpoint: Checkpoint) -> torch.Tensor:
    """A window on which no membrane stands so near its threshold that the rounding of sums decides over a spike.

    Its answer is the same in double precision with weights that are a few roundings off, so it is the same on any
    processor and in any runtime, whatever the order of their sums.
    """
    nudged = []
    for seed in range(3):
        detector = copy.deepcopy(checkpoint.detector).double()
        generator = torch.Generator().manual_seed(seed)
        for parameter in detector.parameters():
            parameter.mul_(1 + 1e-6 * torch.randn(parameter.shape, dtype=torch.float64, generator=generator))
        nudged.append(detector)
    for seed in range(1, 100):
        window = frames(checkpoint.config, seed)
        answers = [detector(window) for detector in (checkpoint.detector, *nudged)]
        corners = [answer.corners().double() for answer in answers]
        if all(torch.allclose(corners[0], other, atol=5e-3, rtol=1e-5) for other in corners[1:]):
            return window
    raise AssertionError("rounding decides over a spike in every window")


@torch.no_grad()
def expected(checkpoint: Checkpoint, window: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Corners, scores and embeddings by the detector itself, after making sure that every layer of neurons fires."""
    rates = []
    hooks = [
        module.register_forward_hook(lambda _module, _inputs, spikes: rates.append(float(spikes.mean())))
        for module in checkpoint.detector.modules()
        if isinstance(module, SpikingNeuron)
    ]
    predictions: Predictions = checkpoint.detector(window)
    for hook in hooks:
        hook.remove()
    assert len(rates) > 30
    assert min(rates) > 0.003, "a layer is silent"
    scores = predictions.scores()
    assert scores.std() > 0.01, "its answers differ from point to point"
    assert predictions.corners().std(dim=0).max() > 0.1, "its answers change from step to step"
    return predictions.corners(), scores, predictions.embeddings


class Answered(Predictions):
    """Predictions whose boxes and scores are known: as `sides` and `classes`."""

    def corners(self) -> torch.Tensor:
        return self.sides

    def scores(self) -> torch.Tensor:
        return self.classes

    def part(self, steps: slice, rows: slice) -> Predictions:
        sides, classes, embeddings = (said[steps, rows] for said in (self.sides, self.classes, self.embeddings))
        return Answered(sides, classes, embeddings, self.points, self.strides)


def detections(answer: Sequence[torch.Tensor], readout: Readout) -> list[Detections]:
    """Decode what an exported detector answers by the detector's own decoding."""
    corners, scores, embeddings = answer
    nothing = torch.empty(0)
    return decode(Answered(corners, scores, embeddings, nothing, nothing), readout)
