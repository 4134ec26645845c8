"""What each neuron layer does while a detector runs: how often it fires, and how much of it never does."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from model.detector import SpikingDetector
from model.neuron_config import NeuronName
from model.profiling.firing import neurons_watched


@dataclass(frozen=True, slots=True)
class LayerSigns:
    """One neuron layer."""

    name: str  # as in `named_modules`
    rate: float  # spikes a neuron and time step, in evaluation mode
    training_rate: float | None  # the same in training mode, where norms follow the batch; None: not run
    levels: int | None  # spikes a step at most; None: real numbers, which have no most
    silent: float  # share of the layer's channels that never fired, in evaluation mode


def spikes_at_most(detector: SpikingDetector) -> int | None:
    """Spikes a neuron and time step at most; None where neurons answer with real numbers."""
    neuron = detector.config.neuron
    return None if neuron.name is NeuronName.RELU else neuron.levels


@contextmanager
def silence_watched(detector: SpikingDetector) -> Iterator[dict[str, float]]:
    """A mapping that, as the detector runs, fills with the share of each neuron layer's channels not yet fired."""
    silent: dict[str, float] = {}
    fired_C: dict[str, torch.Tensor] = {}

    def note(name: str, spikes_TBCHW: torch.Tensor) -> None:
        now_C = (spikes_TBCHW != 0).transpose(0, 2).flatten(1).any(1)
        fired_C[name] = now_C if name not in fired_C else now_C | fired_C[name]
        silent[name] = 1 - float(fired_C[name].float().mean())

    with neurons_watched(detector, note):
        yield silent
