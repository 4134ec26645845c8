"""What a step changes before it is known to be good, and how that is taken back."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from model.detector import SpikingDetector
from model.loss import DetectionLoss
from model.neurons import SpikingNeuron

Potentials = list[torch.Tensor | None]  # [B, ...] of each neuron; None: at rest


class Membranes:
    """The potentials that a detector's neurons carry from batch to batch."""

    def __init__(self, detector: SpikingDetector) -> None:
        self._neurons = [module for module in detector.modules() if isinstance(module, SpikingNeuron)]

    def read(self) -> Potentials:
        """The potentials as they are; a step replaces them, and never writes into them."""
        return [neuron.potential for neuron in self._neurons]

    def write(self, potentials: Sequence[torch.Tensor | None]) -> None:
        """Have the neurons go on from these."""
        for neuron, potential in zip(self._neurons, potentials, strict=True):
            neuron.potential = potential

    def clear(self) -> None:
        """Put them to rest."""
        self.write([None] * len(self._neurons))


def rows_of(potentials: Potentials, first: int, end: int) -> Potentials:
    """The potentials of some rows of a batch."""
    return [None if potential is None else potential[first:end] for potential in potentials]


def joined_rows(parts: Sequence[Potentials]) -> Potentials:
    """The potentials of a whole batch from those of its parts, in order."""
    together = zip(*parts, strict=True)
    return [None if any(p is None for p in neuron) else torch.cat(list(neuron)) for neuron in together]


@dataclass(frozen=True, slots=True)
class _Before:
    statistics: list[torch.Tensor]
    potentials: Potentials
    memory: list[tuple[torch.Tensor, torch.Tensor]]


class Undo:
    """Takes back what a step that came to nothing has done to norms' statistics, membranes and the loss's memory."""

    def __init__(self, detector: SpikingDetector, loss: DetectionLoss) -> None:
        self._statistics = list(detector.buffers())
        self._loss = loss
        self.membranes = Membranes(detector)

    def before(self) -> _Before:
        """What there is before a step."""
        statistics = [buffer.clone() for buffer in self._statistics]
        return _Before(statistics, self.membranes.read(), self._loss.memory.state())

    def back(self, before: _Before) -> None:
        """Make it so again."""
        for buffer, value in zip(self._statistics, before.statistics, strict=True):
            buffer.copy_(value)
        self.membranes.write(before.potentials)
        self._loss.memory.restore(before.memory)
