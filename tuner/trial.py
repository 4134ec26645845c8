"""One trial in a Ray worker: the only place that reports to Ray."""

import contextlib
import math
import tempfile
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypedDict

from ray import tune

from data.dataset import Dataset
from data.errors import Diverged, TrainingError
from model.prediction import Validation
from model.training.report import EpochReport
from model.trial_config import TrialConfig
from tuner.space import Leaves
from tuner.worker import lent_worker


class TrainFunction(Protocol):
    """Trains a configuration into a folder; goes on from what lies there where it is told to resume."""

    def __call__(
        self, config: TrialConfig, dataset: Dataset, out: Path, validation: Validation, *, resume: bool
    ) -> Iterator[EpochReport]:
        """A report after every epoch."""


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
    threads: int  # of each of its processes
    train: TrainFunction
    processes: int = 1  # that train a trial together
    gpus: float = 0  # of all of them
    parallel_folder: str = ""  # absolute; where their checkpoints go


def run_trial(assignment: Assignment, job: TrialJob) -> None:
    """Train one configuration and report each epoch with its checkpoints; or last of all that it diverged.

    A worker that takes up a trial whose worker was lost goes on from what that one reported last.

    Raises:
        TrainingError: training ended before its budget.
    """
    with lent_worker(job.threads):
        diverged = _diverged(assignment, job)
    if diverged is not None:
        # As data: of an exception the driver is given the text alone, and this process would be thrown away.
        tune.report({job.metric: math.nan, "diverged": diverged})


def _diverged(assignment: Assignment, job: TrialJob) -> str | None:
    """Run the trial; what is said of it if it has diverged. The error itself would hold on to the trial's tensors."""
    try:
        if job.processes > 1:
            from tuner.parallel_trial import run_parallel_trial

            run_parallel_trial(assignment, job, job.processes)
        else:
            _run_here(assignment, job)
    except Diverged as error:
        return str(error)
    return None


def _run_here(assignment: Assignment, job: TrialJob) -> None:
    def tell(result: dict[str, object], folder: str) -> None:
        tune.report(result, checkpoint=tune.Checkpoint.from_directory(folder))

    train_and_tell(assignment, job, tune.get_checkpoint(), tell)


def train_and_tell(
    assignment: Assignment, job: TrialJob, lost: tune.Checkpoint | None, tell: Callable[[dict[str, object], str], None]
) -> None:
    """Train in a folder that is gone afterwards; `tell` hears of each epoch's result, and of the folder.

    Args:
        assignment: what to train.
        job: what all trials share.
        lost: what a worker that was lost had reported last.
        tell: reports to whoever started this.

    Raises:
        Diverged: the loss is not finite.
        TrainingError: training ended before its budget.
    """
    over = lost is not None  # its worker may have been lost after the last epoch, with nothing left to do
    # Files and generator are gone before the next trial starts, also when Ray stops this one inside tune.report (it
    # raises SystemExit there). Ray makes its own session folder the working one, and that is removed with the session,
    # so a worker that is killed leaves nothing behind either.
    with tempfile.TemporaryDirectory(prefix="files-", dir=Path.cwd()) as name:
        if lost is not None:
            lost.to_directory(name)
        with contextlib.closing(_trained(assignment, job, Path(name), resume=lost is not None)) as reports:
            for report in reports:
                over = report.last
                tell(_as_result(report, job.metric), name)
    if not over:
        raise TrainingError(f"trial {assignment['number']}: training ended before its last epoch")


def _trained(
    assignment: Assignment, job: TrialJob, folder: Path, *, resume: bool
) -> Generator[EpochReport, None, None]:
    """Train what is assigned; this alone holds the dataset, which is gone with it."""
    config = job.default.with_leaves(assignment["leaves"], f"trial {assignment['number']}")
    yield from job.train(config, Dataset.open(job.dataset), folder, job.validation, resume=resume)


def _as_result(report: EpochReport, metric: str) -> dict[str, object]:
    """What Ray carries of an epoch to the driver.

    Raises:
        Diverged: the objective is not a finite number.
    """
    metrics = report.as_metrics()
    if not math.isfinite(metrics[metric]):
        raise Diverged(f"epoch {report.epoch}: {metric} is {metrics[metric]}; training has diverged", metric)
    return {**metrics, "reported": list(metrics), "diagnosis": report.diagnosis}
