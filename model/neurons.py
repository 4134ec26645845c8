"""The spiking neurons, by SpikingJelly's own dynamics, one name each."""

import functools
from collections.abc import Callable
from enum import StrEnum

import torch
from pydantic import Field, model_validator
from spikingjelly.activation_based import functional, surrogate
from torch import nn

from data.config import Config

Neuron = Callable[[], nn.Module]
Dynamics = Callable[[torch.Tensor], torch.Tensor]  # input [T, N] -> spikes [T, N], from rest


class NeuronName(StrEnum):
    """Which neuron fires between two weight layers."""

    ILIF = "ilif"  # integer counts up to D a step (SpikeYOLO, ECCV 2024)
    LIF = "lif"  # at most one spike a step


class NeuronConfig(Config):
    """The dynamics every neuron of the detector shares."""

    name: NeuronName = NeuronName.ILIF
    decay: float = Field(0.25, ge=0.01, lt=1)  # share of the membrane potential that outlives a step (SpikeYOLO: 0.25)
    threshold: float = Field(1.0, gt=0, le=4)  # membrane potential of one spike
    max_spikes: int = Field(4, ge=1, le=16)  # D: spikes a step at most

    @model_validator(mode="after")
    def _lif_fires_once(self) -> "NeuronConfig":
        if self.name is NeuronName.LIF and self.max_spikes != 1:
            raise ValueError(f"max_spikes={self.max_spikes} but a LIF neuron fires once a step; set max_spikes=1")
        return self


class SpikingNeuron(nn.Module):
    """Membrane input `[T, ...]` to spikes of the same shape; the membrane starts at rest in every call."""

    def __init__(self, dynamics: Dynamics) -> None:
        super().__init__()
        self._dynamics = dynamics

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._dynamics(x.flatten(1)).view_as(x)


def neuron_factory(config: NeuronConfig, compiled: bool = False) -> Neuron:
    """A maker of neurons with these dynamics; `compiled` fuses each step's arithmetic by torch.compile."""
    dynamics = _compiled(config) if compiled else _dynamics(config)
    return lambda: SpikingNeuron(dynamics)


def _dynamics(config: NeuronConfig) -> Dynamics:
    """The membrane follows u[t] = decay * v[t-1] + x[t], so the time constant is tau = 1 / (1 - decay)."""
    tau = 1 / (1 - config.decay)
    count = surrogate.MultiLevelSpikeCount(config.max_spikes)
    once = surrogate.ATan()

    def ilif(x: torch.Tensor) -> torch.Tensor:
        spikes: torch.Tensor = functional.ilif_multi_step(x, _rest(x), tau, config.threshold, count)[0]
        return spikes

    def lif(x: torch.Tensor) -> torch.Tensor:
        # Soft reset and an undecayed input, as I-LIF has them: only the number of levels differs.
        spikes: torch.Tensor = functional.lif_multi_step(x, _rest(x), tau, False, config.threshold, None, once)[0]
        return spikes

    return {NeuronName.ILIF: ilif, NeuronName.LIF: lif}[config.name]


def _rest(x: torch.Tensor) -> torch.Tensor:
    return torch.zeros(x.shape[1:], dtype=torch.float32, device=x.device)  # a bf16 membrane would lose charge


@functools.cache  # one compilation a process and dynamics, however many detectors it trains
def _compiled(config: NeuronConfig) -> Dynamics:
    # In this process: a pool of compiler processes would cost each trial their memory for one small kernel.
    fused: Dynamics = torch.compile(_dynamics(config), dynamic=True, options={"compile_threads": 1})
    return fused
