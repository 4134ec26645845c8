"""Batches: windows of many recordings, rendered and put beside their boxes."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field

from data.augment import flip_horizontally
from data.boxes import Boxes
from data.config import Config
from data.errors import DatasetError
from data.events import SensorSize
from data.representation import POLARITIES, histo3d
from data.shards import Shard
from data.windows import Window, buffered_window, causal_window, evaluation_times, evenly_spaced

STRIDE = 32  # the coarsest level of the detector; frames are padded to a multiple of it


class DataConfig(Config):
    """What one window shows the detector."""

    window_us: int = Field(50_000, ge=1_000, le=1_000_000)  # µs of events a window holds (RVT: 50 ms)
    time_steps: int = Field(4, ge=1, le=32)  # T, equal bins of a window
    scale: float = Field(1.0, gt=0, le=1)  # output pixels a sensor pixel
    temporal_buffer: float = Field(0.0, ge=0, le=1)  # share of a window its end may lie off the label; training only
    flip: float = Field(0.5, ge=0, le=1)  # chance that a training window is mirrored left to right


@dataclass(frozen=True, slots=True)
class Batch:
    """B windows of T steps, and the boxes of each."""

    frames_TBCHW: torch.Tensor  # uint8 [T, B, 2, H, W]
    targets: torch.Tensor  # float32 [M, 6]: row of the batch, class, x1, y1, x2, y2 in output pixels
    tracks: torch.Tensor  # int64 [M]: the same number means the same object of the same recording
    windows: tuple[Window, ...]

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device; frames stay uint8 and are cast there."""
        return Batch(
            self.frames_TBCHW.to(device, non_blocking=True),
            self.targets.to(device),
            self.tracks.to(device),
            self.windows,
        )


def frame_size(size: SensorSize, scale: float) -> tuple[int, int]:
    """Height and width of a frame: the scaled sensor, padded at the bottom and right to a multiple of 32."""
    height, width = (math.ceil(math.ceil(side * scale) / STRIDE) * STRIDE for side in (size.height, size.width))
    return height, width


class WindowRenderer:
    """Renders windows of a split's recordings as batches."""

    def __init__(self, shards: Sequence[Shard], config: DataConfig) -> None:
        self._shards = shards
        self._config = config
        self._frame = frame_size(shards[0].size, config.scale)

    def batch(self, windows: Sequence[Window], mirrored: Sequence[bool] | None = None) -> Batch:
        """Render these windows; `mirrored` tells which are flipped left to right."""
        config = self._config
        shape = (len(windows), config.time_steps, POLARITIES, *self._frame)
        frames_BTCHW = np.empty(shape, np.uint8)
        targets, tracks = [], []
        for row, window in enumerate(windows):
            shard = self._shards[window.recording]
            packed = shard.packed(window.start_us, window.end_us)
            histo3d(packed, window.start_us, window.end_us, config.scale, frames_BTCHW[row])
            boxes = shard.boxes.at(window.label_us)
            corners = scaled_corners(boxes, config.scale)
            if mirrored is not None and mirrored[row]:
                width = math.ceil(shard.size.width * config.scale)
                flip_horizontally(frames_BTCHW[row], corners, width)
            targets.append(np.column_stack([np.full(len(boxes), row), boxes.class_id, corners]).astype(np.float32))
            tracks.append(boxes.track_id + (window.recording << 32))  # ids count anew in every recording
        return Batch(
            torch.from_numpy(frames_BTCHW).transpose(0, 1),
            torch.from_numpy(np.concatenate(targets)),
            torch.from_numpy(np.concatenate(tracks)),
            tuple(windows),
        )


def scaled_corners(boxes: Boxes, scale: float) -> npt.NDArray[np.float32]:
    """Boxes as x1, y1, x2, y2 [N, 4] in output pixels."""
    corners = boxes.xywh.copy()
    corners[:, 2:] += corners[:, :2]
    return corners * np.float32(scale)


class TrainingLoader:
    """An epoch of training windows in a seeded random order, each near a label of its own."""

    def __init__(
        self, shards: Sequence[Shard], config: DataConfig, batch_size: int, windows_per_epoch: int | None, seed: int
    ) -> None:
        self._labels = [(index, int(time)) for index, shard in enumerate(shards) for time in shard.boxes.times()]
        if not self._labels:
            raise DatasetError("the training split has no labels; ingest recordings with boxes beside them")
        self._renderer = WindowRenderer(shards, config)
        self._config = config
        self._count = min(windows_per_epoch or len(self._labels), len(self._labels))
        self.batch_size = min(batch_size, self._count)
        self._seed = seed

    def __len__(self) -> int:
        """Batches an epoch; a last one that is not full is left out, since a norm over few windows is noise."""
        return self._count // self.batch_size

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of one epoch; the same number gives the same batches."""
        config = self._config
        random = np.random.default_rng((self._seed, number))
        drawn = random.permutation(len(self._labels))[: len(self) * self.batch_size]
        for rows in np.array_split(drawn, len(self)):
            windows = [
                buffered_window(recording, label_us, config.window_us, config.temporal_buffer, random)
                for recording, label_us in (self._labels[row] for row in rows)
            ]
            yield self._renderer.batch(windows, list(random.random(len(rows)) < config.flip))


class EvaluationLoader:
    """The causal windows of a split's label times, in order, the same for every configuration of one window length."""

    def __init__(self, shards: Sequence[Shard], config: DataConfig, batch_size: int, at_most: int | None) -> None:
        labels = [
            (index, int(time)) for index, shard in enumerate(shards) for time in evaluation_times(shard.boxes.times())
        ]
        if not labels:
            raise DatasetError("the split has no label after its first 0.5 s, so nothing can be evaluated on it")
        chosen = [labels[row] for row in evenly_spaced(len(labels), at_most)]
        self._windows = [causal_window(recording, label_us, config.window_us) for recording, label_us in chosen]
        self._renderer = WindowRenderer(shards, config)
        self._batch_size = batch_size

    def __len__(self) -> int:
        """Number of batches."""
        return math.ceil(len(self._windows) / self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for first in range(0, len(self._windows), self._batch_size):
            yield self._renderer.batch(self._windows[first : first + self._batch_size])
