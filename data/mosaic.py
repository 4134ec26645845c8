"""Mosaics: four windows in one frame, so that a batch shows more and smaller objects (YOLOv4)."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from data.frame_size import Content
from data.representation import Frames, RepresentationConfig
from data.resampling import Recolouring, axis, scatter
from data.transform import Corners, cut_corners

NEAREST = 1 / 3  # share of the frame that the quadrants' common corner keeps from each border


def mosaic(
    parts: Sequence[tuple[Frames, Corners]],
    random: np.random.Generator,
    content: Content,
    representation: RepresentationConfig,
    out_TCHW: Frames,
) -> tuple[Corners, npt.NDArray[np.bool_]]:
    """Shrink four windows into the quadrants around a drawn centre.

    Each is shrunk until it just fills its quadrant, and cut where its shape differs, at the sides away from the centre.

    Args:
        parts: frames and boxes of the top left, top right, bottom left and bottom right window.
        random: gives two draws.
        content: rows and columns of the frames that are not padding.
        representation: of the frames.
        out_TCHW: overwritten.

    Returns:
        The boxes that still show enough [M, 4], and which of all the parts' boxes, one part after the other, these are.
    """
    height, width = content
    drawn = NEAREST + random.random(2) * (1 - 2 * NEAREST)
    middle_y, middle_x = round(float(drawn[0]) * height), round(float(drawn[1]) * width)
    out_TCHW.fill(0)
    corners, kept = [], []
    for place, (frames_TCHW, boxes) in enumerate(parts):
        top, bottom = ((0, middle_y), (middle_y, height))[place // 2]
        left, right = ((0, middle_x), (middle_x, width))[place % 2]
        scale = max((bottom - top) / height, (right - left) / width)
        # Rounded, since a shift of -1e-14 instead of 0 would push the first row out of the frame.
        shift_y = middle_y if place // 2 else round(middle_y - scale * height, 9)
        shift_x = middle_x if place % 2 else round(middle_x - scale * width, 9)
        rows = axis(height, scale, shift_y, False, top, bottom)
        columns = axis(width, scale, shift_x, False, left, right)
        scatter(frames_TCHW, rows, columns, Recolouring(), representation, out_TCHW)
        moved = boxes.astype(np.float64) * scale + np.tile([shift_x, shift_y], 2)
        inside, stays = cut_corners(boxes, moved, (left, top, right, bottom))
        corners.append(inside)
        kept.append(stays)
    return np.concatenate(corners), np.concatenate(kept)
