"""A graph of NIR's primitives (neuroir.org), built by running a detector's modules on signals instead of tensors.

NIR has no joining and no cutting of channels. Neither is needed: neurons act on each channel alone, and a convolution
of joined channels is the sum of convolutions of the parts, which edges into one node are.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from data.errors import ConfigError

if TYPE_CHECKING:
    import nir

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Piece:
    """Channels whose values are the sum of what some nodes say."""

    sources: tuple[str, ...]
    channels: int


@dataclass(frozen=True, slots=True)
class Signal:
    """What stands where a tensor `[T, B, C, H, W]` would: pieces side by side along C."""

    graph: "Graph"
    pieces: tuple[Piece, ...]
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        return 1, 1, sum(piece.channels for piece in self.pieces), self.height, self.width

    def chunk(self, chunks: int, dim: int) -> list["Signal"]:
        """Equal parts of the channels."""
        assert dim == 2, "only channels are cut"
        step = self.shape[2] // chunks
        return [self[:, :, start : start + step] for start in range(0, self.shape[2], step)]

    def flatten(self, *_: int) -> "Signal":
        """The same: a signal is one step of one row, as a sequence and as a picture."""
        return self

    def unflatten(self, *_: object) -> "Signal":
        """The same."""
        return self

    def __getitem__(self, key: tuple[slice, slice, slice]) -> "Signal":
        start, stop, _ = key[2].indices(self.shape[2])
        pieces, first = [], 0
        for piece in self.pieces:
            low, high = max(start - first, 0), min(stop - first, piece.channels)
            if low < high:
                pieces.append(self.graph.cut(piece, low, high))
            first += piece.channels
        return Signal(self.graph, tuple(pieces), self.height, self.width)

    def __add__(self, other: "Signal") -> "Signal":
        ends = sorted({end for signal in (self, other) for end in accumulate(p.channels for p in signal.pieces)})
        pieces = []
        for start, stop in zip([0, *ends], ends, strict=False):
            (ours,), (theirs,) = self[:, :, start:stop].pieces, other[:, :, start:stop].pieces
            pieces.append(Piece((*ours.sources, *theirs.sources), stop - start))
        return Signal(self.graph, tuple(pieces), self.height, self.width)

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: object, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> "Signal":
        if function is torch.cat:
            parts: list[Signal] = args[0]
            pieces = tuple(piece for part in parts for piece in part.pieces)
            return Signal(parts[0].graph, pieces, parts[0].height, parts[0].width)
        if function is torch.maximum:
            first: Signal
            first, second = args
            return first.graph.by_host("maximum", {"operation": "maximum"}, first, second)
        raise ConfigError(f"NIR has no primitive for {function.__name__}; export to onnx or torchscript instead")


class Graph:
    """Nodes and edges so far. `step_s` is the length of a time step, which makes NIR's equations those of the net."""

    def __init__(self, step_s: float) -> None:
        self.step_s = step_s
        self.nodes: dict[str, nir.NIRNode] = {}
        self.edges: list[tuple[str, str]] = []

    def add(self, name: str, node: "nir.NIRNode", sources: Iterable[str]) -> str:
        """A node that reads the sum of its sources."""
        assert name not in self.nodes, f"two nodes named {name}"
        self.nodes[name] = node
        self.edges.extend((source, name) for source in sources)
        return name

    def cut(self, piece: Piece, start: int, stop: int) -> Piece:
        """Some channels of a piece: those rows of the convolutions that make it."""
        import nir

        if (start, stop) == (0, piece.channels):
            return piece
        parts = []
        for source in piece.sources:
            whole = self.nodes[source]
            assert isinstance(whole, nir.Conv2d), "only what convolutions made is cut"
            name = f"{source}[{start}:{stop}]"
            if name not in self.nodes:
                kwargs = {**vars(whole), "weight": whole.weight[start:stop], "bias": whole.bias[start:stop]}
                fields = ("input_shape", "weight", "stride", "padding", "dilation", "groups", "bias")
                part = nir.Conv2d(**{field: kwargs[field] for field in fields})
                self.add(name, part, [before for before, after in self.edges if after == source])
            parts.append(name)
        return Piece(tuple(parts), stop - start)

    def enter(self, name: str, channels: int, height: int, width: int, metadata: dict[str, str]) -> Signal:
        """Something that comes from outside."""
        import nir

        node = nir.Input({"input": np.array([channels, height, width])}, metadata=metadata)
        return Signal(self, (Piece((self.add(name, node, ()),), channels),), height, width)

    def leave(self, name: str, signal: Signal, metadata: dict[str, str]) -> None:
        """Something that is wanted outside; a signal of several pieces leaves as NAME.0, NAME.1, ..."""
        import nir

        for number, piece in enumerate(signal.pieces):
            node = nir.Output({"output": np.array([piece.channels, signal.height, signal.width])}, metadata=metadata)
            self.add(name if len(signal.pieces) == 1 else f"{name}.{number}", node, piece.sources)

    def by_host(self, name: str, operation: dict[str, str], *signals: Signal, scale: int = 1) -> Signal:
        """What NIR has no primitive for: operands leave the graph, and the result comes back in the same time step."""
        number = sum(1 for node in self.nodes if node.startswith(f"{name}.result"))
        place = f"{name}.result{number}"
        operands = [f"{name}.operand{number}.{which}" for which in range(len(signals))]
        for operand, signal in zip(operands, signals, strict=True):
            self.leave(operand, signal, {"to": place})
        _, _, channels, height, width = signals[0].shape
        return self.enter(place, channels, height * scale, width * scale, operation)

    def finished(self, metadata: dict[str, str]) -> "nir.NIRGraph":
        """The graph without what nobody reads.

        Raises:
            ValueError: shapes on both ends of an edge differ.
        """
        import nir

        wanted = {name for name, node in self.nodes.items() if isinstance(node, nir.Output)}
        while more := {before for before, after in self.edges if after in wanted} - wanted:
            wanted |= more
        nodes = {name: node for name, node in self.nodes.items() if name in wanted}
        edges = [(before, after) for before, after in self.edges if after in wanted]
        return nir.NIRGraph(nodes, edges, metadata)
