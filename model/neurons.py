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
# Input [T, N] and membrane potential [N] before it -> spikes [T, N] and the potential after it.
Dynamics = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


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
    """Membrane input `[T, B, ...]` to spikes of the same shape; the membrane starts at rest, unless told to go on."""

    def __init__(self, dynamics: Dynamics) -> None:
        super().__init__()
        self._dynamics = dynamics
        self._continues: torch.Tensor | None = None  # bool [B]
        self._potential: torch.Tensor | None = None  # [B, ...] after the last call

    def carry(self, continues: torch.Tensor | None) -> None:
        """In which rows `[B]` the next call goes on from the potential the last one left; None keeps nothing at all."""
        self._continues = continues
        if continues is None:
            self._potential = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        spikes, potential = self._dynamics(x.flatten(1), self._start(x).flatten())
        if self._continues is not None:
            # Cut from the graph: gradients end where a batch begins (truncated backpropagation through time).
            self._potential = potential.detach().view(x.shape[1:])
        return spikes.view_as(x)

    def _start(self, x: torch.Tensor) -> torch.Tensor:
        if self._continues is None or self._potential is None or self._potential.shape != x.shape[1:]:
            return torch.zeros(x.shape[1:], dtype=torch.float32, device=x.device)  # bf16 would lose charge
        rests = ~self._continues.view(-1, *[1] * (x.dim() - 2))
        return self._potential.masked_fill(rests, 0.0)


def neuron_factory(config: NeuronConfig, compiled: bool = False) -> Neuron:
    """A maker of neurons with these dynamics; `compiled` fuses each step's arithmetic by torch.compile."""
    dynamics = _compiled(config) if compiled else _dynamics(config)
    return lambda: SpikingNeuron(dynamics)


def _dynamics(config: NeuronConfig) -> Dynamics:
    """The membrane follows u[t] = decay * v[t-1] + x[t], so the time constant is tau = 1 / (1 - decay)."""
    tau = 1 / (1 - config.decay)
    count = surrogate.MultiLevelSpikeCount(config.max_spikes)
    once = surrogate.ATan()

    def ilif(x: torch.Tensor, start: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        spikes, potential, _ = functional.ilif_multi_step(x, start, tau, config.threshold, count)
        return spikes, potential

    def lif(x: torch.Tensor, start: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # Soft reset and an undecayed input, as I-LIF has them: only the number of levels differs.
        spikes, potential, _ = functional.lif_multi_step(x, start, tau, False, config.threshold, None, once)
        return spikes, potential

    return {NeuronName.ILIF: ilif, NeuronName.LIF: lif}[config.name]


@functools.cache  # one compilation a process and dynamics, however many detectors it trains
def _compiled(config: NeuronConfig) -> Dynamics:
    # In this process: a pool of compiler processes would cost each trial their memory for one small kernel.
    fused: Dynamics = torch.compile(_dynamics(config), dynamic=True, options={"compile_threads": 1})
    return fused
