"""A detector's vital signs: what can be measured of it in a few batches when its mAP stays at zero."""

import copy
from dataclasses import dataclass

import torch

from data.boxes import LabelSet
from data.dataset import Dataset
from data.events import SensorSize
from data.manifest import Split
from model.checkpoint import Checkpoint
from model.diagnosis.layer_signs import LayerSigns, spikes_at_most
from model.diagnosis.learning_signs import LearningSigns, learning_signs, training_batches
from model.diagnosis.movement import relative_distance
from model.diagnosis.result_signs import ResultSigns, result_signs
from model.initial import initial_detector
from model.prediction import Validation

WINDOWS = 32  # evaluation windows looked at


@dataclass(frozen=True, slots=True)
class VitalSigns:
    """All that was measured."""

    split: Split  # whose evaluation windows were looked at
    trained_on: LabelSet
    label_set: LabelSet  # of the dataset
    trained_size: SensorSize
    size: SensorSize  # of the dataset's sensor
    epoch: int
    lr: float | None  # of the epoch's last step, where the checkpoint recorded it
    moved: float  # way of the weights since they were drawn, as a share of their length then
    layers: tuple[LayerSigns, ...]  # in the order in which they run
    learning: LearningSigns | None  # None: the dataset's classes are not the checkpoint's, so there is no loss
    results: ResultSigns


def examine(checkpoint: Checkpoint, dataset: Dataset, split: Split = Split.VAL, windows: int = WINDOWS) -> VitalSigns:
    """Measure a detector on the device it is on; it is left as it was.

    Results come from evaluation windows of `split`; gradients and positives from training batches, which are the
    training split's where there is one.

    Raises:
        DatasetError: a split has no recordings or no labels.
    """
    config, detector = checkpoint.config, copy.deepcopy(checkpoint.detector)
    shards = dataset.shards(split)
    results = result_signs(detector, config.data, shards, Validation(split, windows), len(checkpoint.label_set.classes))
    learning = None
    if checkpoint.label_set == dataset.label_set:
        teaching = dataset.shards(Split.TRAIN) if Split.TRAIN in dataset.splits() else shards
        with torch.random.fork_rng(devices=[]):  # PyTorch's loader draws a number, which no caller must notice
            learning = learning_signs(detector, config, training_batches(config, teaching, max(checkpoint.epoch, 1)))
    levels = spikes_at_most(detector)
    training_rates = {} if learning is None else learning.rates
    return VitalSigns(
        split=split,
        trained_on=checkpoint.label_set,
        label_set=dataset.label_set,
        trained_size=checkpoint.size,
        size=dataset.size,
        epoch=checkpoint.epoch,
        lr=checkpoint.metrics.get("lr"),
        moved=relative_distance(detector, initial_detector(config, checkpoint.label_set)),
        layers=tuple(
            LayerSigns(name, rate, training_rates.get(name), levels, results.silent[name])
            for name, rate in results.rates.items()
        ),
        learning=learning,
        results=results,
    )
