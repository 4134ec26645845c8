"""Transforms: one drawn change of a window, applied to its frames and its boxes alike."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from data.augment import AugmentConfig
from data.frame_size import STRIDE, Content
from data.representation import Frames, RepresentationConfig
from data.resampling import Recolouring, axis, scatter

Corners = npt.NDArray[np.float32]  # [N, 4] x1, y1, x2, y2 in pixels

LEAST_SHARE = 0.2  # of a box's area: of one that shows less, nobody could tell what it is
LEAST_SIDE = 1.0  # px


@dataclass(frozen=True, slots=True)
class Transform:
    """One change of a window: mirrored first, then scaled, then shifted. Pixels are those of the unaugmented size."""

    scale: float = 1.0  # output pixels an input pixel
    shift_x: float = 0.0  # px, to the right
    shift_y: float = 0.0  # px, down
    mirrored: bool = False  # left to right
    polarity_flip: bool = False  # ON and OFF change places
    time_flip: bool = False  # the window runs backwards: brightening becomes darkening
    event_drop: float = 0.0  # share of events left out
    seed: int = 0  # of which events are left out

    @property
    def is_identity(self) -> bool:
        """Whether nothing changes."""
        moved = (self.scale, self.shift_x, self.shift_y, self.event_drop) != (1, 0, 0, 0)
        return not (moved or self.mirrored or self.polarity_flip or self.time_flip)


def draw_transform(config: AugmentConfig, random: np.random.Generator, content: Content) -> Transform:
    """Draw a change. Every setting reads draws of its own, so that none changes what another does.

    Args:
        config: chances and ranges.
        random: where the draws come from; always as many.
        content: rows and columns of the frame.
    """
    flip, zooms_in, zooms_out, factor, left, top, right, down, drop, polarity, time = map(float, random.random(11))
    seed = int(random.integers(2**63))
    scale = 1.0
    if zooms_in < config.zoom_in:
        scale = 1 + factor * (config.zoom_in_max - 1)
    elif zooms_out < config.zoom_out:
        scale = 1 / (1 + factor * (config.zoom_out_max - 1))
    height, width = content
    # Enlarged, the frame shows a part drawn evenly; shrunk, the window lies anywhere in the frame.
    return Transform(
        scale=scale,
        shift_x=left * (1 - scale) * width + _whole(right, config.translate * width),
        shift_y=top * (1 - scale) * height + _whole(down, config.translate * height),
        mirrored=flip < config.flip,
        polarity_flip=polarity < config.polarity_flip,
        time_flip=time < config.time_flip,
        event_drop=drop * config.event_drop,
        seed=seed,
    )


def _whole(drawn: float, reach: float) -> int:
    """A whole number of pixels between -reach and reach, each as likely."""
    return int(drawn * (2 * int(reach) + 1)) - int(reach)


def scaled_size(random: np.random.Generator, multi_scale: float, content: Content) -> Content:
    """Draw the size all windows of a batch are brought to: their own, or one near whose width is a multiple of 32.

    Args:
        random: gives one draw.
        multi_scale: ± share by which the width may differ.
        content: rows and columns of the frames.
    """
    drawn = float(random.random())
    height, width = content
    least, most = np.ceil(width * (1 - multi_scale) / STRIDE), np.floor(width * (1 + multi_scale) / STRIDE)
    widths = sorted({width, *(int(count) * STRIDE for count in np.arange(least, most + 1))})
    chosen = widths[int(drawn * len(widths))]
    return max(round(height * chosen / width), 1), chosen


def transform_frames(
    frames_TCHW: Frames,
    content: Content,
    transform: Transform,
    representation: RepresentationConfig,
    out_TCHW: Frames,
    out_content: Content,
) -> None:
    """Write frames, changed.

    What a smaller frame shows is what rendering at its size would have shown, as far as counts had not saturated.

    Args:
        frames_TCHW: the frames.
        content: their rows and columns that are not padding.
        transform: the change.
        representation: of the frames; it says how cells that fall into one are joined.
        out_TCHW: overwritten; what the frames do not cover, and the padding, becomes 0.
        out_content: rows and columns of the result that are not padding; other than `content` if the batch has
            another size.
    """
    if content == out_content and frames_TCHW.shape == out_TCHW.shape:
        if transform.is_identity:
            np.copyto(out_TCHW, frames_TCHW)
            return
        joined = frames_TCHW.flags.c_contiguous and out_TCHW.flags.c_contiguous
        if joined and replace(transform, mirrored=False).is_identity:
            _mirror(frames_TCHW, content[1], out_TCHW)
            return
    out_TCHW.fill(0)
    ratio_y, ratio_x = out_content[0] / content[0], out_content[1] / content[1]
    rows = axis(content[0], transform.scale * ratio_y, transform.shift_y * ratio_y, False, 0, out_content[0])
    columns = axis(
        content[1], transform.scale * ratio_x, transform.shift_x * ratio_x, transform.mirrored, 0, out_content[1]
    )
    change = Recolouring(transform.polarity_flip, transform.time_flip, transform.event_drop, transform.seed)
    scatter(frames_TCHW, rows, columns, change, representation, out_TCHW)


def _mirror(frames_TCHW: Frames, width: int, out_TCHW: Frames) -> None:
    """Turn the first `width` columns round; the commonest change, and so thirty times as fast as the general way."""
    W = frames_TCHW.shape[-1]
    out_RW = out_TCHW.reshape(-1, W)
    cv2.flip(frames_TCHW.reshape(-1, W)[:, :width], 1, dst=out_RW[:, :width])
    out_RW[:, width:] = 0


def transform_corners(
    corners: Corners, transform: Transform, content: Content, out_content: Content
) -> tuple[Corners, npt.NDArray[np.bool_]]:
    """Boxes [N, 4] of changed frames, cut to them [M, 4], and which of the N still show enough [N]."""
    height, width = content
    moved = corners.astype(np.float64)
    if transform.mirrored:
        moved[:, [0, 2]] = width - moved[:, [2, 0]]
    moved = moved * transform.scale + np.tile([transform.shift_x, transform.shift_y], 2)
    moved *= np.tile([out_content[1] / width, out_content[0] / height], 2)
    return cut_corners(corners, moved, (0, 0, out_content[1], out_content[0]))


def cut_corners(
    before: Corners, moved: npt.NDArray[np.float64], frame: tuple[int, int, int, int]
) -> tuple[Corners, npt.NDArray[np.bool_]]:
    """Cut boxes [N, 4] to a frame x1, y1, x2, y2, and drop those of which too little is left.

    Too little is less than a fifth of the area, or a side that has become shorter than a pixel. `before` are the
    boxes before they were moved: thin boxes that were no thicker then are kept.
    """
    x1, y1, x2, y2 = frame
    inside = np.clip(moved, [x1, y1, x1, y1], [x2, y2, x2, y2])
    sides, left, old = moved[:, 2:] - moved[:, :2], inside[:, 2:] - inside[:, :2], before[:, 2:] - before[:, :2]
    thin = ((left < LEAST_SIDE) & (left < old * (1 - 1e-6))).any(axis=1)
    kept = (left > 0).all(axis=1) & ~thin & (left.prod(axis=1) >= LEAST_SHARE * sides.prod(axis=1))
    return inside[kept].astype(np.float32), kept
