"""The peer of the training step: our net with SpikingJelly's own I-LIF modules, run eagerly in single precision."""

from spikingjelly.activation_based import functional
from spikingjelly.activation_based.neuron import ILIFNode
from torch import nn

from model.detector import SpikingDetector
from model.neurons import SpikingNeuron


def eager_ilif(detector: SpikingDetector) -> SpikingDetector:
    """Put a SpikingJelly node of the same dynamics in the place of each neuron of a detector, and return it."""
    config = detector.config.neuron
    for module in list(detector.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, SpikingNeuron):
                node = ILIFNode(config.tau, config.threshold, config.count(), step_mode="m")
                setattr(module, name, node)
    return detector


def at_rest(detector: nn.Module) -> None:
    """Put all membranes back to rest, as SpikingJelly asks for before each sequence."""
    functional.reset_net(detector)
