"""Whether neurons run compiled: one way for a whole study, since compiled and eager sums differ in the last digits."""

import logging
import warnings

import torch
from torch._dynamo.exc import TorchDynamoException

from model.neurons import neuron_factory
from model.trial_config import Compile, TrialConfig

log = logging.getLogger(__name__)


def resolve_compile(config: TrialConfig, device: torch.device) -> Compile:
    """The mode that runs here: `auto` tries the configuration's neuron once.

    Trying it fills the compiler's cache on disk, from which other processes of the machine start in seconds.
    """
    mode = config.training.compile
    if mode is not Compile.AUTO:
        return mode
    return Compile.NEURONS if _compiles(config, device) else Compile.OFF


def _compiles(config: TrialConfig, device: torch.device) -> bool:
    x = torch.ones(config.data.time_steps, 3, device=device, requires_grad=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the compiler's remarks on this machine
            neuron = neuron_factory(config.model.neuron, config.data.time_steps, compiled=True)()
            neuron(x).sum().backward()
            with torch.no_grad():
                neuron(x)
    except (TorchDynamoException, RuntimeError, OSError) as error:
        log.warning("torch.compile does not work on this machine, neurons run eager: %s", str(error).splitlines()[0])
        return False
    return True
