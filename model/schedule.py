"""Optimizers and learning-rate schedules, all torch's own."""

import math
from enum import StrEnum

import torch
from pydantic import Field
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from data.config import Config


class OptimizerName(StrEnum):
    """Which optimizer."""

    SGD = "sgd"  # with Nesterov momentum
    ADAMW = "adamw"


class ScheduleName(StrEnum):
    """How the learning rate goes after its linear warm-up."""

    ONECYCLE = "onecycle"  # rises during the warm-up epochs along a cosine, then falls to nothing (Smith 2018)
    COSINE = "cosine"  # half a cosine down to a hundredth
    STEP = "step"  # a tenth after 2/3 of the epochs, a hundredth after 8/9


class OptimizerConfig(Config):
    """How weights follow gradients."""

    name: OptimizerName = OptimizerName.ADAMW
    lr: float = Field(4e-3, gt=0, le=1)  # the highest of the schedule; AdamW at 2e-3 gave .576 where this gave .595
    momentum: float = Field(0.9, ge=0, lt=1)  # SGD's momentum; AdamW's beta1
    weight_decay: float = Field(0.01, ge=0, le=1)  # on weights of convolutions alone
    schedule: ScheduleName = ScheduleName.COSINE
    warmup_epochs: float = Field(0.5, ge=0)  # epochs of rising learning rate
    clip_norm: float = Field(10.0, gt=0)  # gradients longer than this are scaled down to it


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """The optimizer, in one kernel for all weights; norms, biases and what neurons learn are not decayed."""
    decayed = [p for p in model.parameters() if p.dim() == 4]  # of convolutions
    plain = [p for p in model.parameters() if p.dim() != 4]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    if config.name is OptimizerName.SGD:
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0, fused=True)
    return torch.optim.AdamW(groups, lr=config.lr, betas=(config.momentum, 0.999), fused=True)


def make_schedule(
    optimizer: torch.optim.Optimizer, config: OptimizerConfig, epochs: int, steps_per_epoch: int
) -> LRScheduler:
    """The learning rate by optimizer step, over the whole training."""
    steps = epochs * steps_per_epoch
    warmup = min(round(config.warmup_epochs * steps_per_epoch), steps - 1)
    if config.schedule is ScheduleName.ONECYCLE:
        # torch wants at least a step's rise, and puts the peak at pct_start * total_steps - 1.
        rise = (max(warmup, 1) + 1) / (steps + 1)
        # Momentum stays what the configuration says.
        return OneCycleLR(optimizer, config.lr, total_steps=steps + 1, pct_start=rise, cycle_momentum=False)
    fall = _cosine if config.schedule is ScheduleName.COSINE else _steps

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return fall((step - warmup) / (steps - warmup))

    return LambdaLR(optimizer, factor)


def _cosine(done: float) -> float:
    return 0.01 + 0.99 * (1 + math.cos(math.pi * min(done, 1))) / 2


def _steps(done: float) -> float:
    return 1.0 if done < 2 / 3 else 0.1 if done < 8 / 9 else 0.01
