"""What may keep a detector's mAP at zero, and what to do about it; docs/diagnosis.md tells more."""

from dataclasses import dataclass
from enum import StrEnum

from data.audit.rules import Severity


class Cause(StrEnum):
    """What keeps mAP at zero."""

    LABEL_SET = "label-set"
    SENSOR = "sensor"
    NOT_FINITE = "not-finite"
    BELOW_FILTER = "below-filter"
    NO_POSITIVES = "no-positives"
    LEARNING_RATE = "learning-rate"
    AT_ORIGIN = "at-origin"
    DEAD_LAYER = "dead-layer"
    SATURATED_LAYER = "saturated-layer"
    VANISHED_GRADIENT = "vanished-gradient"
    CLASS_MAP = "class-map"
    UNSETTLED_NORMS = "unsettled-norms"
    SILENT_CHANNELS = "silent-channels"


REMEDIES = {
    Cause.LABEL_SET: "ingest the recordings with the checkpoint's label set (--labels), or train on this one",
    Cause.SENSOR: "use recordings of the sensor it was trained for, or train on these",
    Cause.NOT_FINITE: "lower optimizer.lr or optimizer.clip_norm and train again; best.safetensors may be sound",
    Cause.BELOW_FILTER: "check the sensor size at ingest and the unit of the boxes; `spiketune evaluate` tells the "
    "unfiltered mAP too",
    Cause.NO_POSITIVES: "check the labels' clock (`spiketune audit`), data.sampling, data.label_gap_us; where boxes "
    "are small, raise data.scale, or loss.assign_radius to 1.5",
    Cause.LEARNING_RATE: "raise optimizer.lr (adamw: 1e-4 to 2e-3, sgd: 3e-3 to 3e-2), shorten optimizer.warmup_epochs",
    Cause.AT_ORIGIN: "give each anchor point its cell's centre times its level's stride, in training as in decoding",
    Cause.DEAD_LAYER: "lower optimizer.lr or model.neuron.threshold, lengthen optimizer.warmup_epochs; train again",
    Cause.SATURATED_LAYER: "raise model.neuron.threshold, lower model.neuron.decay or optimizer.lr; train again",
    Cause.VANISHED_GRADIENT: "choose ilif or a wider surrogate (lower model.neuron.alpha); check that no layer cuts "
    "the graph",
    Cause.CLASS_MAP: "the labels' numbers mean other classes than in training: ingest again with the right --labels",
    Cause.UNSETTLED_NORMS: "train longer: each norm waits for those before it to settle, some 30 steps; or enlarge "
    "training.batch_size",
    Cause.SILENT_CHANNELS: "lower model.neuron.threshold or optimizer.lr; such channels cost room and do nothing",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that the measured numbers break."""

    severity: Severity
    cause: Cause
    where: str  # a layer, a stage, a split, or what else was measured
    what: str
    value: float  # the number that was measured
    limit: float  # what it was compared with

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return REMEDIES[self.cause]
