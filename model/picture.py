"""A picture of windows: their events, the true boxes and the boxes a detector found."""

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from data.boxes import LabelSet
from data.shards import Shard
from data.windows import evenly_spaced
from model.prediction import WindowResult

Image = npt.NDArray[np.uint8]  # [H, W, 3] blue, green, red

SHOWN_SCORE = 0.3  # boxes below it are left out of the picture, not of the measurement
LEAST_WIDTH = 480  # px of one panel
WHITE, ON, OFF = (255, 255, 255), (200, 90, 30), (60, 60, 220)
TRUE, FOUND, GREY = (60, 160, 0), (190, 0, 190), (120, 120, 120)


def write_picture(
    results: Sequence[WindowResult], shards: Sequence[Shard], label_set: LabelSet, path: Path, panels: int = 6
) -> None:
    """Draw evenly spaced windows side by side and write them as one image, replacing what was there at the end.

    ON events are blue, OFF events red; true boxes green; found boxes magenta with class and score.
    """
    chosen = [results[row] for row in evenly_spaced(len(results), panels)]
    images = [_panel(result, shards[result.window.recording], label_set) for result in chosen]
    columns = min(3, len(images))
    blank = np.full_like(images[0], 255)
    images += [blank] * (-len(images) % columns)
    rows = [np.hstack(images[first : first + columns]) for first in range(0, len(images), columns)]
    partial = path.with_name(f".{path.stem}.partial.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial.write_bytes(cv2.imencode(".png", np.vstack(rows))[1].tobytes())
    partial.replace(path)


def _panel(result: WindowResult, shard: Shard, label_set: LabelSet) -> Image:
    window = result.window
    events = shard.events(window.start_us, window.end_us)
    image = np.full((shard.size.height, shard.size.width, 3), 255, np.uint8)
    image[events.y, events.x] = np.array([OFF, ON], np.uint8)[events.p]
    zoom = math.ceil(LEAST_WIDTH / shard.size.width)
    image = cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_NEAREST)
    for (x, y, w, h), class_id in zip(result.truth.xywh, result.truth.class_id, strict=True):
        _box(image, np.array([x, y, x + w, y + h]) * zoom, label_set.classes[class_id], TRUE, below=True)
    found = result.found
    for corners, score, class_id in zip(found.corners, found.scores, found.classes, strict=True):
        if score >= SHOWN_SCORE:
            _box(image, corners * zoom, f"{label_set.classes[class_id]} {score:.2f}", FOUND)
    caption = f"{shard.name}  {window.label_us / 1e6:.3f} s"
    framed: Image = cv2.copyMakeBorder(_captioned(image, caption), 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=GREY)
    return framed


def _box(
    image: Image, corners: npt.NDArray[np.floating], text: str, colour: tuple[int, int, int], below: bool = False
) -> None:
    x1, y1, x2, y2 = (int(side) for side in corners.round())
    cv2.rectangle(image, (x1, y1), (x2, y2), colour, 2 if below else 1)
    place = (x1, min(image.shape[0] - 3, y2 + 11)) if below else (x1, max(9, y1 - 3))
    cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.38, colour, 1, cv2.LINE_AA)


def _captioned(image: Image, caption: str) -> Image:
    strip = np.full((20, image.shape[1], 3), WHITE, np.uint8)
    cv2.putText(strip, caption, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([strip, image])
