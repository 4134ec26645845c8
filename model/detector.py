"""The detector: backbone, neck and head on one kind of neuron."""

import torch
from pydantic import Field
from torch import nn

from data.config import Config
from data.representation import RepresentationConfig, RepresentationName
from model.backbone import BackboneName, make_backbone
from model.decoding import Readout
from model.head import DecoupledHead, Predictions
from model.neck import NeckName, make_neck
from model.neuron_config import NeuronConfig
from model.neurons import SpikingNeuron, neuron_factory
from model.sizes import Preset, detector_size

COUNT_CAP = 10  # events a cell and bin beyond this say nothing more (RVT cuts its histograms at 10)
FRESHEST = 255  # what a time surface holds where an event has just happened


class DetectorConfig(Config):
    """The network, and how its answer is read."""

    preset: Preset = Preset.NANO  # width and depth to begin with
    width: float = Field(1.0, gt=0, le=8)  # the preset's channels times this, rounded to multiples of 8
    depth: float = Field(1.0, gt=0, le=8)  # the preset's blocks a stage times this, rounded, at least one
    backbone: BackboneName = BackboneName.CSP
    neck: NeckName = NeckName.PAN
    objectness: bool = False  # whether 'something is here' is told apart from 'what it is' (YOLOX)
    readout: Readout = Readout.LAST  # which of the T answers of a window counts
    neuron: NeuronConfig = NeuronConfig()


class SpikingDetector(nn.Module):
    """A SpikeYOLO-like detector: frames `[T, B, C, H, W]` in, predictions for every time step out.

    H and W are multiples of 32. Membranes start at rest in every call: windows are independent, unless `continues` says
    which rows `[B]` go on from the call before. `compiled` fuses the neurons' arithmetic; the weights are the same.
    """

    def __init__(
        self,
        config: DetectorConfig,
        representation: RepresentationConfig,
        time_steps: int,
        classes: int,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        self.config = config
        neuron = neuron_factory(config.neuron, time_steps, compiled)
        widths, depth = detector_size(config.preset, config.width, config.depth)
        # Convolutions and norms are faster so, on CPUs and GPUs alike: a tenth of a training step.
        self.channels_innermost = True
        self._surface = representation.name is RepresentationName.TIME_SURFACE
        self.backbone = make_backbone(config.backbone, neuron, representation.channels, widths, depth)
        self.neck = make_neck(config.neck, neuron, widths[1:], depth)
        self.head = DecoupledHead(neuron, widths[1:], classes, config.objectness)

    def forward(self, frames_TBCHW: torch.Tensor, continues: torch.Tensor | None = None) -> Predictions:
        for module in self.modules():
            if isinstance(module, SpikingNeuron):
                module.carry(continues)
        predictions: Predictions = self.head(self.neck(self.backbone(self._laid_out(self.as_input(frames_TBCHW)))))
        return predictions

    def as_input(self, frames_TBCHW: torch.Tensor) -> torch.Tensor:
        """Frames as real numbers from 0, or from -10 where they are signed, to 10."""
        number = self.head.dtype
        if self._surface:
            return frames_TBCHW.to(number) * (COUNT_CAP / FRESHEST)
        return frames_TBCHW.clamp(-COUNT_CAP if frames_TBCHW.is_signed() else 0, COUNT_CAP).to(number)

    def _laid_out(self, x_TBCHW: torch.Tensor) -> torch.Tensor:
        if not self.channels_innermost:
            return x_TBCHW
        pictures = x_TBCHW.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        sequence: torch.Tensor = pictures.unflatten(0, x_TBCHW.shape[:2])
        return sequence
