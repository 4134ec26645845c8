"""The configuration of a training: how long, on how much, in which numbers, and what it keeps."""

from enum import StrEnum
from typing import Literal

from pydantic import Field, model_validator

from data.config import Config

AUTO = "auto"


class Compile(StrEnum):
    """What torch.compile is asked to fuse."""

    OFF = "off"
    NEURONS = "neurons"  # the arithmetic of each neuron: halves a training step on a CPU
    ALL = "all"  # the whole detector; minutes to compile, for long trainings on a GPU
    AUTO = "auto"  # neurons where the machine can compile them, otherwise off


class Precision(StrEnum):
    """The numbers a step computes in; weights, norms' statistics and membranes are fp32 in all of them."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"  # with loss scaling
    AUTO = "auto"  # bf16 where the device has it in hardware and it pays, otherwise fp32


class Phase(Config):
    """A part of a training that is cheaper than the rest; what is None is as the rest of the configuration says."""

    epochs: int = Field(ge=1)
    scale: float | None = Field(None, gt=0, le=1)  # data.scale
    time_steps: int | None = Field(None, ge=1)  # data.time_steps
    recordings: float = Field(1.0, gt=0, le=1)  # share of the training recordings, at least one


class CheckpointConfig(Config):
    """Which checkpoints are kept besides `best` and `last`, and how often the state to resume from is written."""

    every_epochs: int | None = Field(None, ge=1)  # a checkpoint of its own after every so many epochs
    most: int = Field(3, ge=1)  # that many of those, the latest
    top: int = Field(0, ge=0)  # and the best so many epochs'
    every_steps: int | None = Field(None, ge=1)  # the state within an epoch; None: after each epoch alone

    @model_validator(mode="after")
    def _most_is_read(self) -> "CheckpointConfig":
        if self.every_epochs is None and self.most != type(self).model_fields["most"].default:
            raise ValueError(f"most={self.most} but every_epochs is not set, so there are none to count; set it")
        return self


class TrainingConfig(Config):
    """How long and on how much."""

    epochs: int = Field(12, ge=1)
    batch_size: int | Literal["auto"] = Field(4)  # windows a batch; auto: as many as the machine holds, up to 64
    accumulate: int = Field(1, ge=1)  # batches whose gradients make one step
    windows_per_epoch: int | None = Field(None, ge=1)  # drawn anew each epoch; null takes every label once
    seed: int = Field(0, ge=0)  # of the weights and of all draws
    # A search resolves `auto` once, so that all its trials run alike.
    precision: Precision = Precision.AUTO
    compile: Compile = Compile.AUTO  # as precision
    ema_decay: float = Field(0.0, ge=0, lt=1)  # moving average of the weights, which is then measured and kept; 0: off
    swa_epochs: int = Field(0, ge=0)  # epochs at the end whose weights are averaged with equal weight; 0: off
    frozen_epochs: int = Field(0, ge=0)  # epochs at the start in which the backbone does not learn
    patience: int | None = Field(None, ge=1)  # epochs without gain after which training ends; null: never
    min_gain: float = Field(0.0, ge=0, le=1)  # mAP that counts as gain
    most_skipped: int = Field(10, ge=1)  # steps in a row that are not finite, after which a training has diverged
    phases: tuple[Phase, ...] = ()  # cheaper parts before the full one, whose epochs count among `epochs`
    # A final training: the numbers on val say nothing then, so the last epoch's weights are the ones that are kept.
    with_val: bool = False  # the recordings of val are trained on, too
    check: bool = False  # look for the operation behind every number that is not finite, and refuse random kernels
    checkpoint: CheckpointConfig = CheckpointConfig()

    @property
    def windows_a_batch(self) -> int:
        """`batch_size`, where it is a number by now: `auto` is settled before anything is loaded."""
        assert isinstance(self.batch_size, int), "batch_size=auto is not settled"
        return self.batch_size

    @model_validator(mode="after")
    def _settings_fit(self) -> "TrainingConfig":
        if isinstance(self.batch_size, int) and self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size} must be at least 1, or auto")
        if self.ema_decay and self.swa_epochs:
            raise ValueError(f"ema_decay={self.ema_decay} and swa_epochs={self.swa_epochs}: two averages; set one to 0")
        if self.swa_epochs > self.epochs:
            raise ValueError(f"swa_epochs={self.swa_epochs} must not exceed epochs={self.epochs}")
        if self.with_val and self.patience is not None:
            raise ValueError(
                f"patience={self.patience} waits for gains on val, which with_val trains on; set it to null"
            )
        if self.patience is None and self.min_gain:
            raise ValueError(f"min_gain={self.min_gain} but patience is not set, so it is never read; set patience")
        before = sum(phase.epochs for phase in self.phases)
        if before >= self.epochs:
            raise ValueError(
                f"phases take {before} of epochs={self.epochs}, and none is left for the full configuration; "
                "train longer"
            )
        return self
