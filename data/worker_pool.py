"""The processes that make batches beside the training, or none; those that die are replaced, and no batch is lost."""

import logging
import multiprocessing
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from torch.utils.data import DataLoader, Dataset

from data.batches import Batch, BatchMaker
from data.errors import DatasetError, TrainingError
from data.sampling import BatchPlan

MOST_DEATHS = 5  # of workers in one epoch; more are no accident
_DEAD = re.compile(r"DataLoader worker \(pid.*\) (exited unexpectedly|is killed by signal)")
_log = logging.getLogger(__name__)


class Plans(Protocol):
    """The plans of an epoch from one of its batches on; what PyTorch calls a sampler."""

    number: int
    start: int

    def __iter__(self) -> Iterator[BatchPlan]:
        """Plan by plan."""

    def __len__(self) -> int:
        """How many."""


class WorkerPool:
    """PyTorch's loader, and another one where its workers died."""

    def __init__(self, maker: BatchMaker, plans: Plans, workers: int, device: str) -> None:
        self.restarts = 0
        self._maker = maker
        self._plans = plans
        self._workers = workers
        self._device = device
        self._loader = self._new()

    def batches(self, epoch: int, start: int) -> Iterator[Batch]:
        """The batches of an epoch from one of them on, each once.

        Raises:
            DatasetError: a shard is damaged.
            TrainingError: workers died too often.
        """
        deaths, done = 0, start
        while True:
            self._plans.number, self._plans.start = epoch, done
            try:
                with _deaths_told_in_order():
                    batches = iter(self._loader)
                for made in batches:
                    if isinstance(made, DatasetError):
                        raise made
                    yield made
                    done += 1
            except (RuntimeError, ConnectionError, EOFError) as error:
                if not _tells_of_a_death(error, self._workers):
                    raise
                deaths, self.restarts = deaths + 1, self.restarts + 1
                self._start_again(deaths, str(error))
            else:
                return

    def _start_again(self, deaths: int, told: str) -> None:
        if deaths > MOST_DEATHS:
            raise TrainingError(
                f"{deaths} loader workers died in one epoch, the last one so: {told}; most likely memory is short: "
                "lower data.workers, or set data.workers=0"
            )
        _log.warning("a loader worker died (%s); another one takes its place, and the epoch goes on", told)
        self._loader = self._new()

    def _new(self) -> "DataLoader[Batch | DatasetError]":
        if self._workers:
            # A fork of a process that has used threads may hang; a server that has imported all forks at once.
            multiprocessing.set_forkserver_preload(["data.batches"])
        return DataLoader(
            _Made(self._maker),
            sampler=self._plans,
            batch_size=None,
            collate_fn=_as_it_is,
            num_workers=self._workers,
            multiprocessing_context="forkserver" if self._workers else None,
            persistent_workers=self._workers > 0,
            pin_memory=self._device.startswith("cuda"),
        )


def _tells_of_a_death(error: Exception, workers: int) -> bool:
    """Whether a worker died: PyTorch found out, or memory it shared can no longer be had from it."""
    if isinstance(error, RuntimeError):
        return _DEAD.search(str(error)) is not None
    return workers > 0


class _Made(Dataset["Batch | DatasetError"]):
    """What PyTorch's loader asks for a batch: its plan is the index."""

    def __init__(self, maker: BatchMaker) -> None:
        self._maker = maker

    def __getitem__(self, plan: BatchPlan) -> Batch | DatasetError:
        try:
            return self._maker(plan)
        except DatasetError as error:
            return error  # raised out of a worker, it would come with a stack trace in its message


def _as_it_is(batch: Any) -> Any:
    return batch


@contextmanager
def _deaths_told_in_order() -> Iterator[None]:
    """Keep PyTorch from raising a worker's death in the middle of a step: the loader tells it when it is asked next."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)
