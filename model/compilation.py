"""What runs compiled: one way for a whole study, since compiled and eager sums differ in the last digits."""

import logging
import warnings

import torch
from torch import nn
from torch._dynamo.exc import TorchDynamoException

from data.errors import ConfigError
from model.neuron_config import NeuronConfig
from model.neurons import neuron_factory
from model.training.config import Compile
from model.trial_config import TrialConfig

log = logging.getLogger(__name__)


def resolve_compile(config: TrialConfig, device: torch.device) -> Compile:
    """The mode that runs here: `auto` tries the configuration's neuron once.

    Trying it fills the compiler's cache on disk, from which other processes of the machine start in seconds.

    Raises:
        ConfigError: all was asked for, and this machine has no compiler that works.
    """
    mode = config.training.compile
    if mode is Compile.AUTO:
        failure = _failure(config.model.neuron, config.data.time_steps, device)
        if failure is None:
            return Compile.NEURONS
        log.warning("torch.compile does not work on this machine, neurons run eager: %s", failure)
        return Compile.OFF
    if mode is Compile.ALL:
        failure = _failure(NeuronConfig(), 1, device)  # seconds, where the detector takes minutes
        if failure is not None:
            raise ConfigError(
                f"training.compile=all, but torch.compile does not work on this machine: {failure}; "
                "set training.compile to auto or off"
            )
    return mode


def compile_detector(detector: nn.Module, mode: Compile) -> None:
    """Have the whole detector run compiled if the mode is all; its parameters keep their names, and copies run eager.

    Every size of batch is compiled for itself, at its first call, and beyond eight of them the rest runs eager. Where
    sizes are left open, torch 2.13's compiler fails, or compiles anew all the same.
    """
    if mode is Compile.ALL:
        detector.compile(dynamic=False)


def _failure(config: NeuronConfig, time_steps: int, device: torch.device) -> str | None:
    """Why a neuron does not compile here; None if it does."""
    x = torch.ones(time_steps, 3, device=device, requires_grad=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the compiler's remarks on this machine
            neuron = neuron_factory(config, time_steps, compiled=True)()
            neuron(x).sum().backward()
            with torch.no_grad():
                neuron(x)
    except (TorchDynamoException, RuntimeError, OSError) as error:
        return (str(error).splitlines() or [type(error).__name__])[0]
    return None
