"""A picture of windows: their events, the true boxes and the boxes a detector found."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.boxes import LabelSet
from data.drawing import GREEN, Image, captioned, draw_box, events_image, framed, magnification, write_image
from data.shards import Shard
from data.windows import evenly_spaced
from model.prediction import WindowResult

SHOWN_SCORE = 0.3  # boxes below it are left out of the picture, not of the measurement
LEAST_WIDTH = 480  # px of one panel
FOUND = (190, 0, 190)  # magenta


def write_picture(
    results: Sequence[WindowResult], shards: Sequence[Shard], label_set: LabelSet, path: Path, panels: int = 6
) -> None:
    """Draw evenly spaced windows side by side and write them as one image, replacing what was there at the end.

    ON events are blue, OFF events red; true boxes green; found boxes magenta with class and score.
    """
    chosen = [results[row] for row in evenly_spaced(len(results), panels)]
    images = [window_picture(result, shards[result.window.recording], label_set) for result in chosen]
    columns = min(3, len(images))
    blank = np.full_like(images[0], 255)
    images += [blank] * (-len(images) % columns)
    rows = [np.hstack(images[first : first + columns]) for first in range(0, len(images), columns)]
    write_image(np.vstack(rows), path)


def window_picture(result: WindowResult, shard: Shard, label_set: LabelSet, least_score: float = SHOWN_SCORE) -> Image:
    """One window with its caption, in blue, green and red; found boxes from a score on."""
    window = result.window
    zoom = magnification(shard.size, LEAST_WIDTH)
    image = events_image(shard.events(window.start_us, window.end_us), shard.size, zoom)
    for (x, y, w, h), class_id in zip(result.truth.xywh, result.truth.class_id, strict=True):
        text = label_set.classes[class_id]
        draw_box(image, np.array([x, y, x + w, y + h]) * zoom, text, GREEN, thickness=2, below=True)
    found = result.found
    for corners, score, class_id in zip(found.corners, found.scores, found.classes, strict=True):
        if score >= least_score:
            draw_box(image, corners * zoom, f"{label_set.classes[class_id]} {score:.2f}", FOUND, thickness=1)
    return framed(captioned(image, f"{shard.name}  {window.label_us / 1e6:.3f} s"))
