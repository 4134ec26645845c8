"""What a detector costs, stage by stage: operations, energy, memory traffic, activation memory, firing, latency."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from model.detector import SpikingDetector
from model.profiling.activation_memory import activation_bytes
from model.profiling.firing import firing_rates as firing_rates  # also a part of this module's interface
from model.profiling.latency import Latency, measure_latency
from model.profiling.operation_counts import LayerCount, count_operations

MAC_PJ = 4.6  # energy of a 32-bit floating-point multiply-accumulate, in 45 nm (Horowitz 2014)
AC_PJ = 0.9  # energy of a 32-bit floating-point addition
WARM_UP = 3  # calls before latency is timed: allocators, threads and caches settle


@dataclass(frozen=True, slots=True)
class StageProfile:
    """One stage, for one frame: a window of T time steps."""

    name: str  # as in named_modules: backbone.stages.0, neck.fine_out, head.box.2, ...
    parameters: int
    flops: float
    macs: float  # as if nothing spiked: what the ReLU twin does
    multiplied: float  # MACs of layers that read real numbers
    synops: float  # additions (AC) of layers that read spikes
    energy_pj: float
    twin_energy_pj: float
    peak_layer: str  # its dearest convolution
    peak_layer_macs: float
    cio: float  # numbers its convolutions read and write
    activation_bytes: int  # kept for the backward pass of a training step
    firing_rate: float | None  # mean count a neuron layer and step; None where it has no neurons


@dataclass(frozen=True, slots=True)
class Profile:
    """A whole detector, for one frame: a window of T time steps."""

    time_steps: int
    height: int
    width: int
    windows: int  # over which spikes were averaged
    parameters: int
    stages: tuple[StageProfile, ...]
    layers: tuple[LayerCount, ...]
    neuron_flops: float  # of the neurons' own arithmetic; in no energy
    firing_rates: dict[str, float]  # mean count a neuron and step, by neuron layer
    activation_bytes: int  # kept for the backward pass of one window
    latency: Latency | None

    @property
    def flops(self) -> float:
        """Of all convolutions."""
        return sum(stage.flops for stage in self.stages)

    @property
    def macs(self) -> float:
        """Of all convolutions, as if nothing spiked."""
        return sum(stage.macs for stage in self.stages)

    @property
    def multiplied(self) -> float:
        """MACs of layers that read real numbers: the stem's alone, unless neurons do not spike."""
        return sum(stage.multiplied for stage in self.stages)

    @property
    def synops(self) -> float:
        """Additions that spikes cause."""
        return sum(stage.synops for stage in self.stages)

    @property
    def energy_pj(self) -> float:
        """Of all convolutions."""
        return sum(stage.energy_pj for stage in self.stages)

    @property
    def twin_energy_pj(self) -> float:
        """Of the same net with ReLU for neurons."""
        return sum(stage.twin_energy_pj for stage in self.stages)

    @property
    def energy_ratio(self) -> float:
        """Energy as a share of the ReLU twin's."""
        return self.energy_pj / self.twin_energy_pj

    @property
    def energy_ratio_with_neurons(self) -> float:
        """The same, when the neurons' arithmetic is paid (half a MAC an operation) and the twin's ReLUs are free."""
        return (self.energy_pj + self.neuron_flops * MAC_PJ / 2) / self.twin_energy_pj

    @property
    def cio(self) -> float:
        """Convolutional input/output of one time step, as CSPNet counts it for one image."""
        return sum(stage.cio for stage in self.stages) / self.time_steps

    @property
    def peak_stage(self) -> StageProfile:
        """The computational bottleneck: the stage of the most MACs."""
        return max(self.stages, key=lambda stage: stage.macs)

    @property
    def peak_layer(self) -> LayerCount:
        """The convolution of the most MACs."""
        return max(self.layers, key=lambda layer: layer.macs)

    @property
    def balance(self) -> float:
        """MACs of the peak stage against the mean of all stages: 1 where all cost the same."""
        return self.peak_stage.macs * len(self.stages) / self.macs

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON values."""
        derived = {
            "flops": self.flops,
            "macs": self.macs,
            "multiplied": self.multiplied,
            "synops": self.synops,
            "energy_pj": self.energy_pj,
            "energy_pj_per_step": self.energy_pj / self.time_steps,
            "twin_energy_pj": self.twin_energy_pj,
            "energy_ratio": self.energy_ratio,
            "energy_ratio_with_neurons": self.energy_ratio_with_neurons,
            "cio_per_step": self.cio,
            "peak_stage": self.peak_stage.name,
            "peak_stage_macs": self.peak_stage.macs,
            "peak_layer": self.peak_layer.name,
            "peak_layer_macs": self.peak_layer.macs,
            "balance": self.balance,
        }
        return {**asdict(self), **derived}


def profile_detector(detector: SpikingDetector, frames_TBCHW: torch.Tensor, latency_runs: int = 0) -> Profile:
    """Profile a detector on B windows; spikes are averaged over them, all else does not depend on what they show.

    Operations and memory are counted on copies on the CPU; latency is timed on the detector's own device, if
    `latency_runs` is above 0. The detector stays as it is.
    """
    counts = count_operations(detector, frames_TBCHW)
    names = list(dict.fromkeys(stage_of(detector, layer.name) for layer in counts.layers))
    saved = activation_bytes(detector, frames_TBCHW[:, :1], names)
    T, B, _, H, W = frames_TBCHW.shape
    return Profile(
        time_steps=T,
        height=H,
        width=W,
        windows=B,
        parameters=_parameters(detector),
        stages=tuple(
            _stage(
                name,
                _parameters(detector.get_submodule(name)),
                [layer for layer in counts.layers if stage_of(detector, layer.name) == name],
                saved[name],
                [rate for neuron, rate in counts.firing_rates.items() if neuron.startswith(f"{name}.")],
            )
            for name in names
        ),
        layers=counts.layers,
        neuron_flops=counts.neuron_flops,
        firing_rates=counts.firing_rates,
        activation_bytes=sum(saved.values()),
        latency=measure_latency(detector, frames_TBCHW, latency_runs, WARM_UP) if latency_runs else None,
    )


def stage_of(detector: nn.Module, name: str) -> str:
    """The stage of a layer: a child of backbone, neck or head; of a list of modules, one of its items."""
    parts = name.split(".")
    child = ".".join(parts[:2])
    return ".".join(parts[:3]) if isinstance(detector.get_submodule(child), nn.ModuleList) else child


def _stage(name: str, parameters: int, layers: list[LayerCount], saved_bytes: int, rates: list[float]) -> StageProfile:
    peak = max(layers, key=lambda layer: layer.macs)
    multiplied = _sum(layer.multiplied for layer in layers)
    synops = _sum(layer.accumulated for layer in layers)
    macs = _sum(layer.macs for layer in layers)
    return StageProfile(
        name=name,
        parameters=parameters,
        flops=_sum(layer.flops for layer in layers),
        macs=macs,
        multiplied=multiplied,
        synops=synops,
        energy_pj=MAC_PJ * multiplied + AC_PJ * synops,
        twin_energy_pj=MAC_PJ * macs,
        peak_layer=peak.name,
        peak_layer_macs=peak.macs,
        cio=_sum(layer.cio for layer in layers),
        activation_bytes=saved_bytes,
        firing_rate=sum(rates) / len(rates) if rates else None,
    )


def _sum(values: Iterable[float]) -> float:
    return sum(values, 0.0)


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
