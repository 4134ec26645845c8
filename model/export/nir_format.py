"""NIR: what neuromorphic toolchains read. See docs/export.md for what its primitives cannot hold."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from data.errors import ConfigError
from data.events import SensorSize
from data.storage import whole_path
from model.checkpoint import Checkpoint
from model.detector import SpikingDetector
from model.export.exported_detector import FRAMES, frame_shape
from model.export.nir_graph import Array, Graph, Piece, Signal
from model.export.onnx_format import require
from model.export.plain_neurons import decay_of
from model.head import STRIDES
from model.neuron_config import NeuronConfig, NeuronName
from model.neurons import SpikingNeuron

if TYPE_CHECKING:
    import nir

_WITHOUT_MEMBRANE = {
    NeuronName.PSN: "mixes all steps of a window, and NIR's nodes know the past only",
    NeuronName.RELU: "does not spike",
}


class _Lowered(nn.Module):
    """Stands in for a layer, and adds its nodes to a graph instead of computing."""

    def __init__(self, lower: Callable[[Signal], Signal]) -> None:
        super().__init__()
        self._lower = lower

    def forward(self, signal: Signal) -> Signal:
        return self._lower(signal)


def write_nir(checkpoint: Checkpoint, size: SensorSize, metadata: dict[str, str], path: Path) -> None:
    """Write the detector for this sensor as one NIR file.

    Raises:
        ConfigError: NIR cannot hold its neurons.
        InputError: the package it needs is missing.
    """
    require("nir")
    import nir

    graph = nir_graph(checkpoint, size, metadata)
    with whole_path(path) as partial:
        nir.write(partial, graph)


def nir_graph(checkpoint: Checkpoint, size: SensorSize, metadata: dict[str, str]) -> "nir.NIRGraph":
    """Backbone, neck and head as NIR's primitives: frames `[C, H, W]` of a step in, logits `[C, H, W]` a level out.

    Raises:
        ConfigError: NIR cannot hold its neurons.
    """
    name = checkpoint.config.model.neuron.name
    if name in _WITHOUT_MEMBRANE:
        raise ConfigError(
            f"model.neuron.name={name.value}: it {_WITHOUT_MEMBRANE[name]}; NIR takes ilif, lif, plif and if; "
            "export to onnx or torchscript instead"
        )
    data = checkpoint.config.data
    graph = Graph(data.window_us / data.time_steps * 1e-6)
    detector = _lowered(checkpoint.detector, graph)
    frames = graph.enter(FRAMES, *frame_shape(checkpoint, size, 1)[2:], {})
    head = detector.head
    for stride, box, category, level in zip(
        STRIDES, head.box, head.category, detector.neck(detector.backbone(frames)), strict=True
    ):
        graph.leave(f"box.{stride}", box.readout(box.spikes(level)), {})
        graph.leave(f"classes.{stride}", category.readout(category.spikes(level)), {})
    return graph.finished({**metadata, "step_s": str(graph.step_s)})


def _lowered(detector: SpikingDetector, graph: Graph) -> Any:
    """A copy of a detector whose layers write themselves into a graph."""
    copied = copy.deepcopy(detector).cpu().eval()
    for path, owner in list(copied.named_modules()):
        for name, child in list(owner.named_children()):
            lower = _lowering(graph, f"{path}.{name}", child)
            if lower is not None:
                setattr(owner, name, _Lowered(lower))
    return copied


def _lowering(graph: Graph, name: str, module: nn.Module) -> Callable[[Signal], Signal] | None:
    match module:
        case nn.Conv2d():
            return lambda signal: _convolution(graph, name, module, signal)
        case nn.BatchNorm2d():
            return lambda signal: _fold(graph, module, signal)
        case SpikingNeuron():
            return lambda signal: _neurons(graph, name, module, signal)
        case nn.AvgPool2d():
            return lambda signal: _averages(graph, name, module, signal)
        case nn.MaxPool2d():
            sides = {"kernel": module.kernel_size, "stride": module.stride, "padding": module.padding}
            operation = {"operation": "max_pool", **{side: str(value) for side, value in sides.items()}}
            return lambda signal: graph.by_host(name, operation, signal)
        case nn.Upsample():
            assert isinstance(module.scale_factor, float), "the detector doubles both sides"
            scale = int(module.scale_factor)
            operation = {"operation": "upsample", "mode": "nearest", "scale": str(scale)}
            return lambda signal: graph.by_host(name, operation, signal, scale=scale)
    return None


def _convolution(graph: Graph, name: str, module: nn.Conv2d, signal: Signal) -> Signal:
    import nir

    outputs = module.out_channels
    bias = np.zeros(outputs, np.float32) if module.bias is None else _array(module.bias)
    names, first = [], 0
    for number, piece in enumerate(signal.pieces):
        node = nir.Conv2d(
            (signal.height, signal.width),
            _array(module.weight[:, first : first + piece.channels]),
            module.stride,
            module.padding,
            module.dilation,
            module.groups,
            bias if number == 0 else np.zeros_like(bias),
        )
        names.append(graph.add(_numbered(name, number, signal), node, piece.sources))
        first += piece.channels
    _, height, width = node.output_type["output"]
    return Signal(graph, (Piece(tuple(names), outputs),), int(height), int(width))


def _averages(graph: Graph, name: str, module: nn.AvgPool2d, signal: Signal) -> Signal:
    import nir

    side = module.kernel_size
    assert isinstance(side, int), "the detector pools squares"
    assert (module.stride, module.padding) == (side, 0), "which lie side by side"
    sides = [np.array([number, number]) for number in (side, side, 0)]
    pieces = tuple(
        Piece((graph.add(_numbered(name, number, signal), nir.AvgPool2d(*sides), piece.sources),), piece.channels)
        for number, piece in enumerate(signal.pieces)
    )
    return Signal(graph, pieces, signal.height // side, signal.width // side)


def _fold(graph: Graph, norm: nn.BatchNorm2d, signal: Signal) -> Signal:
    """Put a batch norm into the convolutions just before it."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = _array(norm.weight / (norm.running_var + norm.eps).sqrt())
    shift = _array(norm.bias) - _array(norm.running_mean) * factor
    (piece,) = signal.pieces
    for number, name in enumerate(piece.sources):
        node = graph.nodes[name]
        node.weight = node.weight * factor[:, None, None, None]
        node.bias = node.bias * factor + (shift if number == 0 else 0)
    return signal


def _neurons(graph: Graph, name: str, neuron: SpikingNeuron, signal: Signal) -> Signal:
    pieces = [
        _fire(graph, _numbered(name, number, signal), neuron, piece, (piece.channels, signal.height, signal.width))
        for number, piece in enumerate(signal.pieces)
    ]
    return Signal(graph, tuple(pieces), signal.height, signal.width)


def _fire(graph: Graph, name: str, neuron: SpikingNeuron, piece: Piece, shape: tuple[int, int, int]) -> Piece:
    """An integrator, a comparison for each spike of a step, and what they take off the membrane one step later.

    NIR's own LIF and IF set the membrane to a value after a spike; ours keep what exceeds the threshold.
    """
    import nir

    decay, threshold = decay_of(neuron), neuron.config.threshold

    def full(value: float) -> Array:
        return np.full(shape, value, np.float32)

    if decay == 1:
        integrator = nir.I(full(1 / graph.step_s))
    else:
        integrator = nir.LI(full(graph.step_s / (1 - decay)), full(1 / (1 - decay)), full(0))
    membrane = graph.add(f"{name}.membrane", integrator, piece.sources)
    spikes = tuple(
        graph.add(f"{name}.spike{number}", nir.Threshold(full(level)), [membrane])
        for number, level in enumerate(_levels(neuron.config), start=1)
    )
    reset = graph.add(f"{name}.reset", nir.Scale(full(-decay * threshold)), spikes)
    delay = graph.add(f"{name}.delay", nir.Delay(full(graph.step_s)), [reset])
    graph.edges.append((delay, membrane))
    return Piece(spikes, piece.channels)


def _levels(config: NeuronConfig) -> list[float]:
    """The potential that the first, second, ... spike of a step exceeds."""
    below = [config.threshold]
    if config.name is NeuronName.ILIF:
        below = [(number - 0.5) * config.threshold for number in range(1, config.levels + 1)]
    # Ours fire at the threshold, NIR's above it; and where I-LIF is half-way, it rounds to the even count.
    return [
        float(np.nextafter(np.float32(level), np.float32(-np.inf)))
        if config.name is not NeuronName.ILIF or number % 2 == 0
        else level
        for number, level in enumerate(below, start=1)
    ]


def _numbered(name: str, number: int, signal: Signal) -> str:
    return name if len(signal.pieces) == 1 else f"{name}.{number}"


def _array(tensor: torch.Tensor) -> Array:
    array: Array = tensor.detach().float().numpy().copy()
    return array
