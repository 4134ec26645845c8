"""The detector: backbone, neck and head on one kind of neuron."""

from enum import StrEnum

import torch
from torch import nn

from data.config import Config
from data.representation import RepresentationConfig, RepresentationName
from model.backbone import CrossStagePartialBackbone
from model.head import DecoupledHead, Predictions
from model.neck import PathAggregation
from model.neurons import NeuronConfig, SpikingNeuron, neuron_factory

COUNT_CAP = 10  # events a cell and bin beyond this say nothing more (RVT cuts its histograms at 10)
FRESHEST = 255  # what a time surface holds where an event has just happened


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
    """A SpikeYOLO-like detector: frames `[T, B, C, H, W]` in, predictions for every time step out.

    H and W are multiples of 32. Membranes start at rest in every call: windows are independent, unless `continues` says
    which rows `[B]` go on from the call before. `compiled` fuses the neurons' arithmetic; the weights are the same.
    """

    def __init__(
        self, config: DetectorConfig, representation: RepresentationConfig, classes: int, compiled: bool = False
    ) -> None:
        super().__init__()
        neuron = neuron_factory(config.neuron, compiled)
        widths, depth = _SIZES[config.preset]
        self._surface = representation.name is RepresentationName.TIME_SURFACE
        self.backbone = CrossStagePartialBackbone(neuron, representation.channels, widths, depth)
        self.neck = PathAggregation(neuron, widths[1:], depth)
        self.head = DecoupledHead(neuron, widths[1:], classes)

    def forward(self, frames_TBCHW: torch.Tensor, continues: torch.Tensor | None = None) -> Predictions:
        for module in self.modules():
            if isinstance(module, SpikingNeuron):
                module.carry(continues)
        predictions: Predictions = self.head(self.neck(self.backbone(self._input(frames_TBCHW))))
        return predictions

    def _input(self, frames_TBCHW: torch.Tensor) -> torch.Tensor:
        """Frames as real numbers from 0, or from -10 where they are signed, to 10."""
        if self._surface:
            return frames_TBCHW.float() * (COUNT_CAP / FRESHEST)
        return frames_TBCHW.clamp(-COUNT_CAP if frames_TBCHW.is_signed() else 0, COUNT_CAP).float()
