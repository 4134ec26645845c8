"""Optimizers, all torch's own, and what may be searched of them and of their learning rate."""

import math
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any

import torch
from pydantic import Field, model_validator
from torch import nn

from data.config import Config
from data.errors import ConfigError


class OptimizerName(StrEnum):
    """Which optimizer."""

    SGD = "sgd"  # with Nesterov momentum
    ADAM = "adam"  # its weight decay is an L2 term in the gradient
    ADAMW = "adamw"
    RADAM = "radam"  # Liu et al. 2020, decay decoupled
    MUON = "muon"  # on convolutions (Jordan et al. 2024), AdamW on the rest


class ScheduleName(StrEnum):
    """How the learning rate goes after its linear warm-up."""

    CONSTANT = "constant"
    STEP = "step"  # times step_gamma every step_epochs
    COSINE = "cosine"  # half a cosine down to final_share
    ONECYCLE = "onecycle"  # rises along a cosine for pct_start of the steps, then falls to nothing (Smith 2018)
    CYCLIC = "cyclic"  # up and down in straight lines, every cycle_epochs (Smith 2017)


_READ_BY: dict[str, tuple[ScheduleName, ...]] = {
    "max_lr": (ScheduleName.ONECYCLE, ScheduleName.CYCLIC),
    "pct_start": (ScheduleName.ONECYCLE,),
    "step_epochs": (ScheduleName.STEP,),
    "step_gamma": (ScheduleName.STEP,),
    "cycle_epochs": (ScheduleName.CYCLIC,),
    "final_share": (ScheduleName.COSINE,),
}


class OptimizerConfig(Config):
    """How weights follow gradients."""

    name: OptimizerName = OptimizerName.ADAMW
    lr: float = Field(4e-3, gt=0, le=1)  # the highest of the schedule; AdamW at 2e-3 gave .576 where this gave .595
    # Windows a step that lr is meant for: of others it is scaled, in proportion for SGD (Goyal et al. 2017), with the
    # square root for the adaptive ones and Muon (Malladi et al. 2022); null: lr as it is.
    lr_reference_batch: int | None = Field(4, ge=1)
    momentum: float = Field(0.9, ge=0, lt=1)  # SGD's and Muon's momentum; Adam's beta1
    weight_decay: float = Field(0.01, ge=0, le=1)  # on weights of convolutions alone
    clip_norm: float | None = Field(10.0, gt=0)  # gradients longer than this are scaled down to it; null: never
    schedule: ScheduleName = ScheduleName.COSINE
    warmup_epochs: float = Field(0.5, ge=0)  # epochs in which the rate rises to where the schedule begins
    warmup_steps: int | None = Field(None, ge=0)  # the same in steps, instead
    max_lr: float | None = Field(None, gt=0, le=1)  # onecycle, cyclic: their peak above lr; null: lr, from lr / 25
    pct_start: float = Field(0.3, gt=0, lt=1)  # onecycle: share of the steps that rise
    step_epochs: float = Field(4.0, gt=0)  # step: epochs between two drops
    step_gamma: float = Field(0.1, gt=0, lt=1)  # step: what a drop multiplies by
    cycle_epochs: float = Field(4.0, gt=0)  # cyclic: epochs of a rise and a fall
    final_share: float = Field(0.01, ge=0, le=1)  # cosine: where it ends, as a share of lr

    @model_validator(mode="after")
    def _every_setting_is_read(self) -> "OptimizerConfig":
        fields = type(self).model_fields
        for name, readers in _READ_BY.items():
            if self.schedule not in readers and getattr(self, name) != fields[name].default:
                raise ValueError(
                    f"{name}={getattr(self, name)} but schedule={self.schedule.value} does not read it; leave it out, "
                    f"or set schedule={readers[0].value}"
                )
        if self.max_lr is not None and self.max_lr <= self.lr:
            raise ValueError(f"max_lr={self.max_lr} must exceed lr={self.lr}, from where the schedule rises to it")
        if self.warmup_steps is not None and self.warmup_epochs != fields["warmup_epochs"].default:
            raise ValueError(f"warmup_steps={self.warmup_steps} and warmup_epochs={self.warmup_epochs}: give one")
        return self

    @property
    def peak_lr(self) -> float:
        """The highest learning rate, for the reference batch."""
        return self.lr if self.max_lr is None else self.max_lr


def scaled_lr(config: OptimizerConfig, windows: int) -> float:
    """The highest learning rate for so many windows a step."""
    if config.lr_reference_batch is None:
        return config.peak_lr
    ratio = windows / config.lr_reference_batch
    return config.peak_lr * (ratio if config.name is OptimizerName.SGD else math.sqrt(ratio))


def make_optimizer(model: nn.Module, config: OptimizerConfig, windows: int) -> torch.optim.Optimizer:
    """The optimizer, in one kernel for all weights where torch has one; norms, biases, neurons' numbers do not decay.

    Args:
        model: whose parameters are trained, also those that are frozen at first.
        config: of the optimizer.
        windows: that one step learns from.

    Raises:
        ConfigError: this version of torch has no such optimizer.
    """
    decayed = [p for p in model.parameters() if p.dim() == 4]  # of convolutions
    plain = [p for p in model.parameters() if p.dim() != 4]
    lr, momentum, decay = scaled_lr(config, windows), config.momentum, config.weight_decay
    if config.name is OptimizerName.MUON:
        return ConvolutionMuon(decayed, plain, lr, momentum, decay)
    groups = [{"params": decayed, "weight_decay": decay}, {"params": plain, "weight_decay": 0.0}]
    match config.name:
        case OptimizerName.SGD:
            return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=momentum > 0, fused=True)
        case OptimizerName.ADAM:
            return torch.optim.Adam(groups, lr=lr, betas=(momentum, 0.999), fused=True)
        case OptimizerName.RADAM:
            return torch.optim.RAdam(groups, lr=lr, betas=(momentum, 0.999), decoupled_weight_decay=True, foreach=True)
        case _:
            return torch.optim.AdamW(groups, lr=lr, betas=(momentum, 0.999), fused=True)


class ConvolutionMuon(torch.optim.Optimizer):
    """torch's Muon on convolutions, each as a matrix [outputs, inputs * k * k], and AdamW on everything else.

    Muon's updates are scaled to the size of AdamW's, so that one learning rate serves both (Liu et al. 2025).

    Raises:
        ConfigError: this version of torch has no Muon.
    """

    def __init__(
        self,
        convolutions: Iterable[nn.Parameter],
        others: Iterable[nn.Parameter],
        lr: float,
        momentum: float,
        decay: float,
    ) -> None:
        if not hasattr(torch.optim, "Muon"):
            raise ConfigError(f"optimizer.name=muon needs PyTorch 2.9 or newer, this is {torch.__version__}")
        self._weights = list(convolutions)
        self._matrices = [nn.Parameter(weight.detach().flatten(1)) for weight in self._weights]
        self._muon = torch.optim.Muon(
            self._matrices, lr=lr, weight_decay=decay, momentum=momentum, nesterov=True, adjust_lr_fn="match_rms_adamw"
        )
        self._adamw = torch.optim.AdamW(list(others), lr=lr, betas=(momentum, 0.999), weight_decay=0.0, fused=True)
        super().__init__([{"params": self._weights}, {"params": self._adamw.param_groups[0]["params"]}], {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take a step at the groups' learning rates."""
        assert closure is None, "gradients are there before"
        for optimizer, group in zip((self._muon, self._adamw), self.param_groups, strict=True):
            optimizer.param_groups[0]["lr"] = group["lr"]
        for weight, matrix in zip(self._weights, self._matrices, strict=True):
            # Copied, not viewed: a weight laid out with its channels innermost is no matrix in memory.
            matrix.copy_(weight.flatten(1))
            matrix.grad = None if weight.grad is None else weight.grad.flatten(1)
        self._muon.step()
        for weight, matrix in zip(self._weights, self._matrices, strict=True):
            weight.copy_(matrix.view_as(weight))
        self._adamw.step()

    def state_dict(self) -> dict[str, Any]:
        """The states of both, as numbers and tensors."""
        return {"muon": self._muon.state_dict(), "adamw": self._adamw.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state of the same parameters."""
        self._muon.load_state_dict(state_dict["muon"])
        self._adamw.load_state_dict(state_dict["adamw"])
