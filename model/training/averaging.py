"""Averages of the weights over a training, which generalise better than the last ones."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel, update_bn

from model.detector import SpikingDetector
from model.training.config import TrainingConfig


class WeightAverage:
    """A moving average over the steps (EMA), or the mean over the ends of the last epochs (SWA, Izmailov et al. 2018).

    The moving average ramps up to its decay, so that the first weights are soon forgotten: min(decay, (1+n)/(10+n)).
    """

    def __init__(self, config: TrainingConfig, detector: SpikingDetector) -> None:
        self._decay = config.ema_decay
        self._from_epoch = config.epochs - config.swa_epochs + 1
        self._steps = 0
        if self._decay:
            self._averaged = AveragedModel(detector, multi_avg_fn=self._towards, use_buffers=True)
        else:
            self._averaged = AveragedModel(detector)

    @classmethod
    def of(cls, config: TrainingConfig, detector: SpikingDetector) -> "WeightAverage | None":
        """The average that is asked for; None where none is."""
        return cls(config, detector) if config.ema_decay or config.swa_epochs else None

    @property
    def needs_norms(self) -> bool:
        """Whether the statistics of its norms have to be taken anew: of averaged weights nobody has counted them."""
        return not self._decay

    @property
    def detector(self) -> SpikingDetector | None:
        """The detector with the averaged weights; None before there are any."""
        averaged = self._averaged.module
        assert isinstance(averaged, SpikingDetector)
        return averaged if int(self._averaged.n_averaged) else None

    def after_step(self, detector: SpikingDetector) -> None:
        """Hear of a step that changed the weights."""
        if self._decay:
            self._averaged.update_parameters(detector)
            self._steps += 1

    def after_epoch(self, detector: SpikingDetector, epoch: int) -> None:
        """Hear of the end of an epoch, counted from 1."""
        if not self._decay and epoch >= self._from_epoch:
            self._averaged.update_parameters(detector)

    def state_dict(self) -> dict[str, Any]:
        """Numbers and tensors."""
        return {"steps": self._steps, "averaged": self._averaged.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of the same detector."""
        self._steps = state["steps"]
        self._averaged.load_state_dict(state["averaged"])

    def _towards(
        self, averaged: Sequence[torch.Tensor], current: Sequence[torch.Tensor], _: torch.Tensor | int
    ) -> None:
        weight = 1 - min(self._decay, (1 + self._steps) / (10 + self._steps))
        for mean, value in zip(averaged, current, strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, weight)
            else:
                mean.copy_(value)  # a count


def refresh_norms(detector: SpikingDetector, frames: Iterable[torch.Tensor]) -> None:
    """Take the statistics of the norms anew, from frames `[T, B, C, H, W]` in uint8."""
    with torch.no_grad():
        update_bn(frames, detector)
