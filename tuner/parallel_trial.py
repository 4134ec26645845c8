"""One trial trained by several processes together: Ray Train inside Tune, each with its rows of every batch."""

from typing import Any

import ray.train
from ray.train.torch import TorchConfig, TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback

from data.errors import Diverged, TrainingError
from tuner.trial import Assignment, Infeasible, TrialJob, left_behind, leg_name, train_and_tell
from tuner.worker import lent_worker


def run_parallel_trial(assignment: Assignment, job: TrialJob, processes: int) -> None:
    """Have so many processes train one configuration; the first of them reports to Tune, as a trial alone would.

    Raises:
        Diverged: the loss is not finite.
        Infeasible: a constraint is broken.
        TrainingError: a process failed; its own words.
    """
    with_gpus = job.gpus > 0
    share = {"CPU": float(job.threads), **({"GPU": job.gpus / processes} if with_gpus else {})}
    trainer = TorchTrainer(
        _train_share,
        train_loop_config={"assignment": assignment, "job": job},
        torch_config=TorchConfig(backend="nccl" if with_gpus else "gloo"),
        scaling_config=ray.train.ScalingConfig(num_workers=processes, use_gpu=with_gpus, resources_per_worker=share),
        run_config=ray.train.RunConfig(
            name=leg_name(assignment["number"], assignment["leg"]),
            storage_path=job.parallel_folder,
            callbacks=[TuneReportCallback()],
            # Two: the first may be the one the study knows when the driver dies.
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
            failure_config=ray.train.FailureConfig(max_failures=0),
        ),
    )
    try:
        trainer.fit()
    except ray.train.WorkerGroupError as error:
        raise _plain(error) from None


def _plain(error: ray.train.WorkerGroupError) -> Diverged | Infeasible | TrainingError:
    """The first process's error, in its own words."""
    failure = error.worker_failures[min(error.worker_failures)]
    cause = getattr(failure, "_base_exc", None) or failure.__cause__ or failure
    if isinstance(cause, Infeasible):
        return cause
    if isinstance(cause, Diverged):
        return Diverged(str(cause), cause.term)
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return TrainingError(lines[-1] if lines else type(cause).__name__)


def _train_share(config: dict[str, Any]) -> None:
    """What every process does; all must report, and the first one's numbers count."""
    first = ray.train.get_context().get_world_rank() == 0

    def tell(result: dict[str, object], folder: str) -> None:
        ray.train.report(result, checkpoint=ray.train.Checkpoint.from_directory(folder) if first else None)

    job: TrialJob = config["job"]
    with lent_worker(job.threads):
        lost = ray.train.get_checkpoint() or left_behind(config["assignment"])
        train_and_tell(config["assignment"], job, lost, tell)
