"""One trial in a Ray worker: the only place that reports to Ray."""

import contextlib
import math
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypedDict

import torch
from ray import tune

from data.dataset import Dataset
from data.errors import Diverged, TrainingError
from model.prediction import Validation
from model.training.report import EpochReport
from model.training.run_folder import BEST
from model.trial_config import TrialConfig
from tuner.costs import Costs, costs_before
from tuner.space import Leaves
from tuner.spec.objective import Constraint
from tuner.system_metrics import SystemMeter
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
    leg: int  # 1 for the first worker that takes the trial up
    files: str | None  # what the worker before it left; None begins anew


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
    constraints: tuple[Constraint, ...] = ()
    wanted: frozenset[str] = frozenset()  # costs that are objectives or constrained


def run_trial(assignment: Assignment, job: TrialJob) -> None:
    """Train one configuration and report each epoch with its checkpoints; or last of all why it came to nothing.

    A worker that takes up a trial goes on from what the one before it reported last.

    Raises:
        TrainingError: training ended before its budget.
    """
    with lent_worker(job.threads):
        over = _run(assignment, job)
    if over is not None:
        # As data: of an exception the driver is given the text alone, and this process would be thrown away.
        tune.report({job.metric: math.nan, **over})


def _run(assignment: Assignment, job: TrialJob) -> dict[str, object] | None:
    """Run the trial; why it came to nothing, if so. The error itself would hold on to the trial's tensors."""
    try:
        if job.processes > 1:
            from tuner.parallel_trial import run_parallel_trial

            run_parallel_trial(assignment, job, job.processes)
        else:
            _run_here(assignment, job)
    except Infeasible as error:
        return {"infeasible": str(error), "violation": error.violation}
    except Diverged as error:
        return {"diverged": str(error)}
    except (MemoryError, torch.OutOfMemoryError) as error:
        return {"out_of_memory": (str(error).splitlines() or ["out of memory"])[0]}
    return None


def _run_here(assignment: Assignment, job: TrialJob) -> None:
    def tell(result: dict[str, object], folder: str) -> None:
        tune.report(result, checkpoint=tune.Checkpoint.from_directory(folder))

    # Ray itself takes a trial up again when a node is drained; otherwise the assignment says what there is.
    train_and_tell(assignment, job, tune.get_checkpoint() or left_behind(assignment), tell)


def leg_name(number: int, leg: int) -> str:
    """The folder of what a trial's worker leaves: 0007 of the first, 0007.2 of the second."""
    return f"{number:04d}" if leg == 1 else f"{number:04d}.{leg}"


def left_behind(assignment: Assignment) -> tune.Checkpoint | None:
    """What the worker before this one left; None if there was none, or if its files are gone."""
    files = assignment["files"]
    if files is None or not Path(files).is_dir():
        return None
    return tune.Checkpoint(files)


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
    meter = SystemMeter()
    over = lost is not None  # its worker may have been lost after the last epoch, with nothing left to do
    # Files and generator are gone before the next trial starts, also when Ray stops this one inside tune.report (it
    # raises SystemExit there). Ray makes its own session folder the working one, and that is removed with the session,
    # so a worker that is killed leaves nothing behind either.
    with tempfile.TemporaryDirectory(prefix="files-", dir=Path.cwd()) as name:
        if lost is not None:
            lost.to_directory(name)
        with contextlib.closing(_trained(assignment, job, Path(name), resume=lost is not None)) as reports:
            for report, costs in reports:
                over = report.last
                tell(_as_result(report, job.metric, {**costs, **meter.sample()}), name)
    if not over:
        raise TrainingError(f"trial {assignment['number']}: training ended before its last epoch")


def _trained(
    assignment: Assignment, job: TrialJob, folder: Path, *, resume: bool
) -> Generator[tuple[EpochReport, dict[str, float]], None, None]:
    """Train what is assigned; this alone holds the dataset, which is gone with it."""
    config = job.default.with_leaves(assignment["leaves"], f"trial {assignment['number']}")
    dataset = Dataset.open(job.dataset)
    costs = Costs(dataset, job.validation.split, job.wanted, _affordable(config, dataset, job))
    for report in job.train(config, dataset, folder, job.validation, resume=resume):
        yield report, costs.at(folder / BEST, is_new=report.best) if job.wanted else {}


class Infeasible(Exception):  # noqa: N818 - an outcome, not a fault
    """The configuration breaks a constraint."""

    def __init__(self, broken: str, violation: float, costs: dict[str, float]) -> None:
        super().__init__(broken, violation, costs)  # all of them, for it travels between processes
        self.broken = broken
        self.violation = violation
        self.costs = costs

    def __str__(self) -> str:
        return self.broken


def _affordable(config: TrialConfig, dataset: Dataset, job: TrialJob) -> dict[str, float]:
    """What is known of the costs before training.

    Raises:
        Infeasible: they break a constraint.
    """
    costs = costs_before(config, dataset, job.wanted)
    broken = [constraint for constraint in job.constraints if constraint.violation(costs)]
    if broken:
        told = "; ".join(f"{rule.metric} is {costs[rule.metric]:g}, must be {rule}" for rule in broken)
        raise Infeasible(told, sum(rule.violation(costs) for rule in broken), costs)
    return costs


def _as_result(report: EpochReport, metric: str, further: Mapping[str, float]) -> dict[str, object]:
    """What Ray carries of an epoch to the driver.

    Raises:
        Diverged: the objective is not a finite number.
    """
    metrics = {**report.as_metrics(), **further}
    if not math.isfinite(metrics[metric]):
        raise Diverged(f"epoch {report.epoch}: {metric} is {metrics[metric]}; training has diverged", metric)
    return {**metrics, "reported": list(metrics), "diagnosis": report.diagnosis}
