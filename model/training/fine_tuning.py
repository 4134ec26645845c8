"""Beginning from another detector's weights, where they fit."""

from dataclasses import dataclass

import torch

from data.boxes import LabelSet
from data.errors import ConfigError
from model.checkpoint import Checkpoint
from model.detector import SpikingDetector

LEAST_SHARE = 0.5  # of the weights that has to fit: less is no fine-tuning


@dataclass(frozen=True, slots=True)
class Taken:
    """What was taken over."""

    tensors: int
    fresh: tuple[str, ...]  # names of those that keep their initial values, in whole or in part
    classes: tuple[str, ...]  # whose scores go on

    def __str__(self) -> str:
        fresh = f"; new: {', '.join(self.fresh)}" if self.fresh else ""
        return f"{self.tensors} tensors taken over, the scores of {', '.join(self.classes) or 'no class'}{fresh}"


def take_over(detector: SpikingDetector, label_set: LabelSet, source: Checkpoint) -> Taken:
    """Copy what fits of a checkpoint's weights; classes go by their names, whatever their number.

    Resolution and time steps do not matter to a convolution. What has another shape, such as the first layer of another
    representation, keeps its initial values.

    Raises:
        ConfigError: less than half of the weights fit.
    """
    own, other = detector.state_dict(), source.detector.state_dict()
    fresh, taken, fitting = [], 0, 0
    shared = [name for name in label_set.classes if name in source.label_set.classes]
    for name, value in own.items():
        given = other.get(name)
        if given is not None and given.shape == value.shape and not _by_class(name, label_set, source):
            value.copy_(given)
            taken, fitting = taken + 1, fitting + value.numel()
            continue
        fresh.append(name)
        if given is not None and _by_class(name, label_set, source) and given.shape[1:] == value.shape[1:]:
            _copy_rows(value, given, label_set, source.label_set)
            fitting += value.numel()
    if fitting < LEAST_SHARE * sum(value.numel() for value in own.values()):
        raise ConfigError(
            f"only {fitting:,} of {sum(v.numel() for v in own.values()):,} weights fit the checkpoint to begin from: "
            f"it is model.preset={source.config.model.preset.value}, backbone={source.config.model.backbone.value}, "
            f"neck={source.config.model.neck.value}; choose the same"
        )
    return Taken(taken, tuple(fresh), tuple(shared))


def _by_class(name: str, label_set: LabelSet, source: Checkpoint) -> bool:
    """Whether a tensor has a row for each class, and the classes are others."""
    return name.startswith("head.category.") and ".readout." in name and label_set.classes != source.label_set.classes


def _copy_rows(value: torch.Tensor, given: torch.Tensor, classes: LabelSet, source: LabelSet) -> None:
    for row, name in enumerate(classes.classes):
        if name in source.classes:
            value[row].copy_(given[source.classes.index(name)])
