"""The loss of a detector, taken at every time step, and its terms."""

from dataclasses import dataclass
from enum import StrEnum

import torch
from pydantic import Field
from torch.nn import functional as F

from data.batches import Batch
from data.config import Config
from model.assignment import Assignment, assign
from model.head import BINS, Predictions
from model.overlap import complete_iou, intersection_over_union

TEMPERATURE = 0.1  # of the contrastive track loss (Khosla et al. 2020 use 0.07 to 0.1)


class ClassWeights(StrEnum):
    """How much each class weighs in the classification term."""

    NONE = "none"  # all the same
    BALANCED = "balanced"  # the rarer in the training labels, the more


class LossConfig(Config):
    """Weights of the terms, and what shapes them."""

    box: float = Field(7.5, ge=0)  # weight of 1 - CIoU (SpikeYOLO: 7.5)
    cls: float = Field(1.0, ge=0)  # weight of the focal classification term
    dfl: float = Field(1.5, ge=0)  # weight of the distribution focal loss of the sides (SpikeYOLO: 1.5)
    track: float = Field(0.1, ge=0)  # weight of the contrastive term of the track embeddings
    focal_alpha: float = Field(0.5, gt=0, lt=1)  # weight of objects; background weighs 1 - alpha
    focal_gamma: float = Field(0.0, ge=0, le=5)  # exponent that quiets what is already right; 0 is plain BCE
    class_weights: ClassWeights = ClassWeights.NONE
    label_smoothing: float = Field(0.0, ge=0, lt=1)  # e in y(1 - e) + e/K, at the points that answer for an object
    assign_top_k: int = Field(10, ge=1, le=64)  # points a box at most (TOOD)
    assign_alpha: float = Field(0.5, ge=0)  # exponent of the score in the alignment
    assign_beta: float = Field(6.0, ge=0)  # exponent of the IoU in the alignment


@dataclass(frozen=True, slots=True)
class LossTerms:
    """The weighted terms; their sum is what is minimised."""

    box: torch.Tensor
    cls: torch.Tensor
    dfl: torch.Tensor
    track: torch.Tensor

    def total(self) -> torch.Tensor:
        """The sum of the weighted terms, a scalar."""
        return self.box + self.cls + self.dfl + self.track

    def as_dict(self) -> dict[str, float]:
        """Each term by its name, detached."""
        return {name: float(getattr(self, name).detach()) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class _Targets:
    corners: torch.Tensor  # [I, M, 4]; image I is step * B + row
    classes: torch.Tensor  # int64 [I, M]
    tracks: torch.Tensor  # int64 [I, M]
    real: torch.Tensor  # bool [I, M]; the rest pads


def detection_loss(
    predictions: Predictions, batch: Batch, config: LossConfig, class_weights: torch.Tensor | None = None
) -> LossTerms:
    """The loss against the boxes of each time step of each window.

    Time is not averaged before the loss: every step is an image of its own with its own boxes and its own assignment;
    steps of which nothing is known are left out. Terms are divided by the sum of the target scores over all steps, as
    in TOOD. `class_weights` `[K]` multiplies each class's part of the classification term.
    """
    targets = _padded(batch)
    corners = predictions.corners().flatten(0, 1)
    logits = predictions.classes.flatten(0, 1)
    assignment = _assignment(logits, corners, predictions.points, targets, config)
    scale = assignment.quality.sum().clamp(min=1)
    answer = assignment.box
    by_class = _classification(logits, targets.classes.gather(1, answer), assignment, config)
    if class_weights is not None:
        by_class = by_class * class_weights
    cls = (by_class.sum((1, 2)) * batch.labelled.flatten()).sum() / scale
    positive = assignment.positive
    weight = assignment.quality[positive]
    wanted = targets.corners.gather(1, answer[..., None].expand(-1, -1, 4))[positive]
    box = ((1 - complete_iou(corners[positive], wanted)) * weight).sum() / scale
    dfl = (_distribution_focal(predictions, positive, wanted) * weight).sum() / scale
    tracks = targets.tracks.gather(1, answer)
    track = _contrastive(predictions.embeddings.flatten(0, 1), tracks, positive) if config.track else box.new_zeros(())
    return LossTerms(config.box * box, config.cls * cls, config.dfl * dfl, config.track * track)


def _padded(batch: Batch) -> _Targets:
    images = batch.targets[:, 0].long()
    counts = torch.bincount(images, minlength=batch.labelled.numel())
    most = max(1, int(counts.max()))
    starts = counts.cumsum(0) - counts
    place = torch.arange(len(images), device=images.device) - starts[images]  # targets stand in order of their images
    corners = batch.targets.new_zeros(len(counts), most, 4)
    classes, tracks = images.new_zeros(len(counts), most), images.new_zeros(len(counts), most)
    corners[images, place] = batch.targets[:, 2:]
    classes[images, place] = batch.targets[:, 1].long()
    tracks[images, place] = batch.tracks
    real = torch.arange(most, device=images.device) < counts[:, None]
    return _Targets(corners, classes, tracks, real)


def _assignment(
    logits: torch.Tensor, corners: torch.Tensor, points: torch.Tensor, targets: _Targets, config: LossConfig
) -> Assignment:
    scores = logits.detach().sigmoid().transpose(1, 2)
    scores = scores.gather(1, targets.classes[..., None].expand(-1, -1, scores.shape[-1]))
    overlaps = intersection_over_union(targets.corners[:, :, None], corners.detach()[:, None])
    low, high = targets.corners[:, :, None, :2], targets.corners[:, :, None, 2:]
    inside = ((points > low) & (points < high)).all(-1) & targets.real[..., None]
    return assign(scores, overlaps, inside, config.assign_top_k, config.assign_alpha, config.assign_beta)


def _classification(
    logits: torch.Tensor, classes: torch.Tensor, assignment: Assignment, config: LossConfig
) -> torch.Tensor:
    """Focal loss (Lin et al. 2017, eq. 5) towards the quality of each point's answer, `[I, N, K]`."""
    K = logits.shape[-1]
    smoothed = F.one_hot(classes, K) * (1 - config.label_smoothing) + config.label_smoothing / K
    target = smoothed * assignment.quality[..., None]  # nothing where a point answers for no box
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    probability = logits.sigmoid()
    miss = target * (1 - probability) + (1 - target) * probability  # 1 - p_t for targets between 0 and 1
    balance = target * config.focal_alpha + (1 - target) * (1 - config.focal_alpha)
    # Times 2, so that alpha = 0.5 leaves plain BCE as it is.
    weighted: torch.Tensor = 2 * balance * miss.pow(config.focal_gamma) * loss
    return weighted


def _distribution_focal(predictions: Predictions, positive: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Cross entropy towards the two bins around each side's true distance (Li et al. 2020, eq. 6), `[P]`."""
    points, strides = predictions.points, predictions.strides
    image, row = positive.nonzero(as_tuple=True)
    at, stride = points[row], strides[row, None]
    distances = torch.cat([at - wanted[:, :2], wanted[:, 2:] - at], dim=-1) / stride
    distances = distances.clamp(0, BINS - 1 - 0.01)
    lower = distances.long()
    upper_share = distances - lower
    logits = predictions.sides.flatten(0, 1)[image, row].flatten(0, 1)

    def entropy(bins: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits, bins.flatten(), reduction="none").view_as(distances)

    return (entropy(lower) * (1 - upper_share) + entropy(lower + 1) * upper_share).mean(-1)


def _contrastive(embeddings: torch.Tensor, tracks: torch.Tensor, positive: torch.Tensor) -> torch.Tensor:
    """Supervised contrastive loss (Khosla et al. 2020, eq. 2): one vector an object and step, alike within a track."""
    image, _ = positive.nonzero(as_tuple=True)
    keys, member = torch.unique(torch.stack([image, tracks[positive]]), dim=1, return_inverse=True)
    if keys.shape[1] < 2:
        return embeddings.new_zeros(())
    vectors = embeddings.new_zeros(keys.shape[1], embeddings.shape[-1]).index_add(0, member, embeddings[positive])
    vectors = F.normalize(vectors, dim=-1)
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    likeness = (vectors @ vectors.T / TEMPERATURE).masked_fill(itself, -torch.inf)
    alike = (keys[1][:, None] == keys[1]) & ~itself
    log_share = likeness.log_softmax(-1).masked_fill(~alike, 0).sum(-1)
    partners = alike.sum(-1)
    has_partner = partners > 0
    losses: torch.Tensor = -log_share[has_partner] / partners[has_partner]
    mean: torch.Tensor = losses.sum() / has_partner.sum().clamp(min=1)
    return mean
