"""The configuration of a trial: one frozen tree, whose leaves a search may sample."""

from pydantic import model_validator

from data.config import Config
from data.data_config import DataConfig
from data.sampling import Order
from model.decoding import Readout
from model.detector import DetectorConfig
from model.loss import LossConfig
from model.neuron_config import NeuronName
from model.optimizer import OptimizerConfig
from model.tracking.config import TrackingConfig
from model.training.config import TrainingConfig


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
        other_steps = [phase.time_steps for phase in self.training.phases if phase.time_steps is not None]
        if self.model.neuron.name is NeuronName.PSN and set(other_steps) - {self.data.time_steps}:
            raise ValueError(
                f"training.phases: time_steps={other_steps[0]}, but model.neuron.name=psn has weights for each of its "
                f"data.time_steps={self.data.time_steps}; leave time_steps out of the phases or choose another neuron"
            )
        if self.model.readout is not Readout.LAST and self.data.order is not Order.RANDOM:
            raise ValueError(
                f"model.readout={self.model.readout.value} reads all steps of a window, but with "
                f"data.order={self.data.order.value} every step answers for itself; set model.readout=last"
            )
        return self
