"""Training: one configuration and a dataset in, a report after every epoch out."""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch.optim.lr_scheduler import LRScheduler

from data.batches import Batch
from data.class_balance import balanced_weights
from data.dataset import Dataset
from data.errors import TrainingError
from data.loading import LoadingPlan, TrainingLoader
from data.manifest import Split
from data.sampling import Order
from model.checkpoint import Checkpoint, save_checkpoint
from model.compilation import resolve_compile
from model.device import resolve_device
from model.diagnosis.diagnose import diagnose
from model.evaluation.average_precision import AveragePrecision
from model.evaluation.protocol import validate
from model.initial import initial_detector
from model.loss import ClassWeights, DetectionLoss, LossTerms
from model.prediction import EvaluationWindows, Validation
from model.schedule import make_optimizer, make_schedule
from model.trial_config import Compile, TrialConfig

BEST = "best.safetensors"
LAST = "last.safetensors"
EXAMINED_WINDOWS = 8  # that a diagnosis between epochs looks at


@dataclass(frozen=True, slots=True)
class EpochReport:
    """What one epoch did."""

    epoch: int  # from 1
    map: float  # AP .50 to .95 on the validation windows
    map50: float
    map75: float
    best: bool  # the best map so far
    loss: dict[str, float]  # weighted terms by name, mean over the epoch's steps
    lr: float  # learning rate of the epoch's last step
    windows_per_second: float  # trained, without the evaluation
    seconds: float  # of training and evaluation
    diagnosis: str | None  # what `spiketune diagnose` would say, at epochs 1, 2, 4, 8, ... and the last

    def as_metrics(self) -> dict[str, float]:
        """Flat numbers by name, for a tracker."""
        values = asdict(self)
        del values["diagnosis"]
        terms = {f"loss_{name}": value for name, value in values.pop("loss").items()}
        return {**{name: float(value) for name, value in values.items()}, "loss": sum(terms.values()), **terms}


class Trainer:
    """The state of one training: detector, optimizer, schedule."""

    def __init__(self, config: TrialConfig, dataset: Dataset, validation: Validation, device: torch.device) -> None:
        training = config.training
        self.config = config
        self.dataset = dataset
        self.device = device
        loading = LoadingPlan(
            training.batch_size, training.windows_per_epoch, training.epochs, training.seed, str(device)
        )
        self.loader = TrainingLoader(dataset.shards(Split.TRAIN), config.data, loading)
        self.windows = EvaluationWindows(dataset.shards(validation.split), config.data, validation)
        compiled = resolve_compile(config, device) is Compile.NEURONS
        self.detector = initial_detector(config, dataset.label_set, compiled).to(device)
        self.loss = DetectionLoss(config.loss, _class_weights(config, dataset, device))
        self.optimizer = make_optimizer(self.detector, config.optimizer)
        self.schedule: LRScheduler = make_schedule(self.optimizer, config.optimizer, training.epochs, len(self.loader))

        self.lr = 0.0  # of the last step

    def epoch(self, number: int) -> dict[str, float]:
        """Train on the windows of one epoch; the mean of each loss term."""
        self.detector.train()
        sums: dict[str, float] = {}
        for place, batch in enumerate(self.loader.epoch(number)):
            terms = self.step(batch.to(self.device), f"epoch {number}, batch {place}").as_dict()
            sums = {name: sums.get(name, 0.0) + value for name, value in terms.items()}
        return {name: value / len(self.loader) for name, value in sums.items()}

    def step(self, batch: Batch, where: str) -> LossTerms:
        """One step of the optimizer.

        Raises:
            TrainingError: a term of the loss is not finite; it is named, and the weights are not touched.
        """
        streams = self.config.data.order is not Order.RANDOM
        predictions = self.detector(batch.frames_TBCHW, batch.continues if streams else None)
        terms = self.loss(predictions, batch)
        broken = [name for name, value in terms.as_dict().items() if not math.isfinite(value)]
        if broken:
            raise TrainingError(
                f"loss term {', '.join(broken)} is not finite in {where} ({self._shown(batch)}); lower optimizer.lr"
            )
        self.optimizer.zero_grad(set_to_none=True)
        terms.total().backward()
        torch.nn.utils.clip_grad_norm_(self.detector.parameters(), self.config.optimizer.clip_norm)
        self.lr = float(self.schedule.get_last_lr()[0])
        self.optimizer.step()
        self.schedule.step()
        return terms

    def _shown(self, batch: Batch) -> str:
        """The windows of a batch, for who looks for what broke a loss."""
        shards = self.dataset.shards(Split.TRAIN)
        return ", ".join(
            f"{shards[window.recording].name} at {window.label_us / 1e6:.3f} s" for window in batch.windows
        )

    def measure(self) -> AveragePrecision:
        """Average precision of the present weights."""
        results = self.windows.predict(self.detector, self.device)
        return validate(results, self.dataset.label_set, self.dataset.size)


def _class_weights(config: TrialConfig, dataset: Dataset, device: torch.device) -> torch.Tensor | None:
    if config.loss.class_weights is ClassWeights.NONE:
        return None
    return torch.from_numpy(balanced_weights(dataset.class_counts(Split.TRAIN))).to(device)


def train(
    config: TrialConfig, dataset: Dataset, out: Path, validation: Validation = Validation(), device: str = "auto"
) -> Iterator[EpochReport]:
    """Train one configuration, yielding after every epoch.

    Before a report is yielded, `out/last.safetensors` holds that epoch's weights, and `out/best.safetensors` those of
    the epoch with the best map. The same configuration on the same machine gives the same numbers.

    Raises:
        TrainingError: the loss is not finite.
        DatasetError: a split has no recordings or no labels.
        ConfigError: the device cannot be used.
    """
    trainer = Trainer(config, dataset, validation, resolve_device(device))
    out.mkdir(parents=True, exist_ok=True)
    best = -1.0
    for epoch in range(1, config.training.epochs + 1):
        start = time.monotonic()
        losses = trainer.epoch(epoch)
        trained = time.monotonic()
        precision = trainer.measure()
        report = EpochReport(
            epoch=epoch,
            map=precision.ap,
            map50=precision.ap50,
            map75=precision.ap75,
            best=precision.ap > best,
            loss=losses,
            lr=trainer.lr,
            windows_per_second=len(trainer.loader) * trainer.loader.batch_size / (trained - start),
            seconds=time.monotonic() - start,
            diagnosis=None,
        )
        best = max(best, precision.ap)
        checkpoint = _save(trainer, report, out)
        if _examined(epoch, config.training.epochs):
            diagnosis = diagnose(checkpoint, dataset, validation.split, EXAMINED_WINDOWS)
            report = replace(report, diagnosis=diagnosis.line())
        yield report


def _examined(epoch: int, last: int) -> bool:
    """Whether an epoch ends with a diagnosis: often while much changes, and seldom enough to cost little."""
    return epoch == last or epoch.bit_count() == 1


def _save(trainer: Trainer, report: EpochReport, out: Path) -> Checkpoint:
    dataset = trainer.dataset
    metrics = report.as_metrics()
    checkpoint = Checkpoint(trainer.detector, trainer.config, dataset.label_set, dataset.size, report.epoch, metrics)
    save_checkpoint(checkpoint, out / LAST)
    if report.best:
        save_checkpoint(checkpoint, out / BEST)
    return checkpoint
