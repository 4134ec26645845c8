"""The state of a training between its steps: detector, optimizer, schedule, and how far it has come."""

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch.profiler import record_function

from data.batches import Batch
from data.class_balance import balanced_weights
from data.dataset import Dataset
from data.errors import Diverged
from data.loading import LoadingPlan, TrainingLoader
from model.compilation import compile_detector, resolve_compile
from model.detector import SpikingDetector
from model.evaluation.average_precision import AveragePrecision
from model.evaluation.protocol import validate
from model.initial import initial_detector
from model.loss import ClassWeights, DetectionLoss
from model.optimizer import make_optimizer
from model.prediction import EvaluationWindows, Validation, WindowResult
from model.schedule import go_to, make_schedule
from model.team import Team, joined, parallel
from model.training.averaging import WeightAverage, refresh_norms
from model.training.config import Compile
from model.training.lessons import lesson_counts, lessons
from model.training.phases import PhasePlan, phase_plans
from model.training.precision import Numerics, resolve_precision
from model.training.report import StepReport, StepSeconds
from model.training.stepping import Stepper, StepResult
from model.trial_config import TrialConfig

NORM_BATCHES = 32  # that the statistics of averaged weights are taken from


@dataclass(slots=True)
class EpochSums:
    """What the steps of an epoch come to."""

    batches: int = 0  # done
    counted: int = 0  # steps that changed the weights
    skipped: int = 0
    loss: dict[str, float] = field(default_factory=dict)  # summed over the counted steps
    windows: int = 0
    waiting: float = 0.0  # seconds
    seconds: float = 0.0

    def add(self, report: StepReport, batches: int) -> None:
        """Add a step."""
        self.batches += batches
        self.windows += report.windows
        self.waiting += report.seconds.data
        self.seconds += report.seconds.total
        if report.skipped is not None:
            self.skipped += 1
            return
        self.counted += 1
        for name, value in report.loss.items():
            self.loss[name] = self.loss.get(name, 0.0) + value

    def means(self) -> dict[str, float]:
        """Each term by its name; not a number where no step counted."""
        return {name: value / self.counted for name, value in self.loss.items()}


class Trainer:
    """Trains one detector, epoch by epoch.

    Raises:
        DatasetError: a split has no recordings or no labels.
        ConfigError: the device cannot compute what the configuration asks for.
    """

    def __init__(self, config: TrialConfig, dataset: Dataset, validation: Validation, device: torch.device) -> None:
        self.config = config
        self.dataset = dataset
        self.device = device
        self.team: Team = joined(device)
        self.lr = 0.0  # of the last step
        self.sums = EpochSums()
        self.skipped_in_row = 0
        mode = resolve_compile(config, device)
        self.detector = initial_detector(config, dataset.label_set, mode is Compile.NEURONS).to(device)
        compile_detector(self.detector, mode)
        self.loss = DetectionLoss(config.loss, _class_weights(config, dataset, device), self.team)
        self.optimizer = make_optimizer(self.detector, config.optimizer, self.batch_size * config.training.accumulate)
        numerics = Numerics(resolve_precision(config, device), device)
        self.stepper = Stepper(config, self.detector, self.loss, self.optimizer, numerics, self.team)
        self.average = WeightAverage.of(config.training, self.detector)
        self._validation = validation
        self._plans = phase_plans(config)
        self._backbone_learns: bool | None = None
        self.plan: PhasePlan | None = None
        self.enter(1)

    @property
    def batch_size(self) -> int:
        """Windows a batch."""
        return self.config.training.windows_a_batch

    @property
    def measured(self) -> SpikingDetector:
        """The detector that is measured and kept: with averaged weights, where there are any yet."""
        averaged = None if self.average is None else self.average.detector
        return self.detector if averaged is None else averaged

    def enter(self, epoch: int) -> None:
        """Begin the phase of this epoch, unless it is going on: other windows, the same weights."""
        plan = next((plan for plan in self._plans if epoch <= plan.last), self._plans[-1])
        if plan is self.plan:
            return
        training = plan.config.training
        loading = LoadingPlan(
            batch_size=self.batch_size,
            windows_per_epoch=training.windows_per_epoch,
            epochs=training.epochs,
            seed=training.seed,
            device=str(self.device),
            rank=self.team.rank,
            ranks=self.team.ranks,
            recordings=plan.recordings,
        )
        shards = lessons(self.dataset, training)
        self.plan = plan
        self.loader = TrainingLoader(shards, plan.config.data, loading)
        shards = self.dataset.shards(self._validation.split)
        self.windows = EvaluationWindows(shards, plan.config.data, self._validation, self.team)
        self.schedule = make_schedule(self.optimizer, plan.config.optimizer, training.epochs, self.steps)
        self.stepper.undo.membranes.clear()
        self.loss.memory.restore([])  # recordings are counted anew

    @property
    def steps(self) -> int:
        """Steps of the optimizer an epoch."""
        return -(-len(self.loader) // self.config.training.accumulate)

    def epoch(self, number: int) -> Iterator[StepReport]:
        """Take the steps of an epoch, from where the state stands.

        Raises:
            Diverged: too many steps in a row were not finite.
            TrainingError: memory runs out with a single window.
        """
        self._prepare(number)
        accumulate = self.config.training.accumulate
        batches = self.loader.epoch(number, self.sums.batches)
        while True:
            start = time.perf_counter()
            with record_function("data"):
                group = [batch.to(self.device) for batch in itertools.islice(batches, accumulate)]
            if not group:
                return
            waited = time.perf_counter() - start
            step = self.sums.batches // accumulate
            go_to(self.schedule, (number - 1) * self.steps + step)
            self.lr = float(self.schedule.get_last_lr()[0])
            report = self._reported(number, step + 1, group, self.stepper.step(group), waited)
            self.sums.add(report, len(group))
            if self.average is not None and report.skipped is None:
                self.average.after_step(self.detector)
            self._watch_for_divergence(report, group)
            yield report

    def end_epoch(self, number: int) -> EpochSums:
        """What the epoch came to; the next one begins with nothing."""
        sums, self.sums = self.sums, EpochSums()
        if self.average is not None:
            self.average.after_epoch(self.detector, number)
            if self.average.needs_norms and self.average.detector is not None:
                batches = itertools.islice(self.loader.epoch(number), NORM_BATCHES)
                refresh_norms(self.average.detector, (batch.frames_TBCHW.to(self.device) for batch in batches))
                self.team.same_buffers(self.average.detector)  # each process has counted its own rows
        return sums

    def measure(self) -> tuple[AveragePrecision, list[WindowResult]]:
        """Average precision of the present weights, and what it was measured on."""
        with record_function("evaluation"):
            results = self.windows.predict(self.measured, self.device)
            return validate(results, self.dataset.label_set, self.dataset.size), results

    def _prepare(self, number: int) -> None:
        self.enter(number)
        self.detector.train()
        learns = number > self.config.training.frozen_epochs
        if not learns:
            self.detector.backbone.eval()  # its norms' statistics stay, too
        if self._backbone_learns is not learns:
            self._backbone_learns = learns
            self.detector.backbone.requires_grad_(learns)
            self.stepper.net = parallel(self.detector, self.team)  # which looks at what learns once

    def _reported(self, epoch: int, step: int, group: list[Batch], result: StepResult, waited: float) -> StepReport:
        labelled = sum(int(batch.labelled.sum()) for batch in group) / sum(batch.labelled.numel() for batch in group)
        return StepReport(
            epoch=epoch,
            step=step,
            steps=self.steps,
            loss=result.loss,
            lr=self.lr,
            windows=sum(len(batch.windows) for batch in group) * self.team.ranks,
            boxes=sum(len(batch.targets) for batch in group),
            labelled=labelled,
            seconds=StepSeconds(waited, result.forward, result.backward, result.optimizer),
            skipped=result.skipped,
        )

    def _watch_for_divergence(self, report: StepReport, group: list[Batch]) -> None:
        self.skipped_in_row = 0 if report.skipped is None else self.skipped_in_row + 1
        if report.skipped is None or self.skipped_in_row < self.config.training.most_skipped:
            return
        raise Diverged(
            f"loss term {report.skipped} is not finite in {self.skipped_in_row} steps in a row, up to epoch "
            f"{report.epoch}, step {report.step} ({self._shown(group)}); lower optimizer.lr",
            report.skipped,
        )

    def _shown(self, group: list[Batch]) -> str:
        """The windows of a step, for who looks for what broke a loss."""
        shards = lessons(self.dataset, self.config.training)
        windows = [window for batch in group for window in batch.windows]
        return ", ".join(f"{shards[window.recording].name} at {window.label_us / 1e6:.3f} s" for window in windows)


def _class_weights(config: TrialConfig, dataset: Dataset, device: torch.device) -> torch.Tensor | None:
    if config.loss.class_weights is ClassWeights.NONE:
        return None
    return torch.from_numpy(balanced_weights(lesson_counts(dataset, config.training))).to(device)
