"""A stand-in neuron that remembers what it emitted, and a check of who read it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode


class MarkingNeurons:
    """A factory of rectifiers; `made` holds each, `calls` how often each ran, `emitted` what they let out."""

    def __init__(self) -> None:
        self.made: list[nn.Module] = []
        self.calls: dict[nn.Module, int] = {}
        self.emitted: list[torch.Tensor] = []

    def __call__(self) -> nn.Module:
        neuron = _Marking(self)
        self.made.append(neuron)
        return neuron

    def sent(self, x: Any) -> bool:
        return any(x is emitted for emitted in self.emitted)


class _Marking(nn.Module):
    def __init__(self, factory: MarkingNeurons) -> None:
        super().__init__()
        self._factory = factory

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert not self._factory.sent(x), "a neuron read another neuron's spikes"
        spikes = x.relu()
        self._factory.emitted.append(spikes)
        self._factory.calls[self] = self._factory.calls.get(self, 0) + 1
        return spikes


class _Joined(TorchFunctionMode):
    """Notes whether any tensor a neuron emitted is added or joined."""

    def __init__(self, neurons: MarkingNeurons) -> None:
        super().__init__()
        self._neurons = neurons
        self.names: list[str] = []

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        operands = [x for arg in args for x in (arg if isinstance(arg, list | tuple) else [arg])]
        if ("add" in name or "cat" in name) and any(self._neurons.sent(x) for x in operands):
            self.names.append(name)
        return func(*args, **(kwargs or {}))


def assert_convolutions_read_neurons(module: nn.Module, neurons: MarkingNeurons, example: Any, but: set[str]) -> None:
    """Every convolution except those named in `but` reads what a neuron emitted, and nothing joins emitted spikes."""
    unmarked: set[str] = set()
    convolutions = {name: child for name, child in module.named_modules() if isinstance(child, nn.Conv2d)}
    for name, child in convolutions.items():
        child.register_forward_pre_hook(
            lambda _, inputs, name=name: None if neurons.sent(inputs[0]) else unmarked.add(name)
        )
    with _Joined(neurons) as joined:
        module(example)
    assert unmarked == but
    assert joined.names == []
    assert neurons.calls == dict.fromkeys(neurons.made, 1)  # one neuron has one membrane: it runs once a pass
    assert len(neurons.made) > 0
