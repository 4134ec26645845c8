"""The neurons between two weight layers, by SpikingJelly's own dynamics, one name each, and what they are set to."""

import math
from enum import StrEnum
from typing import Any

from pydantic import Field, model_validator
from spikingjelly.activation_based import surrogate

from data.config import Config


class NeuronName(StrEnum):
    """Which neuron fires between two weight layers."""

    ILIF = "ilif"  # integer counts up to D a step (SpikeYOLO, ECCV 2024)
    LIF = "lif"  # at most one spike a step
    PLIF = "plif"  # LIF whose decay is learnt, one for each layer (Fang et al. 2021)
    IF = "if"  # LIF that forgets nothing
    PSN = "psn"  # all steps of a window at once, by a learnt T x T weight and no reset (Fang et al. 2023)
    RELU = "relu"  # the twin that does not spike: what every cost and every gain is compared with


class Surrogate(StrEnum):
    """Whose derivative stands in for that of a spike, in neurons that fire at most once a step."""

    ATAN = "atan"
    SIGMOID = "sigmoid"
    SOFT_SIGN = "soft_sign"
    PIECEWISE_QUADRATIC = "piecewise_quadratic"
    ERF = "erf"


_SURROGATES = {
    Surrogate.ATAN: surrogate.ATan,
    Surrogate.SIGMOID: surrogate.Sigmoid,
    Surrogate.SOFT_SIGN: surrogate.SoftSign,
    Surrogate.PIECEWISE_QUADRATIC: surrogate.PiecewiseQuadratic,
    Surrogate.ERF: surrogate.Erf,
}

_LEAKY = {NeuronName.ILIF, NeuronName.LIF, NeuronName.PLIF}
_ONE_SPIKE = {NeuronName.LIF, NeuronName.PLIF, NeuronName.IF, NeuronName.PSN}
# Which neurons read a setting; the others take it at its default only.
_READ_BY = {
    "decay": _LEAKY,
    "threshold": _LEAKY | {NeuronName.IF},
    "max_spikes": {NeuronName.ILIF},
    "surrogate": _ONE_SPIKE,
    "alpha": _ONE_SPIKE,
}


class NeuronConfig(Config):
    """The dynamics every neuron of the detector shares."""

    name: NeuronName = NeuronName.ILIF
    decay: float = Field(0.25, ge=0.01, lt=1)  # share of the membrane potential that outlives a step; plif starts there
    # SpikeYOLO counts up to 4 in steps of 1. Norms leave membrane input of about one unit, which that tells coarsely:
    # with 8 steps of a half, mAP after 2,700 windows of simulated traffic was .576 against .532, of the ReLU twin .582.
    threshold: float = Field(0.5, gt=0, le=4)  # membrane potential of one spike
    max_spikes: int = Field(8, ge=1, le=16)  # D: spikes a step at most, of ilif
    surrogate: Surrogate = Surrogate.ATAN  # ilif passes gradients straight through on [0, D] and needs none
    alpha: float = Field(2.0, gt=0, le=16)  # steepness of the surrogate

    @model_validator(mode="after")
    def _read_by_the_neuron(self) -> "NeuronConfig":
        for setting, neurons in _READ_BY.items():
            value = getattr(self, setting)
            default = type(self).model_fields[setting].default
            if self.name not in neurons and value != default:
                shown = getattr(value, "value", value)
                raise ValueError(
                    f"{setting}={shown} but a neuron of name={self.name.value} does not read it; leave it out, "
                    f"or choose one of {', '.join(sorted(neurons))}"
                )
        return self

    @property
    def levels(self) -> int:
        """Spikes a step at most."""
        return self.max_spikes if self.name is NeuronName.ILIF else 1

    @property
    def tau(self) -> float:
        """The membrane's time constant in steps: u[t] = decay * v[t-1] + x[t], so tau = 1 / (1 - decay)."""
        return 1 / (1 - self.decay)

    @property
    def decay_logit(self) -> float:
        """SpikingJelly's learnt number w of a decay: sigmoid(w) = 1 - decay."""
        return math.log((1 - self.decay) / self.decay)

    def spike(self) -> Any:
        """SpikingJelly's function of the membrane that fires at most once, with its surrogate derivative."""
        return _SURROGATES[self.surrogate](alpha=self.alpha)

    def count(self) -> Any:
        """SpikingJelly's function of the membrane that counts up to D, passing gradients straight through."""
        return surrogate.MultiLevelSpikeCount(self.max_spikes)
