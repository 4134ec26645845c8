"""Loading: the batches of an epoch, made in this process or by workers beside it, always the same ones."""

import math
import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from data.batches import Batch, BatchMaker
from data.cache.machine_room import available_memory
from data.cache.place import place
from data.cache.window_cache import WindowCache
from data.data_config import DataConfig
from data.errors import DatasetError
from data.rendering import WindowRenderer
from data.sampling import BatchPlan, Order, TrainingPlan, training_windows
from data.shards import Shard
from data.windows import Window, causal_window, evaluation_times, evenly_spaced, grid_steps

WORKER_BYTES = 1 << 30  # what a worker takes with its imports and the batches it holds
MOST_WORKERS = 8
SPARSE_BYTES = 3  # of the cache, for each cell of a frame that is not 0


@dataclass(frozen=True, slots=True)
class LoadingPlan:
    """How much of the data an epoch shows, and on what it is trained."""

    batch_size: int
    windows_per_epoch: int | None  # None: all there are
    epochs: int  # that a training lasts, of which the last ones make no mosaics
    seed: int
    device: str = "cpu"  # as torch names it


class TrainingLoader:
    """The batches of each epoch of a training.

    Raises:
        DatasetError: the recordings have no labels to learn from.
        ConfigError: a cache was asked for, and there is no room for it.
    """

    def __init__(self, shards: Sequence[Shard], config: DataConfig, loading: LoadingPlan) -> None:
        streams = config.order is not Order.RANDOM
        windows = training_windows(shards, config, streams, loading.seed)
        self._plan = TrainingPlan(
            windows, config, config.order, loading.batch_size, loading.windows_per_epoch, loading.seed
        )
        maker = BatchMaker(shards, config, open_cache(shards, config, _renderings(len(windows), config)))
        self._plans = _Epoch(self._plan, loading.epochs - config.augment.close_mosaic)
        self._loader = _loader(maker, self._plans, worker_count(config.workers, loading.device), loading.device)

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self._plan)

    @property
    def batch_size(self) -> int:
        """Windows a batch."""
        return self._plan.batch_size

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of one epoch, counted from 1; the same number gives the same batches."""
        self._plans.number = number
        yield from self._loader


class EvaluationLoader:
    """The causal windows of a split's label times, in order, the same for every configuration of one window length."""

    def __init__(self, shards: Sequence[Shard], config: DataConfig, batch_size: int, at_most: int | None) -> None:
        labels = [
            (index, int(time)) for index, shard in enumerate(shards) for time in evaluation_times(shard.boxes.times())
        ]
        if not labels:
            raise DatasetError("the split has no label after its first 0.5 s, so nothing can be evaluated on it")
        chosen = [labels[row] for row in evenly_spaced(len(labels), at_most)]
        # Grouped by recording, in time order.
        self.windows = [causal_window(recording, label_us, config.window_us) for recording, label_us in chosen]
        self._renderer = WindowRenderer(shards, config, open_cache(shards, config, len(self.windows)))
        self._batch_size = batch_size

    def __len__(self) -> int:
        """Number of batches."""
        return math.ceil(len(self.windows) / self._batch_size)

    def __iter__(self) -> Iterator[tuple[tuple[Window, ...], torch.Tensor]]:
        """Windows, and their frames `[T, B, C, H, W]`."""
        for first in range(0, len(self.windows), self._batch_size):
            windows = tuple(self.windows[first : first + self._batch_size])
            frames_BTCHW = self._renderer.empty(len(windows))
            for window, frames_TCHW in zip(windows, frames_BTCHW, strict=True):
                self._renderer.frames(window, frames_TCHW)
            yield windows, self._renderer.as_tensor(frames_BTCHW)


def worker_count(wanted: int | None, device: str) -> int:
    """How many processes make batches: as wanted, else what a GPU beside them needs and cores and memory allow.

    On a CPU none: there a batch takes a hundredth of the time of the step it is for, and the cores are all busy.
    The cores are those PyTorch was given, which a search sets to its trial's share.
    """
    if wanted is not None:
        return wanted
    if device == "cpu":
        return 0
    room = available_memory() // 2 // WORKER_BYTES
    return max(0, min(torch.get_num_threads() - 1, MOST_WORKERS, room))


def open_cache(shards: Sequence[Shard], config: DataConfig, renderings: int) -> WindowCache | None:
    """The node's cache of rendered windows, with room for so many of them where there is; None where it is off."""
    busy = sum(shard.event_count for shard in shards)
    lasting_us = sum(shard.last_us - shard.first_us + 1 for shard in shards)
    cells = busy / lasting_us * config.window_us  # at most one for each event
    chosen = place(config.cache, int(renderings * cells * SPARSE_BYTES))
    return None if chosen is None else WindowCache.open(chosen.folder, chosen.limit_bytes)


def _renderings(windows: int, config: DataConfig) -> int:
    """How many different windows a training may come to show: each at every place the buffer may move it to."""
    return windows * (2 * grid_steps(config.temporal_buffer) + 1)


class _Epoch:
    """The plans of the epoch that is going on: what PyTorch's loader hands to its workers, one by one."""

    def __init__(self, plan: TrainingPlan, mosaic_until: int) -> None:
        self.number = 0
        self._plan = plan
        self._mosaic_until = mosaic_until  # the last epoch with mosaics

    def __iter__(self) -> Iterator[BatchPlan]:
        return self._plan.epoch(self.number, mosaic=self.number <= self._mosaic_until)

    def __len__(self) -> int:
        return len(self._plan)


class _Made(Dataset[Batch]):
    """What PyTorch's loader asks for a batch: its plan is the index."""

    def __init__(self, maker: BatchMaker) -> None:
        self._maker = maker

    def __getitem__(self, plan: BatchPlan) -> Batch:
        return self._maker(plan)


def _loader(maker: BatchMaker, plans: _Epoch, workers: int, device: str) -> "DataLoader[Batch]":
    if workers:
        # A fork of a process that has used threads may hang; a server that has imported all forks in milliseconds.
        multiprocessing.set_forkserver_preload(["data.batches"])
    return DataLoader(
        _Made(maker),
        sampler=plans,
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=workers,
        multiprocessing_context="forkserver" if workers else None,
        persistent_workers=workers > 0,
        pin_memory=device.startswith("cuda"),
    )


def _as_it_is(batch: Any) -> Any:
    return batch
