"""A training that tells each of its steps down a pipe, for tests that kill it: a module of its own, to be imported."""

from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from data.dataset import Dataset
from model.detector import SpikingDetector
from model.prediction import Validation, WindowResult
from model.training.report import EpochReport, StepReport
from model.training.run import train
from model.trial_config import TrialConfig

CONFIG = TrialConfig().with_leaves(
    {
        "data.time_steps": 2,
        "training.epochs": 6,
        "training.batch_size": 2,
        "training.windows_per_epoch": 28,
        "training.compile": "off",
        "training.ema_decay": 0.9,
        "training.checkpoint.every_steps": 1,
        "training.checkpoint.top": 2,
    },
    "test",
)


class Telling:
    """A watcher that tells each step down a pipe."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def stepped(self, step: StepReport) -> None:
        self._pipe.send((step.epoch, step.step))

    def measured(self, report: EpochReport, detector: SpikingDetector, results: Sequence[WindowResult]) -> None:
        pass


def live(dataset: str, out: Path, pipe: Connection) -> None:
    torch.set_num_threads(1)
    for _ in train(
        CONFIG, Dataset.open(dataset), out, Validation(windows=3), "cpu", watchers=[Telling(pipe)], resume=True
    ):
        pass
    pipe.send(None)
