"""What a source will cost: room on the disk, and minutes of this machine."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.audit.recording import RecordingAudit
from data.data_config import DataConfig
from data.events import Events, SensorSize
from data.frame_size import content_size, padded
from data.manifest import Split
from data.packing import PackedSlice, Packer, Words
from data.representation import render

SAMPLE_EVENTS = 1 << 20  # enough to be timed: some 10 ms
REPEATS = 3  # of each timing; the quickest counts, for other work only slows it
GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Cost:
    """What ingesting and training will take on this machine."""

    dataset_gib: float  # of the shards
    epoch_windows: int  # label times of the training split
    frames_gib: float  # of the default frames of those windows, rendered and not compressed
    ingest_minutes: float  # reading as measured here, and packing
    epoch_minutes: float  # of rendering one epoch of training windows


def cost(audits: Sequence[RecordingAudit], processes: int) -> Cost | None:
    """Estimate the cost; None if no recording could be read.

    Args:
        audits: of the recordings.
        processes: that work side by side.
    """
    read = [audit for audit in audits if audit.events is not None and audit.events.events and audit.size is not None]
    if not read or read[0].size is None:
        return None
    size = read[0].size
    events = sum(audit.events.events for audit in read if audit.events is not None)
    windows = sum(audit.boxes.times.count for audit in read if audit.split is Split.TRAIN and audit.boxes is not None)
    duration_us = sum(audit.events.duration_us for audit in read if audit.events is not None)
    config = DataConfig()
    sample = _sample(size, events / duration_us, config.window_us)
    packing_s, packed = _packing(sample, Words.of(size))
    frame = padded(content_size(size, config.scale))
    shape = (config.time_steps, config.representation.channels, *frame)
    rendering_s = _rendering(packed, config, shape)
    reading_s = sum(audit.read_s for audit in read)
    return Cost(
        dataset_gib=events * Words.of(size).dtype.itemsize / GIB,
        epoch_windows=windows,
        frames_gib=windows * float(np.prod(shape)) / GIB,
        ingest_minutes=(reading_s + packing_s * events / max(len(sample), 1)) / processes / 60,
        epoch_minutes=rendering_s * windows / processes / 60,
    )


def _sample(size: SensorSize, events_per_us: float, window_us: int) -> Events:
    """A window of events at the mean rate, evenly spread: the dearest to render, since no two share a cache line."""
    count = min(max(int(events_per_us * window_us), 1), SAMPLE_EVENTS)
    random = np.random.default_rng(0)
    x, y = (random.integers(0, side, count).astype(np.uint16) for side in size)
    t = np.sort(random.integers(0, window_us, count))
    return Events(t, x, y, random.integers(0, 2, count).astype(np.uint8))


def _packing(sample: Events, words: Words) -> tuple[float, PackedSlice]:
    seconds = []
    packer = Packer(words, len(sample), 1 << 10, 1 << 10)
    for _ in range(REPEATS):
        begun = time.perf_counter()
        packer.fill(sample, 0)
        packed = packer.take()
        seconds.append(time.perf_counter() - begun)
    return min(seconds), packed


def _rendering(packed: PackedSlice, config: DataConfig, shape: tuple[int, ...]) -> float:
    frames = np.empty(shape, np.uint8)
    seconds = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        render(config.representation, packed, 0, config.window_us, config.scale, frames, config.max_events_per_window)
        seconds.append(time.perf_counter() - begun)
    return min(seconds)
