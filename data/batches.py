"""Batches: windows of many recordings, rendered, augmented and put beside the boxes of each of their time steps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from data.boxes import Boxes
from data.cache.window_cache import WindowCache
from data.data_config import DataConfig, OnBadShard
from data.errors import DatasetError
from data.frame_size import Content
from data.mosaic import mosaic
from data.rendering import WindowRenderer
from data.representation import Frames
from data.sampling import BatchPlan, Sample, tolerance_us
from data.shards import Shard
from data.step_labels import StepBoxes, TrackIndex, step_times
from data.transform import Transform, draw_transform, scaled_size, transform_corners, transform_frames
from data.windows import Window


@dataclass(frozen=True, slots=True)
class Batch:
    """B training windows of T steps; image `step * B + row` is what window `row` shows at `step`."""

    frames_TBCHW: torch.Tensor  # uint8 [T, B, C, H, W]; int8 for signed representations
    targets: torch.Tensor  # float32 [M, 6]: image, class, x1, y1, x2, y2 in output pixels, in order of the images
    tracks: torch.Tensor  # int64 [M]: the same number means the same object of the same recording
    labelled: torch.Tensor  # bool [T, B]: False where nothing is known of that time, which then teaches nothing
    continues: torch.Tensor  # bool [B]: the row goes on from the same row of the batch before
    windows: tuple[Window, ...]
    bad: tuple[tuple[int, str], ...] = ()  # recordings that were left out of it, and what is wrong with them

    def rows(self, first: int, end: int) -> "Batch":
        """The batch of these windows alone."""
        B = len(self.windows)
        step, row = (image.long() for image in (self.targets[:, 0] // B, self.targets[:, 0] % B))
        kept = (row >= first) & (row < end)
        targets = self.targets[kept]
        targets[:, 0] = (step * (end - first) + row - first)[kept].to(targets.dtype)
        return Batch(
            self.frames_TBCHW[:, first:end],
            targets,
            self.tracks[kept],
            self.labelled[:, first:end],
            self.continues[first:end],
            self.windows[first:end],
        )

    def last_step(self) -> "Batch":
        """The same windows with the frames and the boxes of their last step alone, which is then the only one."""
        first = self.labelled[:-1].numel()  # images before it
        kept = self.targets[:, 0] >= first
        targets = self.targets[kept]
        targets[:, 0] -= first
        return replace(
            self,
            frames_TBCHW=self.frames_TBCHW[-1:],
            targets=targets,
            tracks=self.tracks[kept],
            labelled=self.labelled[-1:],
        )

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device; frames keep their type and are cast there."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """The same batch in page-locked memory, from which a GPU copies beside its work."""
        return self._each(torch.Tensor.pin_memory)

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Batch":
        frames_TBCHW, targets, tracks = change(self.frames_TBCHW), change(self.targets), change(self.tracks)
        labelled, continues = change(self.labelled), change(self.continues)
        return replace(
            self, frames_TBCHW=frames_TBCHW, targets=targets, tracks=tracks, labelled=labelled, continues=continues
        )


def scaled_corners(boxes: Boxes, scale: float) -> npt.NDArray[np.float32]:
    """Boxes as x1, y1, x2, y2 [N, 4] in output pixels."""
    corners = boxes.xywh.copy()
    corners[:, 2:] += corners[:, :2]
    return corners * np.float32(scale)


@dataclass(frozen=True, slots=True)
class _Boxes:
    """The boxes of one window's steps, in output pixels."""

    corners: npt.NDArray[np.float32]  # [N, 4]
    step: npt.NDArray[np.int64]
    class_id: npt.NDArray[np.int64]
    track: npt.NDArray[np.int64]
    labelled: npt.NDArray[np.bool_]  # [T]

    def take(self, rows: Any, corners: npt.NDArray[np.float32]) -> "_Boxes":
        return _Boxes(corners, self.step[rows], self.class_id[rows], self.track[rows], self.labelled)


class BatchMaker:
    """Makes the batch of a plan: the same plan gives the same batch, in whatever process."""

    def __init__(self, shards: Sequence[Shard], config: DataConfig, cache: WindowCache | None) -> None:
        self._renderer = WindowRenderer(shards, config, cache)
        self._config = config
        self._shards = shards
        self._tracks: dict[int, TrackIndex] = {}

    def __call__(self, plan: BatchPlan) -> Batch:
        """Render, augment and label every sample of the plan."""
        random = np.random.default_rng(plan.look)
        content = scaled_size(random, self._config.augment.multi_scale, self._renderer.content)
        frames_BTCHW = self._renderer.empty(len(plan.samples), content)
        bad: dict[int, str] = {}
        rows = [
            self._whole_row(sample, plan.mosaic, frames_BTCHW[row], content, bad)
            for row, sample in enumerate(plan.samples)
        ]
        B = len(rows)
        images = np.concatenate([boxes.step * B + row for row, boxes in enumerate(rows)])
        order = np.argsort(images, kind="stable")
        classes, corners, tracks = (
            np.concatenate([getattr(boxes, name) for boxes in rows]) for name in ("class_id", "corners", "track")
        )
        targets = np.column_stack([images, classes, corners]).astype(np.float32)
        return Batch(
            self._renderer.as_tensor(frames_BTCHW),
            torch.from_numpy(targets[order]),
            torch.from_numpy(tracks[order]),
            torch.from_numpy(np.stack([boxes.labelled for boxes in rows], axis=1)),
            torch.tensor([sample.continues for sample in plan.samples]),
            tuple(sample.window for sample in plan.samples),
            tuple(bad.items()),
        )

    def _whole_row(
        self, sample: Sample, mosaic_epoch: bool, out_TCHW: Frames, content: Content, bad: dict[int, str]
    ) -> _Boxes:
        """A row; where its recording is damaged, and may be left out, that of another window, or one without labels."""
        if self._config.on_bad_shard is OnBadShard.FAIL:
            return self._row(sample, mosaic_epoch, out_TCHW, content)
        # The plan says which other windows, and so every process makes the same row of it.
        for window in (sample.window, *sample.others):
            try:
                return self._row(replace(sample, window=window), mosaic_epoch, out_TCHW, content)
            except DatasetError as error:
                bad[window.recording] = str(error)
        out_TCHW[:] = 0
        nothing = np.empty(0, np.int64)
        T = self._config.time_steps
        return _Boxes(np.empty((0, 4), np.float32), nothing, nothing, nothing, np.zeros(T, bool))

    def _row(self, sample: Sample, mosaic_epoch: bool, out_TCHW: Frames, content: Content) -> _Boxes:
        config, renderer = self._config, self._renderer
        random = np.random.default_rng(sample.look)
        transform = draw_transform(config.augment, random, renderer.content)
        made_of_four = random.random() < config.augment.mosaic and mosaic_epoch and bool(sample.others)
        if not made_of_four and transform.is_identity and content == renderer.content:
            renderer.frames(sample.window, out_TCHW)
            return self._boxes(sample.window, transform)
        source_TCHW = renderer.empty(1)[0]
        if made_of_four:
            boxes = self._mosaic(sample, transform, random, source_TCHW)
        else:
            renderer.frames(sample.window, source_TCHW)
            boxes = self._boxes(sample.window, transform)
        transform_frames(source_TCHW, renderer.content, transform, config.representation, out_TCHW, content)
        corners, kept = transform_corners(boxes.corners, transform, renderer.content, content)
        return boxes.take(kept, corners)

    def _mosaic(self, sample: Sample, transform: Transform, random: np.random.Generator, out_TCHW: Frames) -> _Boxes:
        windows = (sample.window, *sample.others)
        frames = [self._renderer.empty(1)[0] for _ in windows]
        for window, frame_TCHW in zip(windows, frames, strict=True):
            self._renderer.frames(window, frame_TCHW)
        parts = [self._boxes(window, transform) for window in windows]
        corners, kept = mosaic(
            [(frame, part.corners) for frame, part in zip(frames, parts, strict=True)],
            random,
            self._renderer.content,
            self._config.representation,
            out_TCHW,
        )
        step, class_id, track = (
            np.concatenate([getattr(part, name) for part in parts])[kept] for name in ("step", "class_id", "track")
        )
        labelled = np.logical_and.reduce([part.labelled for part in parts])
        return _Boxes(corners, step, class_id, track, labelled)

    def _boxes(self, window: Window, transform: Transform) -> _Boxes:
        config = self._config
        times_us = step_times(window, config.time_steps)
        if transform.time_flip:  # the step ends where it once began
            span_us = window.end_us - window.start_us
            times_us = window.start_us + np.arange(config.time_steps)[::-1] * span_us // config.time_steps
        found: StepBoxes = self._index(window.recording).at(times_us, config.label_gap_us, tolerance_us(config))
        return _Boxes(
            scaled_corners(found.boxes, config.scale),
            found.step,
            found.boxes.class_id,
            found.boxes.track_id + (window.recording << 32),  # ids count anew in every recording
            found.labelled,
        )

    def _index(self, recording: int) -> TrackIndex:
        if recording not in self._tracks:
            self._tracks[recording] = TrackIndex(self._shards[recording].boxes)
        return self._tracks[recording]
