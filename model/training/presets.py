"""Ways to train, by name: leaves that a file or an option may still change."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class PresetName(StrEnum):
    """What a training is for."""

    QUICK = "quick"  # a look in some two minutes on a laptop
    FAST = "fast"  # the full picture, in the cheapest way
    ACCURATE = "accurate"  # the best detector, whatever it takes
    DEBUG = "debug"  # slow and careful: to find out what is wrong


PRESETS: Mapping[PresetName, Mapping[str, Any]] = {
    PresetName.QUICK: {
        "data.scale": 0.5,  # a quarter of the cells
        "data.time_steps": 2,
        "training.epochs": 3,
        "training.windows_per_epoch": 400,
    },
    PresetName.FAST: {
        "training.precision": "auto",
        "training.compile": "auto",
        "data.cache.mode": "auto",
        # The first third sees a quarter of the cells, as in the low-resolution phase of a YOLOv5 speed guide.
        "training.phases": [{"epochs": 4, "scale": 0.5}],
        "training.patience": 4,
        "training.min_gain": 0.002,
    },
    PresetName.ACCURATE: {
        "model.preset": "base",
        "training.epochs": 50,
        "training.precision": "fp32",
        "training.ema_decay": 0.999,  # pays in long trainings; in three epochs it gained nothing
        "loss.class_weights": "balanced",
        "data.augment.zoom_in": 0.64,  # RVT's
        "data.augment.zoom_out": 0.44,
        "training.checkpoint.top": 3,
    },
    PresetName.DEBUG: {
        "training.precision": "fp32",
        "training.compile": "off",
        "training.check": True,
        "training.most_skipped": 1,
        "data.workers": 0,
        "data.cache.mode": "off",
    },
}

ONE_THREAD = frozenset({PresetName.DEBUG})  # the same sums in the same order on every machine
