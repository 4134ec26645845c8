"""What a detector finds in raw events, outside of any dataset: window after window, read once, tracked."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, count, islice

import numpy as np
import torch

from data.boxes import Boxes
from data.errors import InputError
from data.events import Events, SensorSize
from data.passing import PassingEvents
from data.rendering import FrameRenderer, PassingRenderer
from data.sampling import Order
from data.step_labels import step_times
from data.windows import Window, causal_window
from model.checkpoint import Checkpoint
from model.decoding import Detections, decode
from model.prediction import BATCH, in_sensor
from model.predictions.predicted_boxes import PredictedBoxes
from model.streaming import DetectorStream
from model.tracking.config import TrackingConfig
from model.tracking.tracker import UNTRACKED, Tracker

SHOWN_SCORE = 0.3  # boxes in no track are told from here on

Answer = tuple[int, Detections]  # the time, and what is found, in sensor pixels


def detect(
    checkpoint: Checkpoint,
    chunks: Iterable[Events],
    size: SensorSize,
    every_us: int | None = None,
    least_score: float = SHOWN_SCORE,
    tracked: bool = True,
) -> PredictedBoxes:
    """The boxes in a recording, at the end of each of its windows, in sensor pixels.

    The detector is shown what it was trained on: windows of its length, rendered at its scale, each by itself from rest
    or, where it was trained on recordings as they go, with the membranes carried from step to step. No answer knows
    of a later event. A recording shorter than a window is one window. Memory does not grow with the recording, but
    for the boxes.

    Args:
        checkpoint: the detector, on the device it is to run on.
        chunks: the recording's events, sound and in time order; arrays are one chunk.
        size: of the sensor.
        every_us: from one answer to the next; None: a window's length.
        least_score: boxes below it are left out in the end, unless they are in a track.
        tracked: join boxes into tracks, as the checkpoint is configured; all scores take part in that.

    Raises:
        InputError: the detector was trained for another sensor.
        RecordingError: the events last longer than a day, or their reader finds them damaged.
    """
    check_sensor(checkpoint, size)
    events = PassingEvents(chunks, size)
    found = answers(checkpoint, events, every_us or checkpoint.config.data.window_us)
    return told_boxes(found, checkpoint.config.tracking if tracked else None, least_score)


def check_sensor(checkpoint: Checkpoint, size: SensorSize) -> None:
    """Whether a detector was trained for this sensor.

    Raises:
        InputError: it was not.
    """
    if checkpoint.size != size:
        trained = checkpoint.size
        raise InputError(
            f"the events are of a sensor of {size.width}x{size.height}, but the detector was trained for "
            f"{trained.width}x{trained.height}; give a recording of such a sensor, or train on recordings of this one"
        )


def answers(checkpoint: Checkpoint, events: PassingEvents, every_us: int) -> Iterator[Answer]:
    """What is found at the end of the first window, and every so often from there to the last event."""
    first_us = events.first_us
    if first_us is None:
        return
    data = checkpoint.config.data
    first_end_us = first_us + data.window_us - 1
    later = (first_end_us + turn * every_us for turn in count(1))
    times_us = chain([first_end_us], _within(events, later))
    renderer = PassingRenderer(events, data)
    if data.order is Order.RANDOM:
        windows = (causal_window(0, time_us, data.window_us) for time_us in times_us)
        yield from from_rest(checkpoint, renderer, windows)
    else:
        yield from _in_course(checkpoint, renderer, first_us, times_us)


def from_rest(checkpoint: Checkpoint, renderer: FrameRenderer, windows: Iterable[Window]) -> Iterator[Answer]:
    """What is found in each window by itself, at the time of its labels."""
    detector, waiting = checkpoint.detector.eval(), iter(windows)
    device = next(detector.parameters()).device
    while some := list(islice(waiting, BATCH)):
        frames_BTCHW = renderer.empty(len(some))
        for window, frames_TCHW in zip(some, frames_BTCHW, strict=True):
            renderer.frames(window, frames_TCHW)
        with torch.no_grad():
            said = detector(renderer.as_tensor(frames_BTCHW).to(device))
        for window, found in zip(some, decode(said, detector.config.readout), strict=True):
            yield window.label_us, _placed(checkpoint, found)


def told_boxes(found: Iterable[Answer], tracking: TrackingConfig | None, least_score: float) -> PredictedBoxes:
    """The answers of rising times as one table: boxes in a track, if any is asked for, and those of such a score."""
    tracker = None if tracking is None else Tracker(tracking)
    parts = [PredictedBoxes(Boxes.empty(), np.empty(0, np.float32))]
    for time_us, boxes in found:
        ids = np.full(len(boxes.scores), UNTRACKED) if tracker is None else tracker.update(time_us, boxes)
        xywh = np.concatenate([boxes.corners[:, :2], boxes.corners[:, 2:] - boxes.corners[:, :2]], axis=1)
        every = PredictedBoxes(Boxes(np.full(len(ids), time_us), xywh, boxes.classes, ids), boxes.scores)
        parts.append(every.take((ids != UNTRACKED) | (boxes.scores >= least_score)))
    t, xywh, class_id, track_id = (
        np.concatenate([getattr(part.boxes, column) for part in parts])
        for column in ("t", "xywh", "class_id", "track_id")
    )
    return PredictedBoxes(Boxes(t, xywh, class_id, track_id), np.concatenate([part.scores for part in parts]))


def _within(events: PassingEvents, times_us: Iterable[int]) -> Iterator[int]:
    for time_us in times_us:
        if not events.reaches(time_us):
            return
        yield time_us


def _in_course(
    checkpoint: Checkpoint, renderer: FrameRenderer, first_us: int, times_us: Iterator[int]
) -> Iterator[Answer]:
    """What the last step that has ended says at each time, the membranes carried from the first event on."""
    data, stream = checkpoint.config.data, DetectorStream(checkpoint.detector)
    device = next(checkpoint.detector.parameters()).device
    time_us = next(times_us, None)
    for block in count():
        if time_us is None:
            return
        start_us = first_us + block * data.window_us
        window = causal_window(0, start_us + data.window_us - 1, data.window_us)
        frames_BTCHW = renderer.empty(1)
        renderer.frames(window, frames_BTCHW[0])
        said = stream.predict(renderer.as_tensor(frames_BTCHW).to(device))
        ends_us = step_times(window, data.time_steps)
        next_end_us = int(ends_us[0]) + data.window_us  # the end of the next block's first step
        while time_us is not None and time_us < next_end_us:
            step = int(np.searchsorted(ends_us, time_us, side="right")) - 1
            (found,) = decode(said.part(slice(step, step + 1), slice(None)))
            yield time_us, _placed(checkpoint, found)
            time_us = next(times_us, None)


def _placed(checkpoint: Checkpoint, found: Detections) -> Detections:
    return replace(found, corners=in_sensor(found, checkpoint.size, checkpoint.config.data.scale))
