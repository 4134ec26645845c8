"""What each convolution of a detector does, counted by SpikingJelly's counters while the detector runs."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from spikingjelly.activation_based.op_counter import DispatchCounterMode, FlopCounter, SynOpCounter
from spikingjelly.activation_based.op_counter.base import BaseCounter
from torch import nn

from model.profiling.eager import neurons_run_eagerly
from model.profiling.firing import firing_watched

_aten = torch.ops.aten
_CONVOLUTION = _aten.convolution.default
Arguments = tuple[Any, ...]  # of torch's convolution: input, weight, bias, ...
Keywords = dict[str, Any]
Rule = Callable[[Arguments, Keywords, torch.Tensor], int]


@dataclass(frozen=True, slots=True)
class LayerCount:
    """One convolution, of one window of T steps. Batch norm is folded into it, as it is at inference."""

    name: str  # as in named_modules
    flops: float  # a multiplication and an addition of each MAC, and the additions of the bias
    macs: float  # multiply-accumulates if every input were a real number, as in the ReLU twin
    multiplied: float  # MACs that remain: all where the input is real numbers, none where it is spikes
    accumulated: float  # additions instead: MACs times the mean count of the input spikes
    cio: float  # numbers read as input and written as output (convolutional input/output, CSPNet)


@dataclass(frozen=True, slots=True)
class OperationCounts:
    """What one window costs, and how often neurons fired in it."""

    layers: tuple[LayerCount, ...]
    neuron_flops: float  # arithmetic of the neurons as it runs eagerly
    firing_rates: dict[str, float]  # mean count a neuron and step, by neuron layer


def count_operations(detector: nn.Module, frames_TBCHW: torch.Tensor) -> OperationCounts:
    """Means over the B windows, counted on a copy in evaluation mode on the CPU, one window after the other.

    Counts are those of the detector as it is trained; its spike-driven copy does the same additions in D slots.
    """
    counted = copy.deepcopy(detector).cpu().eval()
    counters = _Counters()
    with (
        torch.no_grad(),
        neurons_run_eagerly(),
        firing_watched(counted) as rates,
        DispatchCounterMode([*vars(counters).values()]),
    ):
        for window in frames_TBCHW.cpu().split(1, dim=1):
            counted(window)
    return counters.read(counted, frames_TBCHW.shape[1], rates)


class _ConvolutionCounter(BaseCounter):
    """Counts convolutions alone, by one rule."""

    def __init__(self, rule: Rule) -> None:
        super().__init__()
        self.rules = {_CONVOLUTION: rule}


class _Counters:
    """SpikingJelly's counters, with rules of our own where its own do not fit."""

    def __init__(self) -> None:
        # Its FLOPs lack two of I-LIF's elementwise steps.
        self.flops = FlopCounter(extra_rules={_aten.clamp.default: _elementwise, _aten.round.default: _elementwise})
        # Its SynOps take an input for spikes only where all of it is 0 or 1; I-LIF's count of 3 is three additions.
        self.accumulated = SynOpCounter(extra_rules={_CONVOLUTION: _accumulations})
        # Its MACs are those of layers whose input is not all 0 and 1, whatever else I-LIF's counts are.
        self.multiplied = _ConvolutionCounter(_multiplications)
        self.macs = _ConvolutionCounter(_macs)
        # Its memory access counts bytes, those of weights as well; CSPNet's CIO does not.
        self.cio = _ConvolutionCounter(_traffic)

    def read(self, counted: nn.Module, windows: int, rates: dict[str, float]) -> OperationCounts:
        """What was counted, for each of so many windows."""

        def each(counter: BaseCounter, name: str) -> float:
            return float(sum(counter.records[f"{type(counted).__name__}.{name}"].values()) / windows)

        names = [name for name, module in counted.named_modules() if isinstance(module, nn.Conv2d)]
        # Frames are whole numbers too, but no spikes: events counted, or how late the last one was.
        reads_frames = names[0]
        layers = (
            LayerCount(
                name=name,
                flops=each(self.flops, name),
                macs=each(self.macs, name),
                multiplied=each(self.macs if name == reads_frames else self.multiplied, name),
                accumulated=0.0 if name == reads_frames else each(self.accumulated, name),
                cio=each(self.cio, name),
            )
            for name in names
        )
        return OperationCounts(tuple(layers), sum(each(self.flops, name) for name in rates), dict(rates))


def _macs(args: Arguments, _: Keywords, out: torch.Tensor) -> int:
    weight: torch.Tensor = args[1]
    return out.numel() * weight[0].numel()


def _multiplications(args: Arguments, keywords: Keywords, out: torch.Tensor) -> int:
    return 0 if _are_spikes(args[0]) else _macs(args, keywords, out)


def _accumulations(args: Arguments, keywords: Keywords, out: torch.Tensor) -> int:
    x: torch.Tensor = args[0]
    return round(_macs(args, keywords, out) * float(x.mean(dtype=torch.float64))) if _are_spikes(x) else 0


def _traffic(args: Arguments, _: Keywords, out: torch.Tensor) -> int:
    x: torch.Tensor = args[0]
    return x.numel() + out.numel()


def _elementwise(_: Arguments, __: Keywords, out: torch.Tensor) -> int:
    return out.numel()


def _are_spikes(x: torch.Tensor) -> bool:
    return bool(((x >= 0) & (x == x.round())).all())
