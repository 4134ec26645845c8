"""Operations, traffic and memory against pencil and paper, and against SpikingJelly's own counters where they apply."""

import pytest
import torch
from spikingjelly.activation_based import layer
from spikingjelly.activation_based.op_counter import (
    DispatchCounterMode,
    FlopCounter,
    MemoryAccessCounter,
    SynOpCounter,
)
from torch import nn

from data.representation import RepresentationConfig
from model.detector import SpikingDetector
from model.neuron_config import NeuronConfig, NeuronName
from model.neurons import Dynamics, SpikingNeuron, neuron_factory
from model.profiling.activation_memory import BETWEEN, activation_bytes
from model.profiling.firing import firing_rates
from model.profiling.operation_counts import LayerCount, count_operations
from model.profiling.untrained import synthetic_frames, untrained_detector
from model.spike_driven import spike_driven
from model.trial_config import TrialConfig

T = 2


class Emitting(SpikingNeuron):
    """Fires the counts it was given, whatever comes in."""

    def __init__(self, counts: torch.Tensor) -> None:
        super().__init__(
            NeuronConfig(), Dynamics(lambda _, start: (counts.flatten(1), start), lambda _: counts.flatten(1))
        )


class Tiny(nn.Module):
    """A 3x3 stem from 1 to 2 channels, a neuron, and a 1x1 readout with bias to 3."""

    def __init__(self, neuron: nn.Module) -> None:
        super().__init__()
        self.stem = layer.Conv2d(1, 2, 3, 1, 1, bias=False, step_mode="m")
        self.neuron = neuron
        self.readout = layer.Conv2d(2, 3, 1, step_mode="m")

    def forward(self, frames_TBCHW: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.readout(self.neuron(self.stem(frames_TBCHW.float())))
        return out


def tiny_layers(counts: torch.Tensor) -> dict[str, LayerCount]:
    frames = torch.randint(0, 4, (T, 1, 1, 4, 4), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return {each.name: each for each in count_operations(Tiny(Emitting(counts)), frames).layers}


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    return synthetic_frames(RepresentationConfig(), 4, 2, 64, 96, seed=3)


@pytest.fixture(scope="module")
def detector(frames: torch.Tensor) -> SpikingDetector:
    return untrained_detector(TrialConfig(), 3, frames)


def test_a_stem_that_reads_frames_multiplies() -> None:
    stem = tiny_layers(torch.full((T, 1, 2, 4, 4), 3.0))["stem"]
    assert stem.macs == 2 * 16 * T * 9  # outputs times a 3x3 kernel of one channel
    assert stem.flops == 2 * stem.macs
    assert (stem.multiplied, stem.accumulated) == (stem.macs, 0)
    assert stem.cio == T * (16 + 2 * 16)


def test_a_layer_that_reads_counts_adds_as_often_as_they_say() -> None:
    readout = tiny_layers(torch.full((T, 1, 2, 4, 4), 3.0))["readout"]
    assert readout.macs == 3 * 16 * T * 2
    assert readout.flops == 2 * readout.macs + 3 * 16 * T  # and the bias of each output
    assert (readout.multiplied, readout.accumulated) == (0, 3 * readout.macs)
    assert readout.cio == T * (2 * 16 + 3 * 16)


def test_a_count_of_three_is_three_additions_into_each_output() -> None:
    counts = torch.zeros(T, 1, 2, 4, 4)
    counts[1, 0, 1, 2, 3] = 3
    assert tiny_layers(counts)["readout"].accumulated == 3 * 3


def test_silent_neurons_cost_nothing() -> None:
    readout = tiny_layers(torch.zeros(T, 1, 2, 4, 4))["readout"]
    assert (readout.multiplied, readout.accumulated) == (0, 0)


@pytest.mark.parametrize("value", [0.5, -1.0])
def test_what_is_no_count_is_multiplied(value: float) -> None:
    readout = tiny_layers(torch.full((T, 1, 2, 4, 4), value))["readout"]
    assert (readout.multiplied, readout.accumulated) == (readout.macs, 0)


def test_counts_are_means_over_windows() -> None:
    counts = torch.full((T, 1, 2, 4, 4), 2.0)
    one, two = (count_operations(Tiny(Emitting(counts)), torch.zeros(T, windows, 1, 4, 4)) for windows in (1, 2))
    assert one == two
    assert one.firing_rates == {"neuron": 2.0}


def test_neurons_arithmetic_is_told_apart_and_a_relus_is_free() -> None:
    frames = torch.zeros(T, 1, 1, 4, 4)
    of_ilif, of_relu = (
        count_operations(Tiny(neuron_factory(NeuronConfig(name=name), T)()), frames).neuron_flops
        for name in (NeuronName.ILIF, NeuronName.RELU)
    )
    # At least to forget, add, divide by the threshold, clip, round and subtract, each neuron and step.
    assert of_ilif >= 6 * T * 2 * 16
    assert of_relu == 0


def test_synops_of_pointwise_layers_equal_spikingjellys_on_binary_slots(
    detector: SpikingDetector, frames: torch.Tensor
) -> None:
    theirs = SynOpCounter()
    with torch.no_grad(), DispatchCounterMode([theirs]):
        spike_driven(detector)(frames[:, :1])
    ours = count_operations(detector, frames[:, :1]).layers
    pointwise = [each for each in ours if detector.get_submodule(each.name).kernel_size == (1, 1)]
    expected = {each.name: sum(theirs.records[f"SpikingDetector.{each.name}.unbiased"].values()) for each in pointwise}
    assert len(pointwise) > 10
    assert sum(expected.values()) > 0
    assert {each.name: each.accumulated for each in pointwise} == expected


def test_flops_and_traffic_equal_what_spikingjellys_counters_say(
    detector: SpikingDetector, frames: torch.Tensor
) -> None:
    flops, access = FlopCounter(), MemoryAccessCounter()
    with torch.no_grad(), DispatchCounterMode([flops, access]):
        detector(frames[:, :1])
    for each in count_operations(detector, frames[:, :1]).layers:
        scope = f"SpikingDetector.{each.name}"
        weights = sum(parameter.numel() for parameter in detector.get_submodule(each.name).parameters())
        assert each.flops == sum(flops.records[scope].values())
        assert each.cio == sum(access.records[scope].values()) / 4 - weights  # bytes of float32


def test_macs_of_every_layer_follow_from_its_shape(detector: SpikingDetector, frames: torch.Tensor) -> None:
    expected: dict[str, int] = {}

    def watch(name: str, convolution: nn.Conv2d) -> None:
        def note(_: nn.Module, __: object, out: torch.Tensor) -> None:
            steps, _windows, outputs, height, width = out.shape
            height_of_kernel, width_of_kernel = convolution.kernel_size
            expected[name] = (
                steps * outputs * height * width * convolution.in_channels * height_of_kernel * width_of_kernel
            )

        handles.append(convolution.register_forward_hook(note))

    handles: list[torch.utils.hooks.RemovableHandle] = []
    for name, module in detector.named_modules():
        if isinstance(module, nn.Conv2d):
            watch(name, module)
    with torch.no_grad():
        detector(frames)
    for handle in handles:
        handle.remove()
    assert {each.name: each.macs for each in count_operations(detector, frames).layers} == expected


def test_firing_rates_are_the_mean_counts_of_each_layer() -> None:
    counts = torch.zeros(T, 1, 2, 4, 4)
    counts[0, 0, 0] = 4  # a quarter of the neurons and steps
    net = Tiny(Emitting(counts)).train()
    assert firing_rates(net, torch.zeros(T, 1, 1, 4, 4)) == {"neuron": 1.0}
    assert net.training
    assert not net.neuron._forward_hooks


def test_a_training_step_keeps_what_two_operations_need_only_once() -> None:
    net = Tiny(neuron_factory(NeuronConfig(name=NeuronName.RELU), T)())
    saved = activation_bytes(net, torch.ones(T, 1, 1, 4, 4, dtype=torch.uint8), ("stem", "neuron", "readout"))
    # The stem keeps its input, the ReLU its output, which is the readout's input too; float32 has 4 bytes.
    assert saved == {"stem": 4 * T * 16, "neuron": 4 * T * 2 * 16, "readout": 0, BETWEEN: 0}


def test_synthetic_frames_have_the_stated_share_of_busy_cells_and_come_back_from_their_seed() -> None:
    first, again, other = (synthetic_frames(RepresentationConfig(), 4, 2, 128, 256, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    # 524,288 cells: five standard deviations of the share are 0.0015.
    assert (first > 0).double().mean().item() == pytest.approx(0.05, abs=0.0015)
    assert first.dtype == torch.uint8


def test_signed_frames_and_surfaces_hold_what_theirs_hold() -> None:
    signed, surface = (
        synthetic_frames(RepresentationConfig.parse({"name": name}, "here"), 2, 1, 64, 64, seed=0)
        for name in ("diff3d", "time_surface")
    )
    assert signed.dtype == torch.int8
    assert signed.shape == (2, 1, 1, 64, 64)
    assert set(signed.unique().tolist()) == {-3, -2, -1, 0, 1, 2, 3}
    assert surface.dtype == torch.uint8
    assert surface.max() > 200


def test_an_untrained_detector_fires_and_leaves_the_random_numbers_as_they_were(frames: torch.Tensor) -> None:
    before = torch.get_rng_state()
    detector = untrained_detector(TrialConfig(), 3, frames)
    assert torch.equal(before, torch.get_rng_state())
    assert all(rate > 0.01 for rate in firing_rates(detector, frames).values())
    assert {module.momentum for module in detector.modules() if isinstance(module, nn.BatchNorm2d)} == {0.1}
