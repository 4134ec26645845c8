import copy
from typing import Any

import pytest
import torch
from torch import nn

from data.batches import Batch
from data.dataset import Dataset
from data.errors import ConfigError
from data.loading import LoadingPlan, TrainingLoader
from data.manifest import Split
from model.initial import initial_detector
from model.loss import DetectionLoss
from model.neuron_config import NeuronName
from model.training.config import Precision
from model.training.precision import FIRST_SCALE, Numerics, checked, resolve_precision
from model.trial_config import TrialConfig

CPU = torch.device("cpu")


def asking(precision: str, **leaves: Any) -> TrialConfig:
    named = {key.replace("__", "."): value for key, value in leaves.items()}
    return TrialConfig().with_leaves({"training.precision": precision, "data.time_steps": 2, **named}, "test")


@pytest.mark.parametrize(
    ("capabilities", "chosen"),
    [
        ({"avx512_f": True}, Precision.FP32),
        ({"avx512_bf16": True}, Precision.BF16),
        ({"amx_bf16": True}, Precision.BF16),
    ],
)
def test_auto_is_bf16_on_a_cpu_that_has_instructions_for_it(
    capabilities: dict[str, bool], chosen: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert resolve_precision(asking("auto"), CPU) is chosen


@pytest.mark.parametrize(("capability", "chosen"), [((7, 5), Precision.FP32), ((8, 0), Precision.BF16)])
def test_auto_is_bf16_on_a_gpu_that_has_it_in_hardware(
    capability: tuple[int, int], chosen: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert resolve_precision(asking("auto"), torch.device("cuda")) is chosen


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16, Precision.FP16])
def test_a_precision_that_is_named_is_taken_where_the_device_computes_in_it(precision: Precision) -> None:
    assert resolve_precision(asking(precision.value), CPU) is precision


def test_a_precision_the_device_cannot_compute_in_is_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match=r"training\.precision=fp16.*meta.*set training\.precision to auto or fp32"):
        resolve_precision(asking("fp16"), torch.device("meta"))  # which has no autocast


def line(optimizer: str = "sgd") -> tuple[nn.Linear, torch.optim.Optimizer]:
    """y = w x with w = 1; and SGD with a memory, so that its state can be seen to stay, or fused AdamW."""
    net = nn.Linear(1, 1, bias=False)
    nn.init.ones_(net.weight)
    if optimizer == "adamw":
        return net, torch.optim.AdamW(net.parameters(), lr=0.5, fused=True)
    return net, torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.5)


def learn(numerics: Numerics, net: nn.Linear, optimizer: torch.optim.Optimizer, x: float) -> bool:
    """A step on the loss w x, whose gradient is x."""
    optimizer.zero_grad()
    numerics.backward((net.weight * x).sum())
    return numerics.step(optimizer, list(net.parameters()), None)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
@pytest.mark.parametrize("precision", list(Precision)[:3])
@pytest.mark.parametrize("broken", [torch.inf, torch.nan])
def test_a_step_whose_gradient_is_not_finite_changes_neither_weights_nor_the_optimizer(
    precision: Precision, kind: str, broken: float
) -> None:
    net, optimizer = line(kind)
    numerics = Numerics(precision, CPU)
    assert learn(numerics, net, optimizer, 0.25)
    weight, state = net.weight.detach().clone(), copy.deepcopy(optimizer.state_dict()["state"])
    assert not learn(numerics, net, optimizer, broken)
    assert torch.equal(net.weight, weight)
    after = optimizer.state_dict()["state"]
    assert all(torch.equal(after[0][name], value) for name, value in state[0].items() if value is not None)
    assert learn(numerics, net, optimizer, 0.25)
    assert not torch.equal(net.weight, weight)


def test_the_scale_halves_with_an_overflow_and_doubles_after_enough_good_steps() -> None:
    net, optimizer = line()
    numerics = Numerics(Precision.FP16, CPU, growth_interval=3)
    scales = []
    for x in (1, torch.inf, 1, 1, 1, 1, torch.inf, torch.inf, 1):
        learn(numerics, net, optimizer, x)
        scales.append(numerics.scale)
    # Three good steps in a row double it; an overflow begins the count anew.
    assert [scale / FIRST_SCALE for scale in scales] == [1, 1 / 2, 1 / 2, 1 / 2, 1, 1, 1 / 2, 1 / 4, 1 / 4]


@pytest.mark.parametrize("precision", list(Precision)[:3])
def test_a_gradient_is_the_loss_s_own_whatever_the_scale(precision: Precision) -> None:
    net, optimizer = line()
    assert learn(Numerics(precision, CPU), net, optimizer, 0.25)
    assert net.weight.item() == 1 - 0.5 * 0.25


@pytest.mark.parametrize("precision", list(Precision)[:3])
def test_clipping_is_of_the_loss_s_own_gradient(precision: Precision) -> None:
    net = nn.Linear(2, 1, bias=False)
    nn.init.zeros_(net.weight)
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    numerics = Numerics(precision, CPU)
    numerics.backward((net.weight * torch.tensor([3.0, 4.0])).sum())
    assert numerics.step(optimizer, list(net.parameters()), 1.0)
    torch.testing.assert_close(net.weight.detach(), torch.tensor([[-0.6, -0.8]]))


def test_gradients_of_several_losses_add_up() -> None:
    net, optimizer = line()
    numerics = Numerics(Precision.FP16, CPU)
    numerics.backward((net.weight * 0.25).sum())
    numerics.backward((net.weight * 0.5).sum())
    assert numerics.step(optimizer, list(net.parameters()), None)
    assert net.weight.item() == 1 - 0.5 * 0.75


def test_a_state_is_plain_numbers_and_goes_on_where_it_was() -> None:
    net, optimizer = line()
    numerics = Numerics(Precision.FP16, CPU, growth_interval=2)
    for x in (torch.inf, 1):
        learn(numerics, net, optimizer, x)
    state = numerics.state_dict()
    assert all(type(value) in (int, float) for value in state.values())
    other = Numerics(Precision.FP16, CPU)
    other.load_state_dict(state)
    assert other.scale == FIRST_SCALE / 2
    learn(other, net, optimizer, 1)  # the second good one in a row
    assert other.scale == FIRST_SCALE


def test_without_scaling_there_is_no_state() -> None:
    numerics = Numerics(Precision.BF16, CPU)
    assert (numerics.scale, numerics.state_dict()) == (1.0, {})
    numerics.load_state_dict({})


@pytest.mark.parametrize(
    ("precision", "expected"),
    [(Precision.FP32, torch.float32), (Precision.BF16, torch.bfloat16), (Precision.FP16, torch.float16)],
)
def test_convolutions_compute_in_the_precision_and_weights_stay_fp32(
    precision: Precision, expected: torch.dtype
) -> None:
    net = nn.Conv2d(1, 1, 3)
    with Numerics(precision, CPU).autocast():
        out = net(torch.ones(1, 1, 4, 4))
    assert out.dtype is expected
    out.float().sum().backward()
    assert net.weight.grad is not None
    assert (net.weight.dtype, net.weight.grad.dtype) == (torch.float32, torch.float32)


@pytest.fixture(scope="module")
def batch(tiny_dataset: Dataset) -> Batch:
    plan = LoadingPlan(batch_size=2, windows_per_epoch=2, epochs=1, seed=0)
    return next(TrainingLoader(tiny_dataset.shards(Split.TRAIN), asking("fp32").data, plan).epoch(1))


def losses(dataset: Dataset, batch: Batch, precision: Precision, neuron: str, steps: int) -> list[float]:
    """The loss before each of so many steps that were taken, of a tiny detector on one batch."""
    config = asking(precision.value, model__width=0.25, model__neuron__name=neuron)
    detector, loss = initial_detector(config, dataset.label_set).train(), DetectionLoss(config.loss)
    numerics = Numerics(precision, CPU)
    optimizer = torch.optim.AdamW(detector.parameters(), lr=4e-3)
    seen: list[float] = []
    while len(seen) < steps:
        assert numerics.scale >= 1, "every step overflows"
        optimizer.zero_grad()
        with numerics.autocast():
            total = loss(detector(batch.frames_TBCHW), batch).total()
        numerics.backward(total)
        if numerics.step(optimizer, list(detector.parameters()), 10.0):
            seen.append(float(total.detach()))
    return seen


@pytest.mark.parametrize("precision", [Precision.BF16, Precision.FP16])
def test_a_detector_learns_in_half_precision_as_in_full(
    tiny_dataset: Dataset, batch: Batch, precision: Precision
) -> None:
    full = losses(tiny_dataset, batch, Precision.FP32, NeuronName.ILIF.value, 12)
    half = losses(tiny_dataset, batch, precision, NeuronName.ILIF.value, 12)
    assert half[0] == pytest.approx(full[0], rel=0.1)
    assert half[-1] < 0.9 * half[0]


def test_checking_names_the_operation_behind_a_nan_and_leaves_everything_as_it_was() -> None:
    x = torch.tensor(0.0, requires_grad=True)
    with checked(True), pytest.raises(RuntimeError, match=r"SqrtBackward0.* returned nan"):
        (x.sqrt() * 0).backward()
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.is_anomaly_enabled()


def test_checking_refuses_kernels_that_draw_lots() -> None:
    with checked(True):
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_anomaly_enabled()
    with checked(False):
        assert not torch.are_deterministic_algorithms_enabled()
        assert not torch.is_anomaly_enabled()


def test_a_whole_step_passes_every_check(tiny_dataset: Dataset, batch: Batch) -> None:
    with checked(True):
        (loss,) = losses(tiny_dataset, batch, Precision.FP32, NeuronName.PLIF.value, 1)
    assert loss > 0
