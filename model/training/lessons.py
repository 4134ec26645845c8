"""Which recordings a training learns from."""

import numpy as np
import numpy.typing as npt

from data.dataset import Dataset
from data.manifest import Split
from data.shards import Shard
from model.training.config import TrainingConfig


def lesson_splits(training: TrainingConfig) -> tuple[Split, ...]:
    """The splits that are trained on."""
    return (Split.TRAIN, Split.VAL) if training.with_val else (Split.TRAIN,)


def lessons(dataset: Dataset, training: TrainingConfig) -> tuple[Shard, ...]:
    """The recordings that are trained on, split by split.

    Raises:
        DatasetError: a split is empty.
    """
    return tuple(shard for split in lesson_splits(training) for shard in dataset.shards(split))


def lesson_counts(dataset: Dataset, training: TrainingConfig) -> npt.NDArray[np.int64]:
    """How many boxes of each class [K] they hold."""
    counts: npt.NDArray[np.int64] = np.stack([dataset.class_counts(split) for split in lesson_splits(training)])
    total: npt.NDArray[np.int64] = counts.sum(axis=0)
    return total
