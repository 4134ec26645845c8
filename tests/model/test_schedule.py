"""Each schedule against torch's own class of that name, and the warm-up by hand."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, CyclicLR, LRScheduler, OneCycleLR, StepLR

from data.errors import ConfigError
from model.optimizer import OptimizerConfig, ScheduleName, make_optimizer
from model.schedule import go_to, learning_rate, make_schedule

EPOCHS, STEPS = 10, 7  # of an epoch
PEAK = 0.1
START = PEAK / 25
Make = Callable[[torch.optim.Optimizer], LRScheduler]


def config(**leaves: Any) -> OptimizerConfig:
    return OptimizerConfig.parse({"name": "sgd", "lr": PEAK, "warmup_epochs": 0, **leaves}, "test")


def sgd() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)


def rates_of_torch(make: Make, steps: int) -> list[float]:
    optimizer = sgd()
    schedule = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


@pytest.mark.parametrize(
    ("leaves", "make", "steps"),
    [
        ({"schedule": "constant"}, lambda o: ConstantLR(o, 1.0), 70),
        ({"schedule": "step", "step_epochs": 3.0, "step_gamma": 0.5}, lambda o: StepLR(o, 3 * STEPS, 0.5), 70),
        ({"schedule": "cosine", "final_share": 0.05}, lambda o: CosineAnnealingLR(o, 70, 0.05 * PEAK), 70),
        # torch's refuses a step after its last one, with which it was made.
        ({"schedule": "onecycle"}, lambda o: OneCycleLR(o, PEAK, total_steps=70, cycle_momentum=False), 69),
        (
            {"schedule": "onecycle", "lr": 0.05, "max_lr": PEAK, "pct_start": 0.5},
            lambda o: OneCycleLR(o, PEAK, total_steps=70, pct_start=0.5, div_factor=2, cycle_momentum=False),
            69,
        ),
        (
            {"schedule": "cyclic", "cycle_epochs": 4.0},
            lambda o: CyclicLR(o, START, PEAK, step_size_up=2 * STEPS, cycle_momentum=False),
            70,
        ),
    ],
)
def test_a_schedule_without_warm_up_is_torchs_own(leaves: dict[str, Any], make: Make, steps: int) -> None:
    settings = config(**leaves)
    factor = learning_rate(settings, EPOCHS, STEPS)
    ours = [settings.peak_lr * factor(step) for step in range(steps)]
    assert ours == pytest.approx(rates_of_torch(make, steps), abs=1e-12)


def test_the_warm_up_rises_in_a_straight_line_to_where_the_schedule_begins() -> None:
    factor = learning_rate(config(warmup_epochs=0.5, schedule="constant"), 2, 8)
    assert [factor(step) for step in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])
    factor = learning_rate(config(warmup_epochs=0.5, schedule="cyclic"), 2, 8)
    assert [factor(step) for step in range(5)] == pytest.approx([0.008, 0.016, 0.024, 0.032, 0.04])


def test_a_warm_up_in_steps_is_that_many() -> None:
    factor = learning_rate(OptimizerConfig(warmup_steps=3, schedule=ScheduleName.CONSTANT), 2, 100)
    assert [factor(step) for step in range(4)] == pytest.approx([0.25, 0.5, 0.75, 1])


@given(
    schedule=st.sampled_from(list(ScheduleName)),
    warmup=st.floats(0, 30),
    epochs=st.integers(1, 20),
    steps=st.integers(1, 20),
)
def test_rates_stay_between_nothing_and_the_peak(
    schedule: ScheduleName, warmup: float, epochs: int, steps: int
) -> None:
    factor = learning_rate(OptimizerConfig(schedule=schedule, warmup_epochs=warmup), epochs, steps)
    assert all(0 < factor(step) <= 1 + 1e-12 for step in range(epochs * steps))


@pytest.mark.parametrize("name", list(ScheduleName))
def test_going_to_a_step_gives_the_very_rates_of_having_stepped_there(name: ScheduleName) -> None:
    settings = OptimizerConfig(schedule=name)
    model = torch.nn.Conv2d(1, 1, 3)
    stepped, jumped = (make_optimizer(model, settings, 4) for _ in range(2))
    schedule, other = make_schedule(stepped, settings, 4, 5), make_schedule(jumped, settings, 4, 5)
    for _ in range(13):
        stepped.step()
        schedule.step()
    go_to(other, 13)
    assert [g["lr"] for g in jumped.param_groups] == [g["lr"] for g in stepped.param_groups]
    assert other.get_last_lr() == schedule.get_last_lr()


@pytest.mark.parametrize(
    ("leaves", "told"),
    [
        ({"pct_start": 0.5}, "pct_start=0.5 but schedule=cosine does not read it"),
        ({"schedule": "step", "final_share": 0.5}, "final_share=0.5 but schedule=step"),
        ({"schedule": "cyclic", "max_lr": 0.05}, "max_lr=0.05 must exceed lr=0.1"),
        ({"warmup_epochs": 1, "warmup_steps": 5}, "warmup_steps=5 and warmup_epochs=1.0: give one"),
        ({"shedule": "step"}, "did you mean 'schedule'"),
    ],
)
def test_what_no_schedule_reads_is_refused(leaves: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        config(**leaves)
