"""Augmentation: frames and boxes change together."""

import numpy as np
import numpy.typing as npt


def flip_horizontally(frames_TCHW: npt.NDArray[np.uint8], corners: npt.NDArray[np.float32], width: int) -> None:
    """Mirror frames and boxes x1, y1, x2, y2 [N, 4] in place, within the first `width` columns."""
    frames_TCHW[..., :width] = frames_TCHW[..., :width][..., ::-1].copy()
    corners[:, [0, 2]] = width - corners[:, [2, 0]]
