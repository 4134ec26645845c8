"""The loss of a detector, taken at every time step, and its terms."""

from dataclasses import dataclass
from enum import StrEnum

import torch
from pydantic import Field, model_validator
from torch.nn import functional as F

from data.batches import Batch
from data.config import Config
from model.assignment import Assignment, Pairs, assign
from model.classification_loss import Classification, classification_loss
from model.head import BINS, Predictions, box_corners, precise
from model.overlap import complete_iou, intersection_over_union
from model.targets import Targets, padded_targets
from model.team import ALONE, Team
from model.track_loss import TrackMemory, track_loss


class ClassWeights(StrEnum):
    """How much each class weighs in the classification term."""

    NONE = "none"  # all the same
    BALANCED = "balanced"  # the rarer in the training labels, the more


class OverTime(StrEnum):
    """What is compared with the labels of a window."""

    STEPS = "steps"  # every step's answer with the boxes of its own time
    MEAN = "mean"  # the mean of all steps' answers with the boxes at the window's end


class LossConfig(Config):
    """Weights of the terms, and what shapes them."""

    box: float = Field(7.5, ge=0)  # weight of 1 - CIoU (SpikeYOLO: 7.5)
    cls: float = Field(1.0, ge=0)  # weight of the classification term
    dfl: float = Field(1.5, ge=0)  # weight of the distribution focal loss of the sides (SpikeYOLO: 1.5)
    obj: float = Field(1.0, ge=0)  # weight of the objectness term, where model.objectness is on
    track: float = Field(0.1, ge=0)  # weight of the contrastive term of the track embeddings
    track_memory: int = Field(32, ge=0, le=4096)  # batches before, whose objects embeddings are compared with too
    time_weight: float = Field(0.0, ge=0, le=4)  # p: step t of T weighs as ((t + 1) / T)^p; 0 weighs all the same
    over_time: OverTime = OverTime.STEPS
    classification: Classification = Classification.FOCAL
    focal_alpha: float = Field(0.5, gt=0, lt=1)  # weight of objects against 1 - alpha; of background in varifocal
    focal_gamma: float = Field(0.0, ge=0, le=5)  # exponent that quiets what is already right; 0 is plain BCE
    class_weights: ClassWeights = ClassWeights.NONE
    label_smoothing: float = Field(0.0, ge=0, lt=1)  # e in y(1 - e) + e/K, at the points that answer for an object
    assign_top_k: int = Field(10, ge=1, le=64)  # points a box at most (TOOD)
    assign_alpha: float = Field(0.5, ge=0)  # exponent of the score in the alignment
    assign_beta: float = Field(6.0, ge=0)  # exponent of the IoU in the alignment
    # Strides of its level around a box's centre within which points may answer too; 0: only those in the box.
    assign_radius: float = Field(0.0, ge=0, le=8)

    @model_validator(mode="after")
    def _steps_can_be_weighed(self) -> "LossConfig":
        if self.over_time is OverTime.MEAN and self.time_weight:
            raise ValueError(
                f"time_weight={self.time_weight} but over_time=mean leaves one answer a window; set over_time=steps"
            )
        return self

    @model_validator(mode="after")
    def _bce_has_no_focus(self) -> "LossConfig":
        for setting in ("focal_alpha", "focal_gamma"):
            value = getattr(self, setting)
            if self.classification is Classification.BCE and value != type(self).model_fields[setting].default:
                raise ValueError(
                    f"{setting}={value} but classification=bce does not read it; choose focal or varifocal"
                )
        return self


@dataclass(frozen=True, slots=True)
class LossTerms:
    """The weighted terms; their sum is what is minimised."""

    box: torch.Tensor
    cls: torch.Tensor
    dfl: torch.Tensor
    track: torch.Tensor
    obj: torch.Tensor | None = None  # where model.objectness is on

    def total(self) -> torch.Tensor:
        """The sum of the weighted terms, a scalar."""
        return torch.stack(list(self._terms().values())).sum()

    def as_dict(self) -> dict[str, float]:
        """Each term by its name, detached."""
        return {name: float(value.detach()) for name, value in self._terms().items()}

    def _terms(self) -> dict[str, torch.Tensor]:
        terms = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in terms.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Answers:
    """The P points that answer for a box."""

    image: torch.Tensor  # int64 [P]
    point: torch.Tensor  # int64 [P]
    classes: torch.Tensor  # int64 [P] of the box
    quality: torch.Tensor  # [P] target score in [0, 1]


class DetectionLoss:
    """The loss against the boxes of each time step of each window, and what it remembers of the batches before."""

    def __init__(self, config: LossConfig, class_weights: torch.Tensor | None = None, team: Team = ALONE) -> None:
        """Args:
        config: weights and shapes of the terms.
        class_weights: [K] multiplies each class's part of the classification term.
        team: whose batches are parts of one: the mean over its processes of a term, or of a gradient, is that batch's.
        """
        self._config = config
        self._class_weights = class_weights
        self._team = team
        self.memory = TrackMemory(config.track_memory)  # the same in all processes of a team

    def __call__(self, predictions: Predictions, batch: Batch) -> LossTerms:
        """The terms of one batch.

        Unless over_time is mean, time is not averaged before the loss: every step is an image of its own with its own
        boxes and its own assignment; steps of which nothing is known are left out. Terms are divided by the sum of the
        target scores over all steps, as in TOOD.
        """
        config = self._config
        if config.over_time is OverTime.MEAN:
            predictions, batch = predictions.mean(), batch.last_step()
        targets = padded_targets(batch)
        assignment = self.assignment(predictions, targets)
        steps_I = _step_weights(batch.labelled, config.time_weight)
        scale = self._team.sum((assignment.quality.sum(1) * steps_I).sum()).clamp(min=1) / self._team.ranks
        # Only the points that answer for a box are looked at: one in a hundred.
        image, point = assignment.positive.nonzero(as_tuple=True)
        answer = assignment.box[image, point]
        quality = assignment.quality[image, point]
        weight = quality * steps_I[image]
        at, stride = predictions.points[point], predictions.strides[point]
        sides, wanted = predictions.sides.flatten(0, 1)[image, point], targets.corners[image, answer]
        box = ((1 - complete_iou(box_corners(sides, at, stride), wanted)) * weight).sum() / scale
        dfl = (_distribution_focal(sides, at, stride, wanted) * weight).sum() / scale
        answers = Answers(image, point, targets.classes[image, answer], quality)
        cls, obj = self._scores(predictions, answers, steps_I)
        track = box.new_zeros(())
        if config.track:
            tracks = targets.tracks.gather(1, assignment.box)
            embeddings, positive = predictions.embeddings.flatten(0, 1), assignment.positive
            track = track_loss(embeddings, tracks, positive, self.memory, self._team)
        return LossTerms(
            box=config.box * box,
            cls=config.cls * cls / scale,
            dfl=config.dfl * dfl,
            track=config.track * track,
            obj=None if obj is None else config.obj * obj / scale,
        )

    @torch.no_grad()
    def assignment(self, predictions: Predictions, targets: Targets) -> Assignment:
        """Which points `[I, N]` answer for which boxes."""
        config = self._config
        near = candidates(predictions.points, predictions.strides, targets.corners, config.assign_radius)
        near &= targets.real[..., None]
        # Boxes and scores of the pairs that may be, not of all points.
        pairs = Pairs.of(near)
        image, box, point = pairs.image, pairs.box, pairs.point
        sides = predictions.sides.flatten(0, 1)[image, point]
        corners = box_corners(sides, predictions.points[point], predictions.strides[point])
        overlaps = intersection_over_union(targets.corners[image, box], corners)
        scores = predictions.classes.flatten(0, 1)[image, point, targets.classes[image, box]].sigmoid()
        if predictions.objectness is not None:
            scores = scores * predictions.objectness.flatten(0, 1)[image, point].sigmoid()
        return assign(pairs, scores, overlaps, config.assign_top_k, config.assign_alpha, config.assign_beta)

    def _scores(
        self, predictions: Predictions, answers: "Answers", steps_I: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Classification and objectness, summed; with objectness, classes are asked for only where something is."""
        config = self._config
        kind, alpha, gamma = config.classification, config.focal_alpha, config.focal_gamma
        logits = predictions.classes.flatten(0, 1)
        K = logits.shape[-1]
        named = F.one_hot(answers.classes, K) * (1 - config.label_smoothing) + config.label_smoothing / K
        image, point, quality = answers.image, answers.point, answers.quality
        if predictions.objectness is None:
            # The class's score tells the quality too: nothing where a point answers for no box.
            target = torch.zeros_like(logits)
            target[image, point] = named.to(logits.dtype) * quality[:, None]
            by_class, weight = classification_loss(logits, target, kind, alpha, gamma), steps_I[:, None]
            obj = None
        else:
            by_class = classification_loss(logits[image, point], named.to(logits.dtype), kind, alpha, gamma)
            weight = quality * steps_I[image]
            present = predictions.objectness.flatten(0, 1)
            wanted = torch.zeros_like(present)
            wanted[image, point] = quality
            obj = (classification_loss(present, wanted, kind, alpha, gamma).sum(1) * steps_I).sum()
        if self._class_weights is not None:
            by_class = by_class * self._class_weights
        return (by_class.sum(-1) * weight).sum(), obj


def _step_weights(labelled_TB: torch.Tensor, power: float) -> torch.Tensor:
    """The weight of each image `[I]`: 1 on average over the steps, 0 where nothing is known of it."""
    T = len(labelled_TB)
    late_T = ((torch.arange(T, device=labelled_TB.device) + 1) / T) ** power
    return ((late_T / late_T.mean())[:, None] * labelled_TB).flatten()


def candidates(points: torch.Tensor, strides: torch.Tensor, corners_IM4: torch.Tensor, radius: float) -> torch.Tensor:
    """Which points may answer for which boxes, `[I, M, N]`: those inside, and those near the centre.

    Near is within `radius` strides of the point's level in both directions, so that a box too small to hold a point
    of its own can be answered for (YOLOX, Ge et al. 2021).
    """
    low, high = corners_IM4[:, :, None, :2], corners_IM4[:, :, None, 2:]
    x, y = points.unbind(-1)
    inside = (x > low[..., 0]) & (x < high[..., 0]) & (y > low[..., 1]) & (y < high[..., 1])
    if not radius:
        return inside
    off = (points - (low + high) / 2).abs().amax(-1)
    return inside | (off < radius * strides)


def _distribution_focal(
    sides: torch.Tensor, points: torch.Tensor, strides: torch.Tensor, wanted: torch.Tensor
) -> torch.Tensor:
    """Cross entropy towards the two bins around each side's true distance (Li et al. 2020, eq. 6), `[P]`."""
    distances = torch.cat([points - wanted[:, :2], wanted[:, 2:] - points], dim=-1) / strides[:, None]
    distances = distances.clamp(0, BINS - 1 - 0.01)
    lower = distances.long()
    upper_share = distances - lower
    likely = precise(sides).log_softmax(-1)

    def entropy(bins: torch.Tensor) -> torch.Tensor:
        return -likely.gather(-1, bins[..., None]).squeeze(-1)

    return (entropy(lower) * (1 - upper_share) + entropy(lower + 1) * upper_share).mean(-1)
