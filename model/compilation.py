"""Whether neurons run compiled: one way for a whole study, since compiled and eager sums differ in the last digits."""

import logging
import warnings
from enum import StrEnum

import torch
from torch._dynamo.exc import TorchDynamoException

from model.neurons import NeuronConfig, neuron_factory

log = logging.getLogger(__name__)


class Compile(StrEnum):
    """What torch.compile is asked to fuse."""

    OFF = "off"
    NEURONS = "neurons"  # the arithmetic of each neuron: halves a training step on a CPU
    AUTO = "auto"  # neurons where this machine can compile them, otherwise off


def resolve_compile(mode: Compile, device: torch.device) -> Compile:
    """The mode that runs here; `auto` tries a neuron once, which also fills the disk cache other processes read."""
    if mode is not Compile.AUTO:
        return mode
    return Compile.NEURONS if _compiles(device) else Compile.OFF


def _compiles(device: torch.device) -> bool:
    x = torch.ones(2, 3, device=device, requires_grad=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the compiler's remarks on this machine
            neuron = neuron_factory(NeuronConfig(), compiled=True)()
            neuron(x).sum().backward()
    except (TorchDynamoException, RuntimeError, OSError) as error:
        log.warning("torch.compile does not work on this machine, neurons run eager: %s", str(error).splitlines()[0])
        return False
    return True
