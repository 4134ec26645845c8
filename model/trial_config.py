"""The configuration of a trial: one frozen tree, whose leaves a search may sample."""

from enum import StrEnum

from pydantic import Field, model_validator

from data.config import Config
from data.data_config import DataConfig
from data.sampling import Order
from model.decoding import Readout
from model.detector import DetectorConfig
from model.loss import LossConfig
from model.neuron_config import NeuronName
from model.schedule import OptimizerConfig
from model.tracking.config import TrackingConfig


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
    tracking: TrackingConfig = TrackingConfig()

    @model_validator(mode="after")
    def _branches_fit(self) -> "TrialConfig":
        if not self.model.objectness and self.loss.obj != LossConfig.model_fields["obj"].default:
            raise ValueError(f"loss.obj={self.loss.obj} but nothing tells objectness; set model.objectness=true")
        if self.model.neuron.name is NeuronName.PSN and self.data.order is not Order.RANDOM:
            raise ValueError(
                f"data.order={self.data.order.value} carries membranes from window to window, which "
                "model.neuron.name=psn has none of; set data.order=random or choose another neuron"
            )
        if self.model.readout is not Readout.LAST and self.data.order is not Order.RANDOM:
            raise ValueError(
                f"model.readout={self.model.readout.value} reads all steps of a window, but with "
                f"data.order={self.data.order.value} every step answers for itself; set model.readout=last"
            )
        return self
