"""The splits of a dataset."""

from enum import StrEnum


class Split(StrEnum):
    """What a recording is for."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"
