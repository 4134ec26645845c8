"""How large a detector is: channels at each stride and blocks a stage."""

import math
from enum import StrEnum

Widths = tuple[int, int, int, int]  # channels at strides 4, 8, 16, 32


class Preset(StrEnum):
    """Size of the detector."""

    NANO = "nano"
    SMALL = "small"
    BASE = "base"
    LARGE = "large"


_SIZES: dict[Preset, tuple[Widths, int]] = {
    Preset.NANO: ((24, 48, 96, 128), 1),
    Preset.SMALL: ((40, 80, 160, 224), 1),
    Preset.BASE: ((64, 128, 256, 384), 2),
    Preset.LARGE: ((96, 192, 384, 512), 3),
}
_STEP = 8  # channels come in multiples of this: halves and quarters stay whole, and vector units stay full


def detector_size(preset: Preset, width: float = 1.0, depth: float = 1.0) -> tuple[Widths, int]:
    """Channels at strides 4, 8, 16, 32 and blocks a stage, of a preset made `width` times wider and `depth` deeper.

    Channels are the nearest multiples of 8, at least 8; blocks at least 1. Both factors exceed 0.
    """
    (first, fine, middle, coarse), blocks = _SIZES[preset]
    widths = _channels(first * width), _channels(fine * width), _channels(middle * width), _channels(coarse * width)
    return widths, max(1, _nearest(blocks * depth))


def _channels(wanted: float) -> int:
    return max(_STEP, _STEP * _nearest(wanted / _STEP))


def _nearest(value: float) -> int:
    """The nearest integer, halves up: round() would send 1.5 and 2.5 blocks both to 2."""
    return math.floor(value + 0.5)
