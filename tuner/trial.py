"""One trial in a Ray worker: the only place that reports to Ray."""

import contextlib
import gc
import math
import tempfile
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import torch
from ray import tune

from data.dataset import Dataset
from data.errors import TrainingError
from model.prediction import Validation
from model.training import EpochReport
from model.trial_config import TrialConfig
from tuner.space import Leaves

TrainFunction = Callable[[TrialConfig, Dataset, Path, Validation], Iterator[EpochReport]]


class Assignment(TypedDict):
    """What Ray carries from the study to the worker as the trial's `config`."""

    number: int
    leaves: Leaves


@dataclass(frozen=True)
class TrialJob:
    """What all trials of a search share; travels to the workers once."""

    default: TrialConfig
    dataset: str  # location; every worker opens it for itself
    validation: Validation
    metric: str
    threads: int
    train: TrainFunction


def run_trial(assignment: Assignment, job: TrialJob) -> None:
    """Train one configuration and report each epoch with its best and last checkpoint.

    Raises:
        TrainingError: the objective is not a finite number, or training ended before its budget.
    """
    torch.set_num_threads(job.threads)
    where = f"trial {assignment['number']}"
    config = job.default.with_leaves(assignment["leaves"], where)
    dataset = Dataset.open(job.dataset)
    epoch = 0
    # The actor lives on for the next trial: files and generator are gone before it starts, also when Ray stops this one
    # inside tune.report (it raises SystemExit there). Ray makes its own session folder the working one, and that is
    # removed with the session, so a worker that is killed leaves nothing behind either.
    try:
        with (
            tempfile.TemporaryDirectory(prefix="files-", dir=Path.cwd()) as folder,
            contextlib.closing(_generator(job, config, dataset, Path(folder))) as reports,
        ):
            for report in reports:
                epoch = report.epoch
                _report(report, job.metric, Path(folder))
    finally:
        del dataset
        gc.collect()
    if epoch < config.training.epochs:
        raise TrainingError(f"{where}: training ended after {epoch} of {config.training.epochs} epochs")


def _generator(
    job: TrialJob, config: TrialConfig, dataset: Dataset, folder: Path
) -> Generator[EpochReport, None, None]:
    yield from job.train(config, dataset, folder, job.validation)


def _report(report: EpochReport, metric: str, folder: Path) -> None:
    metrics = report.as_metrics()
    if not math.isfinite(metrics[metric]):
        raise TrainingError(f"epoch {report.epoch}: {metric} is {metrics[metric]}; training has diverged")
    facts = {"reported": list(metrics), "diagnosis": report.diagnosis}
    tune.report({**metrics, **facts}, checkpoint=tune.Checkpoint.from_directory(str(folder)))
