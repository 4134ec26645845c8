"""Learning-rate schedules: pure functions of the step, so that a resumed training is where it was."""

import math
from collections.abc import Callable

import torch
from torch.optim.lr_scheduler import LambdaLR

from model.optimizer import OptimizerConfig, ScheduleName

RISE = 25.0  # onecycle and cyclic begin at their peak divided by this, where max_lr is not given; as torch's OneCycleLR
FALL = 1e4  # and onecycle ends at its beginning divided by this

Factor = Callable[[int], float]


def learning_rate(config: OptimizerConfig, epochs: int, steps_per_epoch: int) -> Factor:
    """What the highest learning rate is multiplied by at each step of the optimizer, counted from 0.

    A linear warm-up leads to where the schedule begins; the schedule takes the steps after it.
    """
    steps = epochs * steps_per_epoch
    wanted = round(config.warmup_epochs * steps_per_epoch) if config.warmup_steps is None else config.warmup_steps
    warmup = min(wanted, steps - 1)
    after = _schedule(config, steps - warmup, steps_per_epoch, warmup)

    def factor(step: int) -> float:
        if step < warmup:
            return after(0) * (step + 1) / (warmup + 1)
        return after(step - warmup)

    return factor


def _schedule(config: OptimizerConfig, steps: int, steps_per_epoch: int, warmup: int) -> Factor:
    """The factor by step after the warm-up, of which there are so many."""
    start = 1 / RISE if config.max_lr is None else config.lr / config.max_lr
    match config.schedule:
        case ScheduleName.CONSTANT:
            return lambda _: 1.0
        case ScheduleName.STEP:
            # Epochs are those of the training, the warm-up's too.
            drop = max(1, round(config.step_epochs * steps_per_epoch))
            return lambda step: config.step_gamma ** ((step + warmup) // drop)
        case ScheduleName.COSINE:
            return lambda step: _between(1.0, config.final_share, step / steps)
        case ScheduleName.ONECYCLE:
            return _one_cycle(start, config.pct_start, steps)
        case ScheduleName.CYCLIC:
            half = config.cycle_epochs * steps_per_epoch / 2
            return lambda step: start + (1 - start) * (1 - abs(step / half % 2 - 1))


def _one_cycle(start: float, rising: float, steps: int) -> Factor:
    # As torch's OneCycleLR, whose peak and end are at these steps.
    peak, end = max(rising * steps - 1, 0.0), max(steps - 1, 1)

    def factor(step: int) -> float:
        if step <= peak and peak > 0:
            return _between(start, 1.0, step / peak)
        return _between(1.0, start / FALL, min((step - peak) / (end - peak), 1.0) if end > peak else 1.0)

    return factor


def _between(first: float, last: float, done: float) -> float:
    """Half a cosine from one value to another."""
    return last + (first - last) * (1 + math.cos(math.pi * done)) / 2


def make_schedule(
    optimizer: torch.optim.Optimizer, config: OptimizerConfig, epochs: int, steps_per_epoch: int
) -> LambdaLR:
    """The schedule over a whole training, at its first step."""
    for group in optimizer.param_groups:
        group["lr"] = group.get("initial_lr", group["lr"])
    return LambdaLR(optimizer, learning_rate(config, epochs, steps_per_epoch))


def go_to(schedule: LambdaLR, step: int) -> None:
    """Set the learning rates of a step, wherever the schedule was."""
    schedule.last_epoch = step
    rates = [base * factor(step) for base, factor in zip(schedule.base_lrs, schedule.lr_lambdas, strict=True)]
    for group, rate in zip(schedule.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    schedule._last_lr = rates
