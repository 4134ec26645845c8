"""What the training of a detector gets out of its batches: labels, answers to them, and a gradient for every stage."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from data.batches import Batch
from data.data_config import DataConfig
from data.loading import LoadingPlan, TrainingLoader
from data.sampling import Order
from data.shards import Shard
from model.assignment import Assignment
from model.detector import SpikingDetector
from model.head import Predictions
from model.loss import DetectionLoss, LossConfig
from model.profiling.firing import firing_watched
from model.targets import Targets
from model.trial_config import TrialConfig

STUDIED = 2  # batches with boxes that are trained on, without a step
SEARCHED = 20  # batches looked into for them: a stream may pass over long stretches without a label


@dataclass(frozen=True, slots=True)
class LearningSigns:
    """What the batches of an epoch teach."""

    images: int  # windows times steps looked at
    labelled: float  # share of them of which anything is known
    boxes: int  # true boxes in them
    boxes_studied: int  # true boxes in the batches that were trained on
    images_studied: int  # labelled images in the batches that were trained on
    positives: int  # points that answer for a box there
    gradients: dict[str, float]  # by stage, from the frames on: length of the gradient, mean over the batches
    rates: dict[str, float]  # by neuron layer: spikes a neuron and time step, in training mode

    @property
    def positives_an_image(self) -> float:
        """Points an image that answer for its boxes."""
        return self.positives / max(self.images_studied, 1)

    @property
    def positives_a_box(self) -> float:
        """Points that answer for a box."""
        return self.positives / max(self.boxes_studied, 1)


class _CountingLoss(DetectionLoss):
    """The loss as it is, counting what its assignment gives away."""

    def __init__(self, config: LossConfig) -> None:
        super().__init__(config)
        self.positives = 0

    def assignment(self, predictions: Predictions, targets: Targets) -> Assignment:
        found = super().assignment(predictions, targets)
        self.positives += int(found.positive.sum())
        return found


def training_batches(config: TrialConfig, shards: tuple[Shard, ...], epoch: int) -> Iterable[Batch]:
    """The batches this configuration trains on in an epoch, made in this process."""
    training = config.training
    data: DataConfig = config.data.model_copy(update={"workers": 0})
    plan = LoadingPlan(training.windows_a_batch, training.windows_per_epoch, training.epochs, training.seed)
    return TrainingLoader(shards, data, plan).epoch(epoch)


def learning_signs(detector: SpikingDetector, config: TrialConfig, batches: Iterable[Batch]) -> LearningSigns:
    """Take the loss of a few batches and its gradient. Leaves gradients and the norms' statistics changed."""
    images = labelled = boxes = 0
    studied: list[Batch] = []
    first: Batch | None = None
    for place, batch in enumerate(batches, start=1):
        images += batch.labelled.numel()
        labelled += int(batch.labelled.sum())
        boxes += len(batch.targets)
        first = first or batch
        if len(batch.targets):
            studied.append(batch)
        if len(studied) == STUDIED or place == SEARCHED:
            break
    assert first is not None  # a loader has at least one batch
    studied = studied or [first]
    loss = _CountingLoss(config.loss)
    detector.train()
    with firing_watched(detector) as rates:
        lengths = [_gradients(detector, config, loss, batch) for batch in studied]
    return LearningSigns(
        images=images,
        labelled=labelled / images,
        boxes=boxes,
        boxes_studied=sum(len(batch.targets) for batch in studied),
        images_studied=sum(int(batch.labelled.sum()) for batch in studied),
        positives=loss.positives,
        gradients={stage: sum(each[stage] for each in lengths) / len(lengths) for stage in lengths[0]},
        rates=dict(rates),
    )


def stages(detector: SpikingDetector) -> dict[str, nn.Module]:
    """The stages of a detector by name, in the order in which frames pass them."""
    backbone = detector.backbone
    numbered = {f"backbone.stages.{number}": stage for number, stage in enumerate(backbone.stages)}
    rest = {"backbone.context": backbone.context, "neck": detector.neck, "head": detector.head}
    return {"backbone.stem": backbone.stem, **numbered, **rest}


def _gradients(detector: SpikingDetector, config: TrialConfig, loss: DetectionLoss, batch: Batch) -> dict[str, float]:
    batch = batch.to(next(detector.parameters()).device)
    streams = config.data.order is not Order.RANDOM
    detector.zero_grad(set_to_none=True)
    loss(detector(batch.frames_TBCHW, batch.continues if streams else None), batch).total().backward()
    return {name: _length(stage) for name, stage in stages(detector).items()}


def _length(stage: nn.Module) -> float:
    gradients = [value.grad for value in stage.parameters() if value.grad is not None]
    return float(torch.nn.utils.get_total_norm(gradients)) if gradients else 0.0
