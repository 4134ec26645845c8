"""The backbones: shapes, who reads what, and what goes round."""

from typing import Any

import pytest
import torch
from torch import nn

from model.backbone import BackboneName, make_backbone
from model.blocks import CrossStagePartial, Maxout
from model.dense import DenseStage, TwoWayDense
from model.sizes import Preset, detector_size
from tests.model.marking import MarkingNeurons, assert_convolutions_read_neurons

WIDTHS = (8, 16, 24, 40)
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
every_backbone = pytest.mark.parametrize("name", BackboneName)


@pytest.fixture(autouse=True)
def same_weights_every_time() -> None:
    torch.manual_seed(0)


def frames(seed: int = 0) -> torch.Tensor:
    return torch.rand(2, 3, 2, 64, 96, generator=torch.Generator().manual_seed(seed)) * 10


def parameters(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


@every_backbone
@pytest.mark.parametrize("depth", [1, 2])
def test_levels_have_strides_8_16_32_and_the_widths_asked_for(name: BackboneName, depth: int) -> None:
    pyramid = make_backbone(name, nn.ReLU, 2, WIDTHS, depth)(frames())
    assert [tuple(level.shape) for level in pyramid] == [(2, 3, 16, 8, 12), (2, 3, 24, 4, 6), (2, 3, 40, 2, 3)]


@every_backbone
def test_stage_by_stage_a_backbone_is_what_it_is_at_once(name: BackboneName) -> None:
    backbone = make_backbone(name, nn.ReLU, 2, WIDTHS, 1).eval()
    assert len(backbone.stages) == 3
    x, levels = backbone.stem(frames()), []
    assert x.shape == (2, 3, 8, 16, 24)
    for stage in backbone.stages:
        x = stage(x)
        levels.append(x)
    levels[-1] = backbone.context(x)
    for by_stage, at_once in zip(levels, backbone(frames()), strict=True):
        torch.testing.assert_close(by_stage, at_once)


@every_backbone
def test_every_convolution_but_the_stem_reads_what_one_neuron_emitted(name: BackboneName) -> None:
    neurons = MarkingNeurons()
    backbone = make_backbone(name, neurons, 2, WIDTHS, 2)
    assert_convolutions_read_neurons(backbone, neurons, frames(), but={"stem.0"})


@every_backbone
def test_every_weight_learns(name: BackboneName) -> None:
    backbone = make_backbone(name, nn.ReLU, 2, WIDTHS, 2)
    sum(level.square().mean() + level.mean() for level in backbone(frames())).backward()
    silent = [key for key, weight in backbone.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert silent == []


@every_backbone
def test_depth_adds_weights_to_every_stage(name: BackboneName) -> None:
    shallow, deep = (make_backbone(name, nn.ReLU, 2, WIDTHS, depth) for depth in (1, 2))
    for once, twice in zip(shallow.stages, deep.stages, strict=True):
        assert parameters(twice) > parameters(once)
    assert parameters(deep.context) == parameters(shallow.context)


@pytest.mark.parametrize("preset", Preset)
def test_the_dense_backbone_weighs_about_what_the_cross_stage_partial_one_does(preset: Preset) -> None:
    widths, depth = detector_size(preset)
    with torch.device("meta"):
        csp, dense = (
            parameters(make_backbone(name, nn.ReLU, 2, widths, depth))
            for name in (BackboneName.CSP, BackboneName.DENSE)
        )
    assert 0.75 < dense / csp < 1.25


def test_the_default_backbone_keeps_the_keys_checkpoints_were_written_with() -> None:
    def layer(place: str, conv: int) -> list[str]:
        return [f"{place}.{conv}.weight"] + [f"{place}.{conv + 1}.{key}" for key in NORM]

    expected = layer("stem", 0)
    for stage in range(3):
        expected += layer(f"stages.{stage}.0", 1) + layer(f"stages.{stage}.1.split", 1)
        for block in range(2):
            for step in range(2):
                expected += layer(f"stages.{stage}.1.blocks.{block}.branch.{step}", 1)
        expected += layer(f"stages.{stage}.1.merge", 1)
    expected += layer("context.reduce", 1) + layer("context.merge", 1)
    assert list(make_backbone(BackboneName.CSP, nn.ReLU, 2, WIDTHS, 2).state_dict()) == expected


def test_half_the_channels_go_round_the_blocks_untouched() -> None:
    stage = CrossStagePartial(nn.ReLU, 16, 16, 2).eval()
    split: list[torch.Tensor] = []
    joined: list[torch.Tensor] = []
    stage.split.register_forward_hook(lambda *call: split.append(call[-1]))
    stage.merge.register_forward_pre_hook(lambda _, inputs: joined.append(inputs[0]))
    stage(torch.rand(2, 1, 16, 4, 6))
    assert torch.equal(joined[0][:, :, :8], split[0][:, :, :8])
    assert not torch.allclose(joined[0][:, :, 8:], split[0][:, :, 8:])


def test_the_plain_stage_runs_its_blocks_at_full_width() -> None:
    # The strided 3x3 from 8 to 16 channels, then per block two 3x3 layers of 16; a norm has two weights a channel.
    strided, block = 8 * 16 * 9 + 2 * 16, 2 * (16 * 16 * 9 + 2 * 16)
    backbone = make_backbone(BackboneName.PLAIN, nn.ReLU, 2, WIDTHS, 3)
    assert parameters(backbone.stages[0]) == strided + 3 * block


def test_a_dense_layer_passes_on_what_came_in_and_adds_its_growth() -> None:
    dense = TwoWayDense(nn.ReLU, 12, 6)
    x = torch.randn(2, 1, 12, 4, 6)
    y = dense(x)
    assert y.shape == (2, 1, 18, 4, 6)
    assert torch.equal(y[:, :, :12], x)


def test_the_two_ways_of_a_dense_layer_see_three_and_five_cells() -> None:
    dense = TwoWayDense(nn.Identity, 4, 2).eval()
    for weight in dense.parameters():
        nn.init.ones_(weight)
    x = torch.zeros(1, 1, 4, 9, 9, requires_grad=True)
    for channel, seen in ((4, 3), (5, 5)):
        (gradient,) = torch.autograd.grad(dense(x)[0, 0, channel, 4, 4], x)
        assert gradient[0, 0, 0].count_nonzero() == seen**2


def test_each_dense_layer_reads_all_layers_before_it() -> None:
    stage: Any = DenseStage(nn.ReLU, 8, 16, 1)  # growth 16 / 4, 2 + 2 x 1 layers
    bottlenecks = [dense.bottleneck[1].in_channels for dense in stage[1]]
    assert bottlenecks == [8, 12, 16, 20]
    assert stage[2][1].in_channels == 24


def test_maxout_keeps_the_greater_of_each_pair() -> None:
    x = torch.tensor([1.0, -2.0, 0.5, 3.0]).view(1, 1, 4, 1, 1)  # pairs (1, 0.5) and (-2, 3)
    assert Maxout()(x).flatten().tolist() == [1.0, 3.0]
