"""The neurons in plain tensor arithmetic, for runtimes that know none of SpikingJelly's operators."""

import copy
from dataclasses import dataclass

import torch
from spikingjelly.activation_based.base import StepModule
from torch import nn

from data.errors import ConfigError
from model.detector import SpikingDetector
from model.neuron_config import NeuronConfig, NeuronName
from model.neurons import LearntDecay, Parallel, SpikingNeuron


@dataclass(slots=True)
class Membrane:
    """Potentials `[B, ...]` around a call. No attribute of a module: an exporter would freeze those."""

    start: torch.Tensor | None = None  # None: at rest
    end: torch.Tensor | None = None


class PlainNeuron(nn.Module):
    """The forward dynamics of a neuron, step by step: membrane input `[T, B, ...]` to spikes of the same shape."""

    def __init__(self, config: NeuronConfig, decay: float) -> None:
        super().__init__()
        self._threshold = config.threshold
        self._levels = config.levels
        self._counts = config.name is NeuronName.ILIF
        self._decay = decay
        self.membrane = Membrane()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        potential = self.membrane.start
        spikes = []
        for current in x.unbind(0):
            charged = current if potential is None else potential * self._decay + current
            fired = self._fire(charged)
            potential = charged - fired * self._threshold
            spikes.append(fired)
        self.membrane.end = potential
        return torch.stack(spikes)

    def _fire(self, charged: torch.Tensor) -> torch.Tensor:
        if self._counts:
            return (charged / self._threshold).clamp(0, self._levels).round()
        return (charged >= self._threshold).float()


class PlainParallel(nn.Module):
    """The parallel spiking neuron: a matrix product over the steps of a window, then a comparison."""

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, weight_TT: torch.Tensor, bias_T1: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight_TT)
        self.register_buffer("bias", bias_T1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        charged = self.weight @ x.flatten(1) + self.bias
        return (charged >= 0).float().reshape(x.shape[0], -1, *x.shape[2:])


class EachStep(nn.Module):
    """A layer of pictures `[B, C, H, W]`, on sequences of them.

    SpikingJelly's own way binds an exporter to one batch size.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sequences: torch.Tensor = self.layer(x.flatten(0, 1)).unflatten(0, (x.shape[0], -1))
        return sequences


def plain(neuron: SpikingNeuron) -> nn.Module:
    """What this neuron computes, in plain tensor arithmetic."""
    if isinstance(neuron, Parallel):
        return PlainParallel(neuron.psn.weight.detach().clone(), neuron.psn.bias.detach().clone())
    if neuron.config.name is NeuronName.RELU:
        return nn.ReLU()
    return PlainNeuron(neuron.config, decay_of(neuron))


def decay_of(neuron: SpikingNeuron) -> float:
    """Share of the membrane potential that outlives a step; 1 in a neuron that forgets nothing."""
    if isinstance(neuron, LearntDecay):
        return 1 - float(neuron.w.detach().sigmoid())
    return 1.0 if neuron.config.name is NeuronName.IF else neuron.config.decay


def with_plain_neurons(detector: SpikingDetector) -> SpikingDetector:
    """A copy for inference in which nothing but plain tensor arithmetic is left."""
    copied = copy.deepcopy(detector).cpu().eval()
    copied.channels_innermost = False  # the layout in memory is the runtime's affair
    owners = [module for module in copied.modules() if not isinstance(module, SpikingNeuron)]
    for module in owners:
        for name, child in list(module.named_children()):
            if isinstance(child, SpikingNeuron):
                setattr(module, name, plain(child))
            elif isinstance(child, StepModule):
                child.step_mode = "s"
                setattr(module, name, EachStep(child))
    return copied.requires_grad_(False)


def membranes_of(detector: nn.Module) -> dict[str, Membrane]:
    """The membranes of all neurons that remember, by the dotted names of their modules.

    Raises:
        ConfigError: there are none.
    """
    found = {name: module.membrane for name, module in detector.named_modules() if isinstance(module, PlainNeuron)}
    if not found:
        raise ConfigError(
            "its neurons hold no membrane from step to step (psn sees a window as a whole, relu sees one step); "
            "leave --stateful out"
        )
    return found
