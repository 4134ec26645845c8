"""Batch norms over the joint batch of several processes, on whatever device they compute."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from spikingjelly.activation_based import layer
from torch import distributed, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_PICTURES = (0, 2, 3)  # the axes of [N, C, H, W] that statistics are taken over


class SynchronisedNorm(layer.BatchNorm2d):
    """A batch norm that takes its statistics over the batches of all processes as if they were one, while `together`.

    At all other times, and in evaluation, it is the norm it stands in for: one process may run the detector by itself
    without waiting for the others. Weights and statistics are that norm's own tensors, under the same names.
    """

    together = False

    @classmethod
    def of(cls, norm: layer.BatchNorm2d) -> "SynchronisedNorm":
        """What stands in for a norm."""
        made = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats, norm.step_mode)
        made.weight, made.bias = norm.weight, norm.bias
        made.running_mean, made.running_var = norm.running_mean, norm.running_var
        made.num_batches_tracked = norm.num_batches_tracked
        made.train(norm.training)
        return made

    def forward(self, x_TBCHW: torch.Tensor) -> torch.Tensor:
        if not (self.together and self.training):
            alone: torch.Tensor = super().forward(x_TBCHW)
            return alone
        pictures, mean, variance, count = _joint_norm(x_TBCHW.flatten(0, 1), self.weight, self.bias, self.eps)
        self._follow(mean, variance * count / (count - 1))
        normed: torch.Tensor = pictures.unflatten(0, x_TBCHW.shape[:2])
        return normed

    @torch.no_grad()
    def _follow(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        """Move the running statistics towards a batch's, as torch's norm does; None as momentum averages all alike."""
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)


def synchronise_norms(net: nn.Module) -> None:
    """Put a synchronised norm into the place of every batch norm; what is there already stays."""
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is layer.BatchNorm2d:
                setattr(parent, name, SynchronisedNorm.of(child))


@contextmanager
def norms_together(net: nn.Module) -> Iterator[None]:
    """Have the norms wait for each other: every process must call the net within this as often as the others do."""
    norms = [module for module in net.modules() if isinstance(module, SynchronisedNorm)]
    for norm in norms:
        norm.together = True
    try:
        yield
    finally:
        for norm in norms:
            norm.together = False


class _JointNorm(torch.autograd.Function):
    """Batch norm by the statistics of all processes, whose gradients are those of the sum of all their losses.

    What torch.nn.SyncBatchNorm computes, which refuses CPUs. One exchange each way: each process's count, means and
    variances forward (joined as by Chan et al. 1979), and the sums of two products backward.
    """

    @staticmethod
    def forward(
        ctx: Any, pictures: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        mean, variance, count = _joint_statistics(pictures.to(torch.promote_types(pictures.dtype, weight.dtype)))
        ctx.save_for_backward(pictures, weight, mean, (variance + eps).rsqrt(), count)
        ctx.mark_non_differentiable(mean, variance, count)
        return F.batch_norm(pictures, mean, variance, weight, bias, eps=eps), mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: torch.Tensor, *_: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        pictures, weight, mean, sharpness, count = ctx.saved_tensors
        centred = pictures.to(mean.dtype) - _by_channel(mean)
        steep = slope.to(mean.dtype)
        own = torch.stack([steep.sum(_PICTURES), (steep * centred).sum(_PICTURES)])
        joint = own.clone()
        distributed.all_reduce(joint)
        level, tilt = joint / count
        change = steep - _by_channel(level) - centred * _by_channel(sharpness**2 * tilt)
        return (change * _by_channel(sharpness * weight)).to(pictures.dtype), own[1] * sharpness, own[0], None


@torch.compiler.disable  # the compiler has nothing to gain where processes wait for each other
def _joint_norm(
    pictures: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    normed: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
    normed = _JointNorm.apply(pictures, weight, bias, eps)  # type: ignore[no-untyped-call]
    return normed


def _joint_statistics(pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mean `[C]`, biased variance `[C]` and number of values a channel `[1]`, over all processes."""
    variance, mean = torch.var_mean(pictures, _PICTURES, correction=0)
    count = mean.new_tensor([pictures.numel() // pictures.shape[1]])
    own = torch.cat([mean, variance, count])
    parts = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, own)
    means, variances, counts = torch.stack(parts).split([len(mean), len(variance), 1], dim=1)
    total = counts.sum(0)
    share = counts / total
    mean = (means * share).sum(0)
    variance = ((variances + (means - mean) ** 2) * share).sum(0)
    return mean, variance, total


def _by_channel(values_C: torch.Tensor) -> torch.Tensor:
    return values_C[:, None, None]
