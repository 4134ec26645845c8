"""The size of frames: the scaled sensor, and the padding that the detector needs around it."""

import math
from typing import TypeAlias

from data.events import SensorSize

STRIDE = 32  # the coarsest level of the detector; frame sides are multiples of it
Content: TypeAlias = tuple[int, int]  # rows and columns of a frame that are not padding


def content_size(size: SensorSize, scale: float) -> Content:
    """Height and width of the scaled sensor."""
    return math.ceil(size.height * scale), math.ceil(size.width * scale)


def padded(content: Content, square: bool = False) -> tuple[int, int]:
    """Height and width of a frame: the content, padded at the bottom and right to a multiple of 32, or to a square."""
    height, width = (math.ceil(side / STRIDE) * STRIDE for side in content)
    longer = max(height, width)
    return (longer, longer) if square else (height, width)
