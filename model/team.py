"""The processes that train one detector together, each on its own rows of every batch."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from model.synchronised_norm import norms_together, synchronise_norms

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Team:
    """One of `ranks` processes, and what it exchanges with the others; all of them must ask for the same.

    A process alone exchanges nothing, and gets back what it gave.
    """

    rank: int  # from 0
    ranks: int
    device: torch.device  # its own

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over all processes, without a gradient."""
        if self.ranks == 1:
            return values
        total = values.detach().clone()
        distributed.all_reduce(total)
        return total

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """The mean over all processes, without a gradient."""
        return values if self.ranks == 1 else self.sum(values) / self.ranks

    def mean_by_name(self, values: Mapping[str, float]) -> dict[str, float]:
        """The mean of each number; not finite everywhere if it is not finite anywhere."""
        if self.ranks == 1:
            return dict(values)
        means = self.mean(torch.tensor(list(values.values()), dtype=torch.float64, device=self.device))
        return dict(zip(values, means.tolist(), strict=True))

    def agree(self, flag: bool) -> bool:
        """Whether any process says so."""
        return bool(self.sum(torch.tensor(int(flag), device=self.device))) if self.ranks > 1 else flag

    def rows(self, own: torch.Tensor) -> torch.Tensor:
        """The rows of all processes `[N, ...]`, in order of rank; each may have another number of them.

        Where every process takes the same loss of all rows, the mean of their gradients is that loss's own: a process
        has a gradient for its own rows alone, and so it counts `ranks` times.
        """
        if self.ranks == 1:
            return own
        lengths = self._lengths(own)
        padded = own.new_zeros(max(lengths), *own.shape[1:])
        padded[: len(own)] = own.detach()
        parts = [torch.empty_like(padded) for _ in lengths]
        distributed.all_gather(parts, padded)
        rows = [part[:length] for part, length in zip(parts, lengths, strict=True)]
        if own.requires_grad:
            rows[self.rank] = own.detach() + (own - own.detach()) * self.ranks
        return torch.cat(rows)

    def _lengths(self, own: torch.Tensor) -> list[int]:
        lengths = torch.zeros(self.ranks, dtype=torch.int64, device=own.device)
        lengths[self.rank] = len(own)
        counted: list[int] = self.sum(lengths).tolist()
        return counted

    def gather(self, items: Sequence[T]) -> list[T]:
        """The items of all processes, in order of rank; pickled on the way, between processes of one job."""
        if self.ranks == 1:
            return list(items)
        parts: list[Sequence[T]] = [[] for _ in range(self.ranks)]
        distributed.all_gather_object(parts, list(items))
        return [item for part in parts for item in part]

    def broadcast(self, value: T) -> T:
        """What the first process has."""
        if self.ranks == 1:
            return value
        carried = [value]
        distributed.broadcast_object_list(carried)
        return carried[0]

    def same_buffers(self, net: nn.Module) -> None:
        """Give every process the first one's buffers, where each has counted its own statistics."""
        if self.ranks > 1:
            for buffer in net.buffers():
                distributed.broadcast(buffer, 0)


def alone(device: torch.device) -> Team:
    """A process by itself."""
    return Team(0, 1, device)


def joined(device: torch.device) -> Team:
    """The team of the process group that this process has joined, or a process by itself where it has joined none."""
    if distributed.is_available() and distributed.is_initialized():
        return Team(distributed.get_rank(), distributed.get_world_size(), device)
    return alone(device)


ALONE = alone(torch.device("cpu"))


class _TeamNet(DistributedDataParallel):
    """A net whose gradients are averaged over the processes, and whose norms see the joint batch."""

    def forward(self, *inputs: Any, **named: Any) -> Any:
        with norms_together(self.module):
            return super().forward(*inputs, **named)  # type: ignore[no-untyped-call]


def parallel(detector: nn.Module, team: Team) -> nn.Module:
    """What to call instead of the detector in training: backward then leaves the mean gradient in every process.

    All processes then have the first one's weights. The detector stays the one to measure and to save, with the same
    names in its state; alone it is what is returned. A change of what `requires_grad` needs a new one.
    """
    if team.ranks == 1:
        return detector
    synchronise_norms(detector)
    # Norms have the same statistics everywhere, so there is nothing to send round before each call.
    return _TeamNet(detector, broadcast_buffers=False)


@contextmanager
def accumulating(net: nn.Module, on: bool) -> Iterator[None]:
    """While on, gradients are added up in each process; the first backward after it averages all of them."""
    if on and isinstance(net, DistributedDataParallel):
        with net.no_sync():
            yield
    else:
        yield
