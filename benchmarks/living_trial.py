"""Trainings that live in processes of their own and train an epoch whenever they are told to, so as to take turns."""

import itertools
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from benchmarks.gzip_peer import PlainTrainer
from benchmarks.stopwatch import Epoch, Stopwatch, peak_bytes
from data.dataset import Dataset
from data.manifest import Split
from model.prediction import Validation
from model.training.run import train
from model.trial_config import TrialConfig

EPOCHS = 1000  # more than are ever asked for
PATIENCE_S = 900.0  # in which an epoch must be done


@dataclass(frozen=True, slots=True)
class Training:
    """What a process trains."""

    dataset: Path
    leaves: Mapping[str, object]
    threads: int = 1
    recordings: Path | None = None  # of the peer in plain SpikingJelly; None: ours
    channels_innermost: bool = False  # of the peer
    validation_windows: int = 1

    def config(self) -> TrialConfig:
        """The configuration."""
        return TrialConfig().with_leaves({"training.epochs": EPOCHS, **self.leaves}, "the benchmark")


class LivingTrial:
    """A training's process, seen from the benchmark."""

    def __init__(self, training: Training) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        os.environ["OMP_NUM_THREADS"] = str(training.threads)  # as Ray sets it for a trial
        self._process = context.Process(target=_serve, args=(training, theirs), daemon=True)
        self._process.start()
        theirs.close()  # so that its end is heard of

    def begin(self) -> None:
        """Tell it to train an epoch."""
        self._pipe.send(True)

    def finish(self) -> Epoch:
        """Wait for the epoch.

        Raises:
            RuntimeError: it takes too long, or the process has ended.
        """
        if not self._pipe.poll(PATIENCE_S):
            raise RuntimeError(f"an epoch took longer than {PATIENCE_S:g} s")
        try:
            epoch: Epoch = self._pipe.recv()
        except EOFError:
            raise RuntimeError("a training's process has ended; what it said stands above") from None
        return epoch

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(timeout=30)
        self._process.terminate()


@contextmanager
def living(trainings: Mapping[str, Training]) -> Iterator[dict[str, LivingTrial]]:
    """A process for each training, warmed up by an epoch that is not counted."""
    with ExitStack() as stack:
        trials = {}
        for name, training in trainings.items():
            trial = trials[name] = LivingTrial(training)
            stack.callback(trial.close)
            epoch_of(trial)
        yield trials


def epoch_of(trial: LivingTrial) -> Epoch:
    """Train one epoch."""
    trial.begin()
    return trial.finish()


def rounds_of(trials: Mapping[str, LivingTrial], rounds: int) -> dict[str, list[Epoch]]:
    """Epochs of trainings that take turns."""
    taken: dict[str, list[Epoch]] = {name: [] for name in trials}
    for _, (name, trial) in itertools.product(range(rounds), trials.items()):
        taken[name].append(epoch_of(trial))
    return taken


def _serve(training: Training, pipe: "Connection[Any, Any]") -> None:
    import tuner.trial  # noqa: F401 - a search's worker holds Ray, too

    torch.set_num_threads(training.threads)
    epochs = _ours(training) if training.recordings is None else _peers(training, training.recordings)
    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        pipe.send(next(epochs))


def _ours(training: Training) -> Iterator[Epoch]:
    watch = Stopwatch()
    dataset = Dataset.open(training.dataset)
    validation = Validation(Split.TRAIN, training.validation_windows)
    with tempfile.TemporaryDirectory() as name:
        for _ in train(training.config(), dataset, Path(name), validation, "cpu", watchers=(watch,)):
            yield watch.epoch()
            watch.restart()


def _peers(training: Training, recordings: Path) -> Iterator[Epoch]:
    trainer = PlainTrainer(recordings, Dataset.open(training.dataset), training.config(), training.channels_innermost)
    for number in itertools.count(1):
        start = time.monotonic()
        windows, waited = trainer.epoch(number)
        yield Epoch(start, time.monotonic(), windows, waited, peak_bytes())
