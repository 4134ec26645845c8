"""The configuration of a trial: one frozen tree, whose leaves a search may sample."""

from enum import StrEnum

from pydantic import Field

from data.config import Config
from data.data_config import DataConfig
from model.detector import DetectorConfig
from model.loss import LossConfig
from model.schedule import OptimizerConfig


class Compile(StrEnum):
    """What torch.compile is asked to fuse."""

    OFF = "off"
    NEURONS = "neurons"  # the arithmetic of each neuron: halves a training step on a CPU
    AUTO = "auto"  # neurons where the machine can compile them, otherwise off


class TrainingConfig(Config):
    """How long and on how much."""

    epochs: int = Field(12, ge=1)
    batch_size: int = Field(4, ge=1)  # windows a step
    windows_per_epoch: int | None = Field(None, ge=1)  # drawn anew each epoch; null takes every label once
    seed: int = Field(0, ge=0)  # of the weights and of all draws
    compile: Compile = Compile.AUTO  # a search resolves `auto` once, so that all its trials run alike


class TrialConfig(Config):
    """Everything a training depends on, except the dataset and the machine."""

    data: DataConfig = DataConfig()
    model: DetectorConfig = DetectorConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    training: TrainingConfig = TrainingConfig()
