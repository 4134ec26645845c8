"""What a training tells while it runs: of each step, and of each epoch."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

from model.detector import SpikingDetector
from model.prediction import WindowResult


@dataclass(frozen=True, slots=True)
class StepSeconds:
    """Where the time of a step went, on the host's clock."""

    data: float  # waiting for the batch
    forward: float  # with the loss
    backward: float
    optimizer: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.data + self.forward + self.backward + self.optimizer


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one step of the optimizer did."""

    epoch: int  # from 1
    step: int  # of the epoch, from 1
    steps: int  # an epoch has
    loss: dict[str, float]  # weighted terms by name
    lr: float
    windows: int  # it learnt from
    boxes: int  # that taught it, over all steps of its windows
    labelled: float  # share of its windows' time steps that a label spoke of
    seconds: StepSeconds
    skipped: str | None = None  # why no weight was changed, if none was


@dataclass(frozen=True, slots=True)
class EpochReport:
    """What one epoch did."""

    epoch: int  # from 1
    map: float  # AP .50 to .95 on the validation windows
    map50: float
    map75: float
    best: bool  # the best map so far of this phase
    last: bool  # no epoch follows: the budget is spent, or patience is
    loss: dict[str, float]  # weighted terms by name, mean over the epoch's steps
    lr: float  # learning rate of the epoch's last step
    windows_per_second: float  # trained, without the evaluation
    waiting: float  # share of the training time spent waiting for data
    seconds: float  # of training and evaluation
    steps: int  # of the optimizer, in this epoch
    batch_size: int  # windows that are computed at once
    skipped_steps: int  # of this epoch: numbers that were not finite, or a loss scale that was too high
    worker_restarts: int  # of loader workers that died, so far
    bad_shards: int  # damaged recordings that were left out, so far
    diagnosis: str | None  # what `spiketune diagnose` would say, at epochs 1, 2, 4, 8, ... and the last

    def as_metrics(self) -> dict[str, float]:
        """Flat numbers by name, for a tracker."""
        values = asdict(self)
        del values["diagnosis"]
        terms = {f"loss_{name}": value for name, value in values.pop("loss").items()}
        return {**{name: float(value) for name, value in values.items()}, "loss": sum(terms.values()), **terms}


class Watcher(Protocol):
    """Hears of a training while it runs, in its process."""

    def stepped(self, step: StepReport) -> None:
        """A step is done."""

    def measured(self, report: EpochReport, detector: SpikingDetector, results: Sequence[WindowResult]) -> None:
        """An epoch is done and its checkpoints are written; `detector` is what was measured."""
