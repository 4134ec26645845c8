"""A detector as one function of tensors: frames, and membranes where it is told to go on, to boxes and scores."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from data.events import SensorSize
from data.frame_size import content_size, padded
from model.checkpoint import Checkpoint
from model.detector import SpikingDetector
from model.export.plain_neurons import Membrane, membranes_of, with_plain_neurons

FRAMES = "frames"
OUTPUTS = ("corners", "scores", "embeddings")


class ExportedDetector(nn.Module):
    """Frames `[T, B, C, H, W]` to corners `[T, B, N, 4]`, scores `[T, B, N, K]` and embeddings `[T, B, N, E]`.

    Every membrane starts at rest.
    """

    def __init__(self, detector: SpikingDetector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, frames_TBCHW: torch.Tensor) -> tuple[torch.Tensor, ...]:
        predictions = self.detector(frames_TBCHW)
        return predictions.corners(), predictions.scores(), predictions.embeddings


class ExportedStep(nn.Module):
    """One step's frames and all membranes `[B, ...]` before it to a window's answer and the membranes after it."""

    def __init__(self, detector: SpikingDetector) -> None:
        super().__init__()
        self.window = ExportedDetector(detector)
        self._membranes = list(membranes_of(detector).values())

    def forward(self, frames_TBCHW: torch.Tensor, *membranes: torch.Tensor) -> tuple[torch.Tensor, ...]:
        for membrane, start in zip(self._membranes, membranes, strict=True):
            membrane.start = start
        return (*self.window(frames_TBCHW), *_ends(self._membranes))


@dataclass(frozen=True, slots=True)
class Exportable:
    """A function of tensors, what to call it with, and the names of both sides."""

    function: nn.Module
    example: tuple[torch.Tensor, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def frame_shape(checkpoint: Checkpoint, size: SensorSize, steps: int, rows: int = 1) -> tuple[int, int, int, int, int]:
    """T, B, C, H, W of the frames a detector reads from a sensor of this size."""
    data = checkpoint.config.data
    return (steps, rows, data.representation.channels, *padded(content_size(size, data.scale), data.square))


def exportable(checkpoint: Checkpoint, size: SensorSize, stateful: bool) -> Exportable:
    """A checkpoint's detector for a whole window of this sensor, or for one step after another.

    Raises:
        ConfigError: it is to be stateful, and its neurons hold no state.
    """
    detector = with_plain_neurons(checkpoint.detector)
    signed = checkpoint.config.data.representation.signed
    # Two rows: an exporter takes a single one for a constant.
    shape = frame_shape(checkpoint, size, 1 if stateful else checkpoint.config.data.time_steps, rows=2)
    frames = torch.zeros(shape, dtype=torch.int8 if signed else torch.uint8)
    if not stateful:
        return Exportable(ExportedDetector(detector).eval(), (frames,), (FRAMES,), OUTPUTS)
    names = list(membranes_of(detector))
    rest = _membranes_at_rest(detector, frames)
    return Exportable(
        ExportedStep(detector).eval(),
        (frames, *rest),
        (FRAMES, *(f"membrane.{name}" for name in names)),
        (*OUTPUTS, *(f"next_membrane.{name}" for name in names)),
    )


@torch.no_grad()
def _membranes_at_rest(detector: SpikingDetector, frames: torch.Tensor) -> list[torch.Tensor]:
    detector(frames)
    return [torch.zeros_like(end) for end in _ends(membranes_of(detector).values())]


def _ends(membranes: Iterable[Membrane]) -> list[torch.Tensor]:
    """Where the membranes ended; they are left at rest."""
    ends = []
    for membrane in membranes:
        assert membrane.end is not None, "the detector asks every neuron it has"
        ends.append(membrane.end)
        membrane.start = membrane.end = None
    return ends
