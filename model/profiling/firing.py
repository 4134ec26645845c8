"""How often neurons fire: the mean count a neuron and time step, layer by layer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from model.neurons import SpikingNeuron


@contextmanager
def firing_watched(detector: nn.Module) -> Iterator[dict[str, float]]:
    """A mapping that, as the detector runs, fills with the mean count of each neuron layer over all calls so far.

    Names are those of `named_modules`. A layer that has not run is missing. Counts of I-LIF go up to D, so its rate
    may exceed 1; that of a ReLU is the mean of its real numbers.
    """
    rates: dict[str, float] = {}
    sums: dict[str, tuple[float, int]] = {}

    def note(name: str, spikes: torch.Tensor) -> None:
        total, count = sums.get(name, (0.0, 0))
        sums[name] = total + float(spikes.sum(dtype=torch.float64)), count + spikes.numel()
        rates[name] = sums[name][0] / sums[name][1]

    with neurons_watched(detector, note):
        yield rates


@contextmanager
def neurons_watched(detector: nn.Module, note: Callable[[str, torch.Tensor], None]) -> Iterator[None]:
    """While the detector runs, hand every neuron layer's name and its spikes `[T, B, ...]`, detached, to `note`."""

    def watch(name: str, neuron: nn.Module) -> torch.utils.hooks.RemovableHandle:
        return neuron.register_forward_hook(lambda _, __, spikes: note(name, spikes.detach()))

    handles = [watch(name, module) for name, module in detector.named_modules() if isinstance(module, SpikingNeuron)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def firing_rates(detector: nn.Module, frames_TBCHW: torch.Tensor) -> dict[str, float]:
    """Mean spikes a neuron and time step of each neuron layer by name, in evaluation mode; the mode is put back."""
    training = detector.training
    detector.eval()
    try:
        with firing_watched(detector) as rates:
            detector(frames_TBCHW)
    finally:
        detector.train(training)
    return dict(rates)
