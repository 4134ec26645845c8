"""train: one configuration and a dataset in, a report after every epoch out."""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from data.dataset import Dataset
from data.errors import ConfigError
from model.checkpoint import Checkpoint, load_checkpoint
from model.device import resolve_device
from model.diagnosis.diagnose import diagnose
from model.evaluation.average_precision import AveragePrecision
from model.prediction import Validation
from model.training.batch_size import resolve_batch_size
from model.training.fine_tuning import take_over
from model.training.inheriting import differences, with_batch_size_of
from model.training.memory import give_back, is_out_of_memory
from model.training.precision import checked
from model.training.report import EpochReport, Watcher
from model.training.resuming import restore, state_of
from model.training.run_folder import RunFolder
from model.training.trainer import EpochSums, Trainer
from model.trial_config import TrialConfig

log = logging.getLogger(__name__)

EXAMINED_WINDOWS = 8  # that a diagnosis between epochs looks at


@dataclass(slots=True)
class Standing:
    """How far a training has come, and how well."""

    epoch: int = 0  # done
    phase_first: int = 1  # first epoch of the phase that `best` speaks of
    best: float = -1.0  # map, of this phase
    gained: int = 0  # the last epoch with a gain that counts
    gain_from: float = -1.0  # map that a gain is counted from


def train(
    config: TrialConfig,
    dataset: Dataset,
    out: str | Path,
    validation: Validation = Validation(),
    device: str = "auto",
    *,
    watchers: Sequence[Watcher] = (),
    init_from: Path | None = None,
    resume: bool = False,
) -> Iterator[EpochReport]:
    """Train one configuration, yielding after every epoch.

    Before a report is yielded, `out` (a folder or an object store's URL) holds that epoch's checkpoint as
    `last.safetensors`, that of the epoch with the best map as `best.safetensors`, and all that is needed to go on. The
    same configuration on the same machine gives the same numbers, also where it was interrupted and resumed.

    Args:
        config: what to train; `training.batch_size=auto` is settled here.
        dataset: with the splits that are trained and measured on.
        out: where checkpoints lie.
        validation: what is measured after each epoch.
        device: as torch names it, or auto.
        watchers: hear of every step and every epoch.
        init_from: a checkpoint whose weights are taken over where they fit.
        resume: go on from what an earlier call left in `out`; from the beginning where it left nothing.

    Raises:
        Diverged: too many steps in a row were not finite.
        TrainingError: memory or loader workers ran out for good.
        DatasetError: a split has no recordings or no labels, or a shard is damaged.
        ConfigError: the device cannot be used, or what is in `out` is of another configuration or dataset.
    """
    target = resolve_device(device)
    folder = RunFolder(out, config.training.checkpoint)
    state = folder.load_state() if resume else None
    if state is not None:
        config = _same_run(config, dataset, state)
    config = resolve_batch_size(config, dataset, target)
    with checked(config.training.check):
        trainer = Trainer(config, dataset, validation, target)
        run = _Run(trainer, folder, validation, watchers)
        if state is not None:
            run.go_on(state)
        elif init_from is not None:
            source = load_checkpoint(init_from, target)
            log.info("%s: %s", init_from, take_over(trainer.detector, dataset.label_set, source))
        yield from run.epochs()


def _same_run(config: TrialConfig, dataset: Dataset, state: dict[str, Any]) -> TrialConfig:
    """The configuration of an interrupted run, which must be the present one.

    Raises:
        ConfigError: they differ; or the dataset does.
    """
    before = TrialConfig.parse(state["config"], "the interrupted run")
    config = with_batch_size_of(before, config)
    differing = "; ".join(differences(before, config).values())
    if differing:
        raise ConfigError(
            f"the run to resume had another configuration ({differing}); give that one, or train into a new folder"
        )
    if state["dataset"] != dataset.digest:
        raise ConfigError(
            f"the run to resume was on another dataset than {dataset.location} is now; train into a new folder"
        )
    return config


class _Run:
    """A training with its folder and its watchers."""

    def __init__(
        self, trainer: Trainer, folder: RunFolder, validation: Validation, watchers: Sequence[Watcher]
    ) -> None:
        self._trainer = trainer
        self._folder = folder
        self._validation = validation
        self._watchers = watchers
        self._standing = Standing()
        self._over = False

    def go_on(self, state: dict[str, Any]) -> None:
        """Continue from the state of an interrupted run."""
        self._standing = Standing(**state["standing"])
        self._over = state["over"]
        restore(self._trainer, self._standing.epoch + 1, state["trainer"])

    def epochs(self) -> Iterator[EpochReport]:
        """Train and measure what is left of the epochs."""
        trainer, last = self._trainer, self._trainer.config.training.epochs
        every = trainer.config.training.checkpoint.every_steps
        for epoch in range(self._standing.epoch + 1, last + 1):
            if self._over:
                return
            start = time.monotonic()
            for step in trainer.epoch(epoch):
                for watcher in self._watchers:
                    watcher.stepped(step)
                if every is not None and step.step % every == 0:
                    self._save_state()
            sums = trainer.end_epoch(epoch)
            precision, results = trainer.measure()
            report = self._judged(epoch, precision, sums, start)
            report = self._kept(report)
            for watcher in self._watchers:
                watcher.measured(report, trainer.measured, results)
            yield report

    def _judged(self, epoch: int, precision: AveragePrecision, sums: EpochSums, start: float) -> EpochReport:
        trainer, standing, training = self._trainer, self._standing, self._trainer.config.training
        assert trainer.plan is not None
        if trainer.plan.first != standing.phase_first:
            # What a cheaper phase reached says little of this one.
            standing.phase_first, standing.best, standing.gain_from = trainer.plan.first, -1.0, -1.0
        best = precision.ap > standing.best or training.with_val
        standing.best = max(standing.best, precision.ap)
        if precision.ap > standing.gain_from + training.min_gain or standing.gain_from < 0:
            standing.gained, standing.gain_from = epoch, precision.ap
        patient = training.patience is None or epoch - standing.gained < training.patience
        standing.epoch = epoch
        self._over = epoch == training.epochs or not patient
        return EpochReport(
            epoch=epoch,
            map=precision.ap,
            map50=precision.ap50,
            map75=precision.ap75,
            best=best,
            last=self._over,
            loss=sums.means(),
            lr=trainer.lr,
            windows_per_second=sums.windows / sums.seconds,
            waiting=sums.waiting / sums.seconds,
            seconds=time.monotonic() - start,
            steps=sums.counted + sums.skipped,
            batch_size=-(-trainer.batch_size // trainer.stepper.parts),
            skipped_steps=sums.skipped,
            worker_restarts=trainer.loader.restarts,
            bad_shards=len(trainer.loader.bad),
            diagnosis=None,
        )

    def _kept(self, report: EpochReport) -> EpochReport:
        """Write the epoch's checkpoints, and the state after them: a run killed between them does this epoch again."""
        trainer = self._trainer
        if not trainer.team.is_first:
            return report
        assert trainer.plan is not None
        dataset, metrics = trainer.dataset, report.as_metrics()
        checkpoint = Checkpoint(
            trainer.measured, trainer.plan.config, dataset.label_set, dataset.size, report.epoch, metrics
        )
        self._folder.keep(checkpoint, report.best, report.map)
        if _examined(report):
            report = replace(report, diagnosis=self._diagnosis(checkpoint))
        self._save_state()
        return report

    def _diagnosis(self, checkpoint: Checkpoint) -> str | None:
        """What `spiketune diagnose` would say; None where there is no memory to ask, which must not end a training."""
        try:
            dataset, split = self._trainer.dataset, self._validation.split
            return diagnose(checkpoint, dataset, split, EXAMINED_WINDOWS).line()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        log.warning("no diagnosis after epoch %d: out of memory", checkpoint.epoch)
        give_back(self._trainer.device)
        return None

    def _save_state(self) -> None:
        trainer = self._trainer
        if trainer.team.is_first:
            self._folder.save_state(
                {
                    "config": trainer.config.model_dump(mode="json"),
                    "dataset": trainer.dataset.digest,
                    "standing": asdict(self._standing),
                    "over": self._over,
                    "trainer": state_of(trainer),
                }
            )


def _examined(report: EpochReport) -> bool:
    """Whether an epoch ends with a diagnosis: often while much changes, and seldom enough to cost little."""
    return report.last or report.epoch.bit_count() == 1
