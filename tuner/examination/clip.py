"""A short clip of what the winner finds, each track in a colour of its own, that any browser plays."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image

from data.drawing import Image
from data.events import Events
from data.shards import Shard
from data.viewing import RecordingView
from model.checkpoint import Checkpoint
from model.detecting import detect

SECONDS = 4.0
EVERY_US = 80_000  # half as many pictures as `spiketune show` has: a page carries the clip
WIDTH = 480  # px
LARGEST_BYTES = 2 << 20
QUALITIES = (60, 35, 15)  # of the WebP, tried from the best down until it is small enough
CHUNK_US = 1_000_000


@dataclass(frozen=True)
class Clip:
    """What the clip shows."""

    file: str
    recording: str
    start_s: float  # from the recording's start
    seconds: float
    tracks: int


def write_clip(checkpoint: Checkpoint, shards: Sequence[Shard], folder: Path) -> Clip | None:
    """Follow objects through the busiest stretch of the recording with the most boxes, as an animated WebP.

    None if even the plainest is too large for a page.
    """
    shard = max(shards, key=lambda shard: (len(shard.boxes), shard.name))
    window_us = checkpoint.config.data.window_us
    view = RecordingView(shard, checkpoint.label_set.classes, window_us)
    start_s = view.clip_start_s(SECONDS)
    start_us = view.time_us(start_s)
    end_us = min(start_us + round(SECONDS * 1e6), shard.last_us + 1)
    found = detect(checkpoint, _until(shard, end_us), shard.size, every_us=min(window_us, EVERY_US // 2))
    view = view.over(found)
    times = range(start_us, end_us, EVERY_US)
    pictures = [_small(view.picture((time_us - shard.first_us) / 1e6)) for time_us in times]
    shown = found.boxes.track_id[(found.boxes.t >= start_us) & (found.boxes.track_id > 0)]
    for quality in QUALITIES:
        path = folder / "clip.webp"
        first, *rest = pictures
        first.save(path, "WEBP", save_all=True, append_images=rest, duration=EVERY_US // 1000, loop=0, quality=quality)
        if path.stat().st_size <= LARGEST_BYTES:
            return Clip(path.name, shard.name, start_s, (end_us - start_us) / 1e6, len(np.unique(shown)))
    path.unlink()
    return None


def _until(shard: Shard, end_us: int) -> Iterator[Events]:
    for start_us in range(shard.first_us, end_us, CHUNK_US):
        yield shard.events(start_us, min(start_us + CHUNK_US, end_us))


def _small(image: Image) -> PIL.Image.Image:
    picture = PIL.Image.fromarray(np.ascontiguousarray(image[..., ::-1]))
    height = round(picture.height * WIDTH / picture.width)
    return picture.resize((WIDTH, height), PIL.Image.Resampling.BOX)
