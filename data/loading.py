"""Loading: the batches of an epoch, made in this process or by workers beside it, always the same ones."""

import itertools
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from data.batches import Batch, BatchMaker
from data.cache.machine_room import available_memory
from data.cache.place import place
from data.cache.window_cache import WindowCache
from data.data_config import DataConfig, OnBadShard
from data.errors import ConfigError, DatasetError
from data.rendering import WindowRenderer
from data.sampling import BatchPlan, Order, TrainingPlan, training_windows
from data.shards import Shard
from data.windows import Window, causal_window, evaluation_times, evenly_spaced, grid_steps
from data.worker_pool import WorkerPool

_log = logging.getLogger(__name__)

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
    rank: int = 0  # of the processes that train together, each of which makes its own rows of every batch
    ranks: int = 1
    recordings: float = 1.0  # share of the recordings that is used; a smaller share is a part of a larger one


class TrainingLoader:
    """The batches of each epoch of a training.

    Raises:
        DatasetError: the recordings have no labels to learn from.
        ConfigError: a cache was asked for, and there is no room for it; or the ranks cannot share a batch.
    """

    def __init__(self, shards: Sequence[Shard], config: DataConfig, loading: LoadingPlan) -> None:
        streams = config.order is not Order.RANDOM
        self.bad: dict[str, str] = {}  # damaged recordings that were left out, and what is wrong with them
        self._shards = shards
        readable = self._readable(config.on_bad_shard)
        windows = training_windows(shards, config, streams, loading.seed, chosen(readable, loading))
        self._plan = TrainingPlan(
            windows, config, config.order, loading.batch_size, loading.windows_per_epoch, loading.seed
        )
        if self._plan.batch_size % loading.ranks:
            raise ConfigError(
                f"training.batch_size={self._plan.batch_size} must be a multiple of the {loading.ranks} processes that "
                "share each batch; change one of them"
            )
        cache = open_cache(shards, config, _renderings(len(windows), config))
        maker = BatchMaker(shards, config, cache)
        self._plans = _Epoch(self._plan, loading.epochs - config.augment.close_mosaic, loading.rank, loading.ranks)
        workers = worker_count(config.workers, loading.device)
        self._pool = WorkerPool(maker, self._plans, workers, loading.device)

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self._plan)

    @property
    def batch_size(self) -> int:
        """Windows a batch, of all ranks together."""
        return self._plan.batch_size

    @property
    def restarts(self) -> int:
        """Worker processes that died and were replaced."""
        return self._pool.restarts

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, counted from 1, from one of them on; the same number gives the same batches.

        Raises:
            DatasetError: a shard is damaged, and `data.on_bad_shard` is fail.
            TrainingError: worker processes keep dying.
        """
        for batch in self._pool.batches(number, start):
            for recording, message in batch.bad:
                self._leave_out(recording, message)
            yield batch

    def _readable(self, on_bad_shard: OnBadShard) -> list[int]:
        """The recordings whose labels can be read."""
        found = []
        for recording, shard in enumerate(self._shards):
            try:
                shard.boxes  # noqa: B018 - reads them
            except DatasetError as error:
                if on_bad_shard is OnBadShard.FAIL:
                    raise
                self._leave_out(recording, str(error))
            else:
                found.append(recording)
        return found

    def _leave_out(self, recording: int, message: str) -> None:
        name = self._shards[recording].name
        if name not in self.bad:
            self.bad[name] = message
            _log.warning("left out, as data.on_bad_shard=skip asks: %s", message)


class EvaluationLoader:
    """The causal windows of a split's label times, in order, the same for every configuration of one window length."""

    def __init__(
        self,
        shards: Sequence[Shard],
        config: DataConfig,
        batch_size: int,
        at_most: int | None,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        """Args:
        shards: of the split; a damaged one is an error always: without it other things would be measured.
        config: how windows are rendered.
        batch_size: windows at once.
        at_most: label times, evenly spaced; None takes all.
        part: which of how many equal parts of the windows, in order.
        """
        labels = [
            (index, int(time)) for index, shard in enumerate(shards) for time in evaluation_times(shard.boxes.times())
        ]
        if not labels:
            raise DatasetError("the split has no label after its first 0.5 s, so nothing can be evaluated on it")
        measured = [labels[row] for row in evenly_spaced(len(labels), at_most)]
        first, end = (len(measured) * edge // part[1] for edge in (part[0], part[0] + 1))
        # Grouped by recording, in time order.
        self.windows = [causal_window(recording, time, config.window_us) for recording, time in measured[first:end]]
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


def chosen(readable: Sequence[int], loading: LoadingPlan) -> list[int]:
    """The recordings that a share of them comes to, at least one; the seed orders them once, whatever the share."""
    if loading.recordings == 1:
        return list(readable)
    order = np.random.default_rng((loading.seed, len(readable))).permutation(len(readable))
    return sorted(readable[place] for place in order[: max(1, round(loading.recordings * len(readable)))])


class _Epoch:
    """The plans of the epoch that is going on: what PyTorch's loader hands to its workers, one by one."""

    def __init__(self, plan: TrainingPlan, mosaic_until: int, rank: int, ranks: int) -> None:
        self.number = 0
        self.start = 0  # the first batch that is wanted
        self._plan = plan
        self._mosaic_until = mosaic_until  # the last epoch with mosaics
        self._rows = slice(rank * plan.batch_size // ranks, (rank + 1) * plan.batch_size // ranks)

    def __iter__(self) -> Iterator[BatchPlan]:
        plans = self._plan.epoch(self.number, mosaic=self.number <= self._mosaic_until)
        for plan in itertools.islice(plans, self.start, None):
            yield replace(plan, samples=plan.samples[self._rows])

    def __len__(self) -> int:
        return max(len(self._plan) - self.start, 0)
