"""The necks: which level hears of which, and how."""

from typing import Any

import pytest
import torch
from torch import nn

from model.neck import NeckName, PartialResidual, add_to_first, make_neck
from tests.model.marking import MarkingNeurons, assert_convolutions_read_neurons

WIDTHS = (8, 16, 24)
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
every_neck = pytest.mark.parametrize("name", NeckName)
# For each output level, the input levels it may depend on: fine, middle, coarse.
HEARS = {
    NeckName.PAN: ("fmc", "fmc", "fmc"),
    NeckName.FPN: ("fmc", "mc", "c"),
    NeckName.EFM: ("fm", "fmc", "mc"),
    NeckName.PRN: ("fmc", "mc", "c"),
}


@pytest.fixture(autouse=True)
def same_weights_every_time() -> None:
    torch.manual_seed(0)


def pyramid() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = ((8, 12), (4, 6), (2, 3))
    return [
        torch.randn(2, 3, width, *size, generator=generator, requires_grad=True)
        for width, size in zip(WIDTHS, sizes, strict=True)
    ]


@every_neck
@pytest.mark.parametrize("depth", [1, 2])
def test_a_neck_keeps_the_shape_of_every_level(name: NeckName, depth: int) -> None:
    levels = pyramid()
    out = make_neck(name, nn.ReLU, WIDTHS, depth)(levels)
    assert [level.shape for level in out] == [level.shape for level in levels]


@every_neck
def test_each_level_hears_of_exactly_the_levels_its_architecture_names(name: NeckName) -> None:
    levels = pyramid()
    # Running statistics, or the sum over a normalised channel would be constant.
    out = make_neck(name, nn.ReLU, WIDTHS, 1).eval()(levels)
    heard = []
    for level in out:
        gradients = torch.autograd.grad(level.sum(), levels, retain_graph=True, allow_unused=True)
        heard.append(
            "".join(letter for letter, g in zip("fmc", gradients, strict=True) if g is not None and bool(g.any()))
        )
    assert tuple(heard) == HEARS[name]


@every_neck
def test_every_convolution_of_a_neck_reads_what_one_neuron_emitted(name: NeckName) -> None:
    neurons = MarkingNeurons()
    assert_convolutions_read_neurons(make_neck(name, neurons, WIDTHS, 2), neurons, pyramid(), but=set())


@every_neck
def test_every_weight_of_a_neck_learns(name: NeckName) -> None:
    neck = make_neck(name, nn.ReLU, WIDTHS, 2)
    sum(level.square().mean() + level.mean() for level in neck(pyramid())).backward()
    silent = [key for key, weight in neck.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert silent == []


@every_neck
def test_depth_adds_weights_to_a_neck(name: NeckName) -> None:
    shallow, deep = (
        sum(weight.numel() for weight in make_neck(name, nn.ReLU, WIDTHS, depth).parameters()) for depth in (1, 2)
    )
    assert deep > shallow


def test_the_default_neck_keeps_the_keys_checkpoints_were_written_with() -> None:
    def layer(place: str) -> list[str]:
        return [f"{place}.1.weight"] + [f"{place}.2.{key}" for key in NORM]

    def stage(place: str) -> list[str]:
        block = layer(f"{place}.blocks.0.branch.0") + layer(f"{place}.blocks.0.branch.1")
        return layer(f"{place}.split") + block + layer(f"{place}.merge")

    expected = stage("middle_down") + stage("fine_out") + layer("fine_up")
    expected += stage("middle_out") + layer("middle_up") + stage("coarse_out")
    assert list(make_neck(NeckName.PAN, nn.ReLU, WIDTHS, 1).state_dict()) == expected


@pytest.mark.parametrize("name", [NeckName.FPN, NeckName.PRN])
def test_a_top_down_neck_leaves_the_coarsest_level_as_it_is(name: NeckName) -> None:
    levels = pyramid()
    assert torch.equal(make_neck(name, nn.ReLU, WIDTHS, 1)(levels)[2], levels[2])


def test_exact_fusion_halves_what_its_joined_levels_are_compressed_to_by_maxout() -> None:
    neck: Any = make_neck(NeckName.EFM, nn.ReLU, WIDTHS, 1)
    layers = [
        (stage[0][1].in_channels, stage[0][1].out_channels, stage[2].split[1].in_channels)
        for stage in (neck.fine_out, neck.middle_out, neck.coarse_out)
    ]
    assert layers == [(8 + 16, 2 * 8, 8), (8 + 16 + 24, 2 * 16, 16), (16 + 24, 2 * 24, 24)]


def test_adding_to_the_first_channels_leaves_the_others_alone() -> None:
    x = torch.tensor([1.0, 2.0, 3.0]).view(1, 1, 3, 1, 1)
    addend = torch.tensor([10.0, 20.0]).view(1, 1, 2, 1, 1)
    assert add_to_first(x, addend).flatten().tolist() == [11.0, 22.0, 3.0]
    assert x.flatten().tolist() == [1.0, 2.0, 3.0]


def test_the_partial_residual_adds_to_half_of_a_finer_level_and_nothing_to_the_rest() -> None:
    neck = PartialResidual(nn.ReLU, WIDTHS, 1).eval()
    entered: dict[str, torch.Tensor] = {}
    came_down: dict[str, torch.Tensor] = {}
    for key, down, out in (("middle", neck.coarse_down, neck.middle_out), ("fine", neck.middle_down, neck.fine_out)):
        down.register_forward_hook(lambda *call, key=key: came_down.update({key: call[-1]}))
        out.register_forward_pre_hook(lambda _, inputs, key=key: entered.update({key: inputs[0]}))
    fine, middle, _ = levels = pyramid()
    neck(levels)
    for key, level, half in (("middle", middle, 8), ("fine", fine, 4)):
        repeated = came_down[key].repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2)  # nearest, by two
        torch.testing.assert_close(entered[key][:, :, :half], level[:, :, :half] + repeated)
        assert torch.equal(entered[key][:, :, half:], level[:, :, half:])
