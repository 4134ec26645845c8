"""The trainings behind the detector benchmark: each on a thread of its own, two processes at a time."""

import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path

import torch

from benchmarks.detector_merits import Merits, merits
from benchmarks.yolov8_peer import OWN_RECIPE, SHORT_RECIPE, Yolov8n, Yolov8Trainer
from data.batches import Batch
from data.dataset import Dataset
from data.loading import LoadingPlan, TrainingLoader
from data.manifest import Split
from model.evaluation.average_precision import AveragePrecision
from model.evaluation.protocol import validate
from model.prediction import EvaluationWindows, Validation
from model.training.trainer import Trainer
from model.trial_config import TrialConfig

CPU = torch.device("cpu")
PROCESSES = 2
WARM_UP_STEPS, TIMED_STEPS = 5, 15  # of the run that tells a net's speed; the first ones compile


class Net(StrEnum):
    """Who is trained."""

    ILIF = "I-LIF nano"
    RELU = "ReLU twin"
    YOLOV8N = "YOLOv8n"
    YOLOV8N_SHORT = "YOLOv8n, a step a batch"

    @property
    def is_peer(self) -> bool:
        """Whether it is none of our own nets."""
        return self in RECIPES


RECIPES = {Net.YOLOV8N: OWN_RECIPE, Net.YOLOV8N_SHORT: SHORT_RECIPE}


@dataclass(frozen=True, slots=True)
class Job:
    """One training."""

    net: Net
    dataset: Path
    seed: int
    epochs: int
    windows_per_epoch: int | None = None  # None: every label once
    has_merits: bool = False  # whether more than mAP is asked for

    def config(self) -> TrialConfig:
        """What is trained; of the peer, what its batches are."""
        leaves: dict[str, object] = {"training.epochs": self.epochs, "training.seed": self.seed}
        if self.windows_per_epoch:
            leaves["training.windows_per_epoch"] = self.windows_per_epoch
        if self.net is Net.RELU:
            leaves["model.neuron.name"] = "relu"
        return TrialConfig().with_leaves(leaves, "the benchmark")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a training led to, on all unseen windows."""

    job: Job
    map: float
    map50: float
    windows: int  # shown in training
    cpu_seconds: float  # of training alone
    merits: Merits | None


class _Ours:
    """One of our own nets in training."""

    def __init__(self, job: Job) -> None:
        dataset = Dataset.open(job.dataset)
        self._trainer = Trainer(job.config(), dataset, Validation(), CPU)
        self._has_merits = job.has_merits
        self.loader = self._trainer.loader

    def step(self, batch: Batch) -> None:
        self._trainer.stepper.step([batch])

    def train(self, epochs: int) -> float:
        start = time.process_time()
        for epoch in range(1, epochs + 1):
            for _ in self._trainer.epoch(epoch):
                pass
            self._trainer.end_epoch(epoch)
        return time.process_time() - start

    def measure(self) -> tuple[AveragePrecision, Merits | None]:
        return self._trainer.measure()[0], merits(self._trainer) if self._has_merits else None


class _Peer:
    """YOLOv8n in training."""

    def __init__(self, job: Job) -> None:
        torch.manual_seed(job.seed)
        config = job.config()
        self._dataset = Dataset.open(job.dataset)
        training = config.training
        loading = LoadingPlan(training.windows_a_batch, training.windows_per_epoch, training.epochs, training.seed)
        self.loader = TrainingLoader(self._dataset.shards(Split.TRAIN), config.data, loading)
        self._windows = EvaluationWindows(self._dataset.shards(Split.VAL), config.data, Validation())
        classes = len(self._dataset.label_set.classes)
        self._net = Yolov8n(config.data.time_steps * config.data.representation.channels, classes)
        self._trainer = Yolov8Trainer(self._net, self.loader, training.epochs, classes, RECIPES[job.net])

    def step(self, batch: Batch) -> None:
        self._trainer.step(batch, 0)

    def train(self, epochs: int) -> float:
        start = time.process_time()
        for epoch in range(1, epochs + 1):
            self._trainer.epoch(epoch)
        seconds = time.process_time() - start
        self._trainer.keep_averaged()
        return seconds

    def measure(self) -> tuple[AveragePrecision, Merits | None]:
        results = self._windows.predict(self._net, CPU)  # type: ignore[arg-type]  # it answers as our detectors do
        return validate(results, self._dataset.label_set, self._dataset.size), None


def outcomes(jobs: Sequence[Job]) -> Iterator[Outcome]:
    """The outcomes as they come; jobs begin in their order."""
    with _workers() as pool:
        yield from pool.imap_unordered(_outcome, jobs, chunksize=1)


def windows_a_second(jobs: Sequence[Job]) -> dict[Net, float]:
    """How many windows each net's training takes a CPU second while another one runs beside it."""
    with _workers() as pool:
        return dict(zip((job.net for job in jobs), pool.imap(_speed, jobs, chunksize=1), strict=True))


@contextmanager
def _workers() -> Iterator["multiprocessing.pool.Pool"]:
    pool = multiprocessing.get_context("spawn").Pool(PROCESSES, _one_thread)
    with pool:
        yield pool
        pool.close()
        pool.join()  # before the `with` ends them, so that they give back what they hold


def _one_thread() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


def _started(job: Job) -> _Ours | _Peer:
    return _Peer(job) if job.net.is_peer else _Ours(job)


def _outcome(job: Job) -> Outcome:
    training = _started(job)
    seconds = training.train(job.epochs)
    precision, more = training.measure()
    windows = len(training.loader) * training.loader.batch_size * job.epochs
    return Outcome(job, precision.ap, precision.ap50, windows, seconds, more)


def _speed(job: Job) -> float:
    training = _started(job)
    batches = iter(training.loader.epoch(1))

    def take(steps: int) -> None:
        for batch in islice(batches, steps):
            training.step(batch)

    take(WARM_UP_STEPS)
    start = time.process_time()
    take(TIMED_STEPS)
    return TIMED_STEPS * training.loader.batch_size / (time.process_time() - start)
