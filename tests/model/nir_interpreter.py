"""A small interpreter of NIR graphs, written from NIR's own equations: forward Euler, steps of `step_s`."""

import graphlib
from collections.abc import Callable
from typing import Any

import nir
import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

Values = dict[str, npt.NDArray[np.float32]]


def pair(sides: Any) -> tuple[int, int]:
    height, width = sides
    return int(height), int(width)


def convolved(node: nir.Conv2d, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    weight, bias = torch.from_numpy(node.weight), torch.from_numpy(node.bias)
    stride, padding, dilation = (pair(side) for side in (node.stride, node.padding, node.dilation))
    out = F.conv2d(torch.from_numpy(x)[None], weight, bias, stride, padding, dilation, int(node.groups))
    return np.asarray(out[0])


def averaged(node: nir.AvgPool2d, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    kernel, stride, padding = (pair(side) for side in (node.kernel_size, node.stride, node.padding))
    return np.asarray(F.avg_pool2d(torch.from_numpy(x)[None], kernel, stride, padding)[0])


def by_host(metadata: dict[str, Any], operands: list[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """What the docs ask the program around a graph to do."""
    if metadata["operation"] == "maximum":
        return np.maximum(*operands)
    (x,) = operands
    if metadata["operation"] == "upsample":
        return x.repeat(int(metadata["scale"]), axis=1).repeat(int(metadata["scale"]), axis=2)
    assert metadata["operation"] == "max_pool"
    kernel, stride, padding = (int(metadata[side]) for side in ("kernel", "stride", "padding"))
    return F.max_pool2d(torch.from_numpy(x)[None], kernel, stride, padding)[0].numpy()


class Interpreter:
    """Runs a graph step by step; what a Delay holds back and what an integrator has gathered stay."""

    def __init__(self, graph: nir.NIRGraph) -> None:
        self.nodes, self.step_s = graph.nodes, float(graph.metadata["step_s"])
        self.before: dict[str, list[str]] = {name: [] for name in self.nodes}
        for source, target in graph.edges:
            self.before[target].append(source)
        # A delayed value is of the step before: nothing in this step waits for it.
        waits = {name: set(self.before[name]) for name in self.nodes if not isinstance(self.nodes[name], nir.Delay)}
        for name, node in self.nodes.items():
            if isinstance(node, nir.Output) and "to" in node.metadata:
                waits[node.metadata["to"]].add(name)
        self.order = [name for name in graphlib.TopologicalSorter(waits).static_order() if name in waits]
        self.delays = [name for name, node in self.nodes.items() if isinstance(node, nir.Delay)]
        self.delayed = {name: np.zeros_like(self.nodes[name].delay) for name in self.delays}
        self.membranes: Values = {}

    def step(self, inputs: Values) -> Values:
        values: Values = dict(self.delayed)
        for name in self.order:
            values[name] = self.value(name, values, inputs)
        for name in self.delays:
            assert np.allclose(self.nodes[name].delay, self.step_s)
            self.delayed[name] = self.total(name, values)
        return {name: values[name] for name, node in self.nodes.items() if isinstance(node, nir.Output)}

    def total(self, name: str, values: Values) -> npt.NDArray[np.float32]:
        total: npt.NDArray[np.float32] = np.sum([values[source] for source in self.before[name]], axis=0)
        return total

    def value(self, name: str, values: Values, inputs: Values) -> npt.NDArray[np.float32]:
        node = self.nodes[name]
        if isinstance(node, nir.Input):
            return inputs[name] if name in inputs else self.returned(name, values)
        rules: dict[type, Callable[[Any, npt.NDArray[np.float32]], npt.NDArray[np.float32]]] = {
            nir.Conv2d: convolved,
            nir.AvgPool2d: averaged,
            nir.Output: lambda _, x: x,
            nir.Scale: lambda node, x: x * node.scale,
            nir.Threshold: lambda node, x: (x > node.threshold).astype(np.float32),
            nir.I: lambda node, x: self.integrated(name, self.step_s * node.r * x, 0, x),
            nir.LI: lambda node, x: self.integrated(
                name, self.step_s / node.tau * (node.v_leak + node.r * x), self.step_s / node.tau, x
            ),
        }
        return rules[type(node)](node, self.total(name, values))

    def integrated(self, name: str, gain: Any, leak: Any, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        membrane = self.membranes.get(name, np.zeros_like(x))
        self.membranes[name] = (membrane - leak * membrane + gain).astype(np.float32)
        return self.membranes[name]

    def returned(self, name: str, values: Values) -> npt.NDArray[np.float32]:
        """What the host answers: operands are in the order of their names, pieces of one are side by side."""
        outputs = [
            other
            for other, node in self.nodes.items()
            if isinstance(node, nir.Output) and node.metadata.get("to") == name
        ]
        which = name.replace(".result", ".operand")
        operands = []
        for number in range(2 if self.nodes[name].metadata["operation"] == "maximum" else 1):
            whole = f"{which}.{number}"
            pieces = [whole] if whole in outputs else [f"{whole}.{part}" for part in range(len(outputs))]
            operands.append(np.concatenate([values[piece] for piece in pieces if piece in outputs]))
        return by_host(self.nodes[name].metadata, operands)
