import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from model.schedule import OptimizerConfig, OptimizerName, ScheduleName, make_optimizer, make_schedule


def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 3, 3, bias=True), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1, bias=False))


def rates(config: OptimizerConfig, epochs: int, steps_per_epoch: int) -> list[float]:
    """Learning rate of each step, and the one that would follow the last."""
    optimizer = make_optimizer(nn.Linear(1, 1), config)
    schedule = make_schedule(optimizer, config, epochs, steps_per_epoch)
    found = [optimizer.param_groups[0]["lr"]]
    for _ in range(epochs * steps_per_epoch):
        optimizer.step()
        schedule.step()
        found.append(optimizer.param_groups[0]["lr"])
    return found


@pytest.mark.parametrize("schedule", [ScheduleName.COSINE, ScheduleName.STEP])
def test_the_warm_up_is_linear_and_ends_at_the_full_rate(schedule: ScheduleName) -> None:
    config = OptimizerConfig(lr=0.1, schedule=schedule, warmup_epochs=2)
    found = rates(config, epochs=20, steps_per_epoch=5)
    assert found[:11] == pytest.approx([0.1 * step / 11 for step in range(1, 12)])


def test_a_warm_up_may_be_a_part_of_an_epoch() -> None:
    config = OptimizerConfig(lr=0.1, schedule=ScheduleName.STEP, warmup_epochs=0.75)
    assert rates(config, epochs=3, steps_per_epoch=4)[:4] == pytest.approx([0.025, 0.05, 0.075, 0.1])


def test_cosine_falls_along_half_a_cosine_to_a_hundredth() -> None:
    config = OptimizerConfig(lr=0.2, schedule=ScheduleName.COSINE, warmup_epochs=0)
    found = rates(config, epochs=10, steps_per_epoch=10)
    assert found[0] == pytest.approx(0.2)
    assert found[25] == pytest.approx(0.2 * (0.01 + 0.99 * (1 + math.sqrt(0.5)) / 2))
    assert found[50] == pytest.approx(0.2 * 0.505)
    assert found[100] == pytest.approx(0.2 * 0.01)


def test_cosine_begins_where_the_warm_up_ends() -> None:
    config = OptimizerConfig(lr=0.2, schedule=ScheduleName.COSINE, warmup_epochs=2)
    found = rates(config, epochs=12, steps_per_epoch=10)
    assert found[20] == pytest.approx(0.2)
    assert found[70] == pytest.approx(0.2 * 0.505)  # halfway between 20 and 120


def test_step_divides_by_ten_after_two_thirds_and_after_eight_ninths() -> None:
    config = OptimizerConfig(lr=1.0, schedule=ScheduleName.STEP, warmup_epochs=0)
    found = rates(config, epochs=9, steps_per_epoch=10)
    assert found[:60] == [1.0] * 60
    assert found[60:80] == pytest.approx([0.1] * 20)
    assert found[80:90] == pytest.approx([0.01] * 10)


@pytest.mark.parametrize("warmup_epochs", [1, 3])
def test_onecycle_peaks_at_the_full_rate_when_the_warm_up_ends(warmup_epochs: int) -> None:
    config = OptimizerConfig(lr=0.3, schedule=ScheduleName.ONECYCLE, warmup_epochs=warmup_epochs)
    found = rates(config, epochs=10, steps_per_epoch=10)
    peak = warmup_epochs * 10
    assert found[peak] == pytest.approx(0.3)
    assert found[:peak] == sorted(found[:peak])
    assert found[peak:] == sorted(found[peak:], reverse=True)
    assert found[0] < 0.1 * 0.3


def test_onecycle_ends_near_zero() -> None:
    config = OptimizerConfig(lr=0.3, schedule=ScheduleName.ONECYCLE, warmup_epochs=1)
    assert 0 < rates(config, epochs=10, steps_per_epoch=10)[-1] < 1e-4 * 0.3


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(list(ScheduleName)),
    st.sampled_from(list(OptimizerName)),
    st.integers(1, 6),
    st.integers(1, 12),
    st.floats(0, 8),
)
def test_no_schedule_exceeds_its_rate_or_leaves_zero(
    schedule: ScheduleName, name: OptimizerName, epochs: int, steps_per_epoch: int, warmup_epochs: float
) -> None:
    config = OptimizerConfig(name=name, lr=0.25, schedule=schedule, warmup_epochs=warmup_epochs)
    found = rates(config, epochs, steps_per_epoch)
    assert max(found) <= 0.25 * (1 + 1e-9)
    assert min(found) > 0


@pytest.mark.parametrize("name", list(OptimizerName))
def test_norms_and_biases_are_not_decayed(name: OptimizerName) -> None:
    model = net()
    optimizer = make_optimizer(model, OptimizerConfig(name=name, weight_decay=0.3))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    found = {key: decay[id(p)] for key, p in model.named_parameters()}
    assert found == {"0.weight": 0.3, "0.bias": 0.0, "1.weight": 0.0, "1.bias": 0.0, "2.weight": 0.3}


def test_momentum_is_sgds_nesterov_momentum() -> None:
    # Nesterov with a constant gradient g: the buffer is g, then (1 + m) g; a step is g + m * buffer.
    weight = nn.Parameter(torch.tensor([0.0]))
    model = nn.ParameterList([weight])
    config = OptimizerConfig(name=OptimizerName.SGD, lr=0.1, momentum=0.5, weight_decay=0)
    optimizer = make_optimizer(model, config)
    weight.grad = torch.tensor([1.0])
    optimizer.step()
    assert weight.item() == pytest.approx(-0.1 * (1 + 0.5))
    optimizer.step()
    assert weight.item() == pytest.approx(-0.1 * (1.5 + 1 + 0.5 * 1.5))


def test_momentum_is_adamws_first_beta() -> None:
    # With a gradient of 1 and then -1: the bias-corrected mean is 1, then (b (1 - b) - (1 - b)) / (1 - b^2);
    # the bias-corrected mean square is 1 both times.
    weight = nn.Parameter(torch.tensor([0.0]))
    config = OptimizerConfig(name=OptimizerName.ADAMW, lr=0.1, momentum=0.8, weight_decay=0)
    optimizer = make_optimizer(nn.ParameterList([weight]), config)
    for gradient in (1.0, -1.0):
        weight.grad = torch.tensor([gradient])
        optimizer.step()
    assert weight.item() == pytest.approx(-0.1 * 1 - 0.1 * (0.8 * 0.2 - 0.2) / (1 - 0.64), rel=1e-5)


def test_sgd_without_momentum_is_plain_gradient_descent() -> None:
    weight = nn.Parameter(torch.tensor([0.0]))
    optimizer = make_optimizer(
        nn.ParameterList([weight]), OptimizerConfig(name=OptimizerName.SGD, lr=0.1, momentum=0, weight_decay=0)
    )
    weight.grad = torch.tensor([2.0])
    optimizer.step()
    assert weight.item() == pytest.approx(-0.2)
