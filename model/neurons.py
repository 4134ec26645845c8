"""The neurons as modules: spikes of a sequence, from rest or from where the sequence before ended."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from spikingjelly.activation_based import functional
from spikingjelly.activation_based.neuron import PSN
from torch import nn

from data.errors import ConfigError
from model.neuron_config import NeuronConfig, NeuronName

Neuron = Callable[[], nn.Module]
# Input [T, N], membrane potential [N] before it, learnt numbers -> spikes [T, N] and the potential after it.
GoingOn = Callable[..., tuple[torch.Tensor, torch.Tensor]]


class Dynamics(NamedTuple):
    """A neuron's arithmetic."""

    going_on: GoingOn
    from_rest: Callable[..., torch.Tensor]  # input, learnt numbers -> spikes; a potential is neither read nor kept


class SpikingNeuron(nn.Module):
    """Membrane input `[T, B, ...]` to spikes of the same shape; the membrane starts at rest, unless told to go on."""

    def __init__(self, config: NeuronConfig, dynamics: Dynamics) -> None:
        super().__init__()
        self.config = config
        self._dynamics = dynamics
        self._continues: torch.Tensor | None = None  # bool [B]
        self.potential: torch.Tensor | None = None  # [B, ...] after the last call that was told to go on or to start

    def carry(self, continues: torch.Tensor | None) -> None:
        """In which rows `[B]` the next call goes on from the potential the last one left; None keeps nothing at all."""
        self._continues = continues
        if continues is None:
            self.potential = None

    def learnt(self) -> tuple[torch.Tensor, ...]:
        """Numbers of the dynamics that are trained."""
        return ()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        laid = _as_laid_out(x)
        if self._continues is None:
            spikes = self._dynamics.from_rest(laid.flatten(1), *self.learnt())
        else:
            start = self._start(x, self._continues)
            flat = _as_laid_out(start, like=x).flatten()
            spikes, potential = self._dynamics.going_on(laid.flatten(1), flat, *self.learnt())
            # Cut from the graph: gradients end where a batch begins (truncated backpropagation through time).
            self.potential = _back(potential.detach().view(laid.shape[1:]), like=x)
        return _back(spikes.view(laid.shape), like=x)

    def _start(self, x: torch.Tensor, continues: torch.Tensor) -> torch.Tensor:
        if self.potential is None or self.potential.shape != x.shape[1:]:
            return _rest(x)
        rests = ~continues.view(-1, *[1] * (x.dim() - 2))
        return self.potential.masked_fill(rests, 0.0)


def _channels_innermost(x: torch.Tensor) -> bool:
    """Whether a sequence of pictures `[T, B, C, H, W]` is laid out as `[T, B, H, W, C]` in memory."""
    return x.dim() == 5 and x.stride(2) == 1


def _as_laid_out(values: torch.Tensor, like: torch.Tensor | None = None) -> torch.Tensor:
    """The values with their axes in the order of memory, so that flattening copies nothing; cells stay themselves."""
    if not _channels_innermost(values if like is None else like):
        return values
    return values.movedim(-3, -1)


def _back(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The values with the axes of `like`."""
    return values.movedim(-1, -3) if _channels_innermost(like) else values


def _rest(x: torch.Tensor) -> torch.Tensor:
    """A membrane without charge, for input `[T, ...]`; in fp32 at least, since bf16 would lose charge."""
    return torch.zeros(x.shape[1:], dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)


class LearntDecay(SpikingNeuron):
    """A neuron that learns how fast its membrane forgets: 1 - decay = sigmoid(w)."""

    def __init__(self, config: NeuronConfig, dynamics: Dynamics) -> None:
        super().__init__(config, dynamics)
        self.w = nn.Parameter(torch.tensor(config.decay_logit))

    def learnt(self) -> tuple[torch.Tensor, ...]:
        return (self.w,)


class Parallel(SpikingNeuron):
    """SpikingJelly's parallel spiking neuron: each step's potential is a learnt sum over all T steps of the window."""

    def __init__(self, config: NeuronConfig, time_steps: int) -> None:
        super().__init__(config, Dynamics(_never, self._all_at_once))
        self.psn = PSN(time_steps, config.spike())

    def carry(self, continues: torch.Tensor | None) -> None:
        """Refuse to go on: it has no membrane that could be carried.

        Raises:
            ConfigError: it is told to.
        """
        if continues is not None:
            raise ConfigError(
                "model.neuron.name=psn sees a window as a whole and carries nothing; set data.order=random"
            )

    def _all_at_once(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):  # its matrix product takes one type, and weights are fp32
            spikes: torch.Tensor = self.psn(x.to(self.psn.weight.dtype))
        return spikes.to(x.dtype)


def _never(*_: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    raise AssertionError("a neuron that refuses to carry was told to go on")


def neuron_factory(config: NeuronConfig, time_steps: int, compiled: bool = False) -> Callable[[], SpikingNeuron]:
    """A maker of neurons with these dynamics; `compiled` fuses each step's arithmetic by torch.compile."""
    if config.name is NeuronName.PSN:
        return lambda: Parallel(config, time_steps)  # a matrix product and a comparison: nothing to fuse
    kind = LearntDecay if config.name is NeuronName.PLIF else SpikingNeuron
    dynamics = _compiled(config) if compiled else _dynamics(config)
    return lambda: kind(config, dynamics)


def _dynamics(config: NeuronConfig) -> Dynamics:
    """All reset softly and take their input undecayed: they differ in their levels and in what they forget."""
    tau, threshold = config.tau, config.threshold
    count, once = config.count(), config.spike()

    def ilif(x: torch.Tensor, start: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        spikes, potential, _ = functional.ilif_multi_step(x, start, tau, threshold, count)
        return spikes, potential

    def lif(x: torch.Tensor, start: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        spikes, potential, _ = functional.lif_multi_step(x, start, tau, False, threshold, None, once)
        return spikes, potential

    def plif(x: torch.Tensor, start: torch.Tensor, w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        spikes, potential, _ = functional.plif_multi_step(x, start, w, False, threshold, None, once)
        return spikes, potential

    def integrate(x: torch.Tensor, start: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        spikes, potential, _ = functional.if_multi_step(x, start, threshold, None, once)
        return spikes, potential

    def relu(x: torch.Tensor, start: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.relu(x), start

    kinds: dict[NeuronName, GoingOn] = {
        NeuronName.ILIF: ilif,
        NeuronName.LIF: lif,
        NeuronName.PLIF: plif,
        NeuronName.IF: integrate,
        NeuronName.RELU: relu,
    }
    return Dynamics(kinds[config.name], _from_rest(kinds[config.name]))


@functools.cache  # one compilation a process and dynamics, however many detectors it trains
def _compiled(config: NeuronConfig) -> Dynamics:
    going_on = _step_by_step(_dynamics(config).going_on)
    return Dynamics(_fused(going_on), _fused(_from_rest(going_on)))


def _from_rest(going_on: GoingOn) -> Callable[..., torch.Tensor]:
    return lambda x, *learnt: going_on(x, _rest(x), *learnt)[0]


def _step_by_step(going_on: GoingOn) -> GoingOn:
    """The same numbers. Given all steps at once, the compiler writes every step's gradient to memory twice, in fp32."""

    def walked(x: torch.Tensor, start: torch.Tensor, *learnt: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        spikes, potential = [], start
        for now in x.split(1):
            fired, potential = going_on(now, potential, *learnt)
            spikes.append(fired)
        return torch.cat(spikes), potential

    return walked


def _fused(arithmetic: Callable[..., Any]) -> Callable[..., Any]:
    # In this process: a pool of compiler processes would cost each trial their memory for one small kernel.
    return torch.compile(arithmetic, dynamic=True, options={"compile_threads": 1})
