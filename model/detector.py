"""The detector: backbone, neck and head on one kind of neuron."""

from enum import StrEnum

import torch
from torch import nn

from data.config import Config
from data.representation import POLARITIES
from model.backbone import CrossStagePartialBackbone
from model.head import DecoupledHead, Predictions
from model.neck import PathAggregation
from model.neurons import NeuronConfig, neuron_factory

COUNT_CAP = 10  # events a cell and bin beyond this say nothing more (RVT cuts its histograms at 10)


class Preset(StrEnum):
    """Size of the detector."""

    NANO = "nano"
    SMALL = "small"
    BASE = "base"


# Channels at strides 4, 8, 16, 32, and residual blocks a stage.
_SIZES: dict[Preset, tuple[tuple[int, int, int, int], int]] = {
    Preset.NANO: ((24, 48, 96, 128), 1),
    Preset.SMALL: ((40, 80, 160, 224), 1),
    Preset.BASE: ((64, 128, 256, 384), 2),
}


class DetectorConfig(Config):
    """The network."""

    preset: Preset = Preset.NANO  # width and depth
    neuron: NeuronConfig = NeuronConfig()


class SpikingDetector(nn.Module):
    """A SpikeYOLO-like detector: uint8 counts `[T, B, 2, H, W]` in, predictions for every time step out.

    H and W are multiples of 32. Membranes start at rest in every call: windows are independent. `compiled` fuses the
    neurons' arithmetic; the weights are the same.
    """

    def __init__(self, config: DetectorConfig, classes: int, compiled: bool = False) -> None:
        super().__init__()
        neuron = neuron_factory(config.neuron, compiled)
        widths, depth = _SIZES[config.preset]
        self.backbone = CrossStagePartialBackbone(neuron, POLARITIES, widths, depth)
        self.neck = PathAggregation(neuron, widths[1:], depth)
        self.head = DecoupledHead(neuron, widths[1:], classes)

    def forward(self, frames_TBCHW: torch.Tensor) -> Predictions:
        counts = frames_TBCHW.clamp(max=COUNT_CAP).float()
        predictions: Predictions = self.head(self.neck(self.backbone(counts)))
        return predictions
