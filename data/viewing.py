"""Viewing: what a recording looks like at a time, its events with the boxes labelled or interpolated there."""

import difflib
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from data.boxes import Boxes
from data.dataset import Dataset
from data.drawing import GREY, Image, captioned, draw_box, events_image, magnification, track_colour
from data.errors import InputError
from data.events import Events, SensorSize
from data.shards import Shard
from data.step_labels import TrackIndex

FRAMES_A_SECOND = 25  # a clip runs as fast as the recording did
FRAME_US = 1_000_000 // FRAMES_A_SECOND
FOUND_US = 50_000  # what was found so long ago is no longer drawn; most labels and predictions come faster
LEAST_WIDTH = 800  # px
JOINED_US = 500_000  # labels of a track this close are joined by a line (GEN1 is labelled 4 times a second)
AT_ONCE_US = 1_000  # a label no older than this counts as of the asked time, which people type in ms


def find_recording(dataset: Dataset, name: str) -> Shard:
    """The recording of this name, or of this split/name.

    Raises:
        InputError: there is none, or more than one.
    """
    shards = [shard for split in dataset.splits() for shard in dataset.shards(split)]
    found = [shard for shard in shards if name in (shard.name, _full_name(shard))]
    if len(found) == 1:
        return found[0]
    where = f"{dataset.location}: recording '{name}'"
    if found:
        raise InputError(f"{where} is in several splits; name one of: {', '.join(map(_full_name, found))}")
    names = [shard.name for shard in shards]
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    told = f"did you mean {' or '.join(near)}?" if near else f"there are {_told(names)}"
    raise InputError(f"{where} does not exist; {told}")


def _full_name(shard: Shard) -> str:
    return f"{shard.split.value}/{shard.name}"


def _told(names: Sequence[str]) -> str:
    rest = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + rest


class Found(Protocol):
    """N boxes that a detector found in a recording."""

    @property
    def boxes(self) -> Boxes:
        """Sorted by time; a track below 1 is none."""

    @property
    def scores(self) -> npt.NDArray[np.float32]:
        """[N] in [0, 1]."""


class Viewed(Protocol):
    """A recording that can be looked at."""

    @property
    def name(self) -> str:
        """For captions."""

    @property
    def size(self) -> SensorSize:
        """Of the sensor."""

    @property
    def first_us(self) -> int:
        """The time of the first event."""

    @property
    def last_us(self) -> int:
        """The time of the last event."""

    @property
    def boxes(self) -> Boxes:
        """The labels, sorted by time."""

    def events(self, start_us: int, end_us: int) -> Events:
        """The events of [start_us, end_us)."""


class RecordingView:
    """Draws a recording."""

    def __init__(self, shard: Viewed, classes: Sequence[str], window_us: int, found: Found | None = None) -> None:
        """Args:
        shard: the recording.
        classes: names of its classes.
        window_us: how much of the time before it a picture shows.
        found: what a detector found, drawn in the colours of its tracks; labels are thin and grey beside it.
        """
        self._shard = shard
        self._classes = classes
        self._window_us = window_us
        self._found = found
        self._tracks = TrackIndex(shard.boxes)
        self._label_times = shard.boxes.times()

    def over(self, found: Found) -> "RecordingView":
        """The same view with what a detector found."""
        return RecordingView(self._shard, self._classes, self._window_us, found)

    @property
    def duration_s(self) -> float:
        """Seconds from the first event to the last."""
        return (self._shard.last_us - self._shard.first_us) / 1e6

    def busiest_s(self) -> float:
        """The time with the most boxes, the first of several; the middle if there are none."""
        times, counts = np.unique(self._shard.boxes.t, return_counts=True)
        inside = (times >= self._shard.first_us) & (times <= self._shard.last_us)
        if not inside.any():
            return self.duration_s / 2
        return float(times[inside][np.argmax(counts[inside])] - self._shard.first_us) / 1e6

    def picture(self, at_s: float) -> Image:
        """What is seen at a time, in seconds from the recording's start.

        Raises:
            InputError: the recording does not go so far.
        """
        return self._drawn(self.time_us(at_s), AT_ONCE_US)

    def clip(self, start_s: float, seconds: float) -> Iterator[Image]:
        """What is seen from a time on, as far as the recording goes; at least one picture.

        Raises:
            InputError: the time lies outside the recording.
        """
        return (self._drawn(time_us, FRAME_US) for time_us in self.clip_times_us(start_s, seconds))

    def clip_times_us(self, start_s: float, seconds: float) -> range:
        """The times of a clip's pictures.

        Raises:
            InputError: the start lies outside the recording.
        """
        start_us = self.time_us(start_s)
        end_us = min(start_us + round(seconds * 1e6), self._shard.last_us + 1)
        return range(start_us, max(end_us, start_us + 1), FRAME_US)

    def clip_start_s(self, seconds: float) -> float:
        """Where a clip begins so that the busiest time is in its middle, as far as the recording's ends allow."""
        return max(min(self.busiest_s() - seconds / 2, self.duration_s - seconds), 0.0)

    def time_us(self, at_s: float) -> int:
        """A time in seconds from the recording's start on its own clock.

        Raises:
            InputError: the recording does not go so far.
        """
        if not 0 <= at_s <= self.duration_s:
            raise InputError(
                f"recording '{self._shard.name}' goes from 0 to {int(self.duration_s * 1000) / 1000:.3f} s, "
                f"and {at_s:g} s lies outside; choose a time in between"
            )
        return self._shard.first_us + round(at_s * 1e6)

    def _drawn(self, time_us: int, recent_us: int) -> Image:
        """The events up to a time; boxes labelled within `recent_us` before it thick, interpolated ones thin."""
        shard = self._shard
        events = shard.events(time_us + 1 - self._window_us, time_us + 1)
        zoom = magnification(shard.size, LEAST_WIDTH)
        image = events_image(events, shard.size, zoom)
        boxes, thickness, told = self._boxes(time_us, recent_us)
        if self._found is None:
            texts = [
                f"{self._classes[class_id]} {track}"
                for class_id, track in zip(boxes.class_id, boxes.track_id, strict=True)
            ]
            self._draw(image, boxes, texts, thickness, zoom)
        else:
            for corners in _corners(boxes) * zoom:
                draw_box(image, corners, "", GREY, 1)
            told += self._draw_found(image, self._found, time_us, zoom)
        seconds = (time_us - shard.first_us) / 1e6
        caption = f"{shard.name}  {seconds:.3f} s  {len(events):,} events in {self._window_us / 1000:g} ms  {told}"
        return captioned(image, caption)

    def _draw(self, image: Image, boxes: Boxes, texts: Sequence[str], thickness: int, zoom: int) -> None:
        for corners, track, text in zip(_corners(boxes) * zoom, boxes.track_id, texts, strict=True):
            draw_box(image, corners, text, track_colour(int(track)), thickness)

    def _draw_found(self, image: Image, found: Found, time_us: int, zoom: int) -> str:
        """What was found last, if that is not long ago; how many boxes that were."""
        last = int(np.searchsorted(found.boxes.t, time_us, side="right")) - 1
        latest_us = int(found.boxes.t[last]) if last >= 0 else None
        if latest_us is None or latest_us <= time_us - FOUND_US:
            return ", none found"
        rows = found.boxes.t == latest_us
        boxes, scores = found.boxes.take(rows), found.scores[rows]
        texts = [
            f"{self._classes[class_id]} {track if track > 0 else '-'} {score:.2f}"
            for class_id, track, score in zip(boxes.class_id, boxes.track_id, scores, strict=True)
        ]
        self._draw(image, boxes, texts, 2, zoom)
        return f", {len(boxes)} found"

    def _boxes(self, time_us: int, recent_us: int) -> tuple[Boxes, int, str]:
        """The boxes at a time, how thick they are drawn, and what to say about them."""
        last = int(np.searchsorted(self._label_times, time_us, side="right")) - 1
        if last >= 0 and self._label_times[last] > time_us - recent_us:
            boxes = self._shard.boxes.at(int(self._label_times[last]))
            return boxes, 2, f"{len(boxes)} boxes, as labelled"
        found = self._tracks.at(np.array([time_us]), JOINED_US, 0)
        if not found.labelled[0]:
            return found.boxes, 1, "no labels here"
        return found.boxes, 1, f"{len(found.boxes)} boxes, between labels"


def _corners(boxes: Boxes) -> npt.NDArray[np.float32]:
    """x1, y1, x2, y2 `[N, 4]` in sensor pixels."""
    return np.concatenate([boxes.xywh[:, :2], boxes.xywh[:, :2] + boxes.xywh[:, 2:]], axis=1)
