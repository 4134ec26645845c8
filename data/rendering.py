"""Rendering: the frames of a window, from its recording's shard, from the cache, or from events that pass by."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from data.cache.window_cache import WindowCache, window_key
from data.data_config import DataConfig
from data.events import SensorSize
from data.frame_size import Content, content_size, padded
from data.packing import PackedSlice
from data.passing import PassingEvents
from data.representation import Frames, render
from data.shards import Shard
from data.windows import Window


class FrameRenderer(ABC):
    """Renders windows of a sensor's events as one configuration says, wherever the events come from."""

    def __init__(self, size: SensorSize, config: DataConfig) -> None:
        self.config = config
        self.content = content_size(size, config.scale)

    @abstractmethod
    def frames(self, window: Window, out_TCHW: Frames) -> None:
        """Write the frames of one window."""

    def empty(self, windows: int, content: Content | None = None) -> npt.NDArray[np.uint8]:
        """Room for the frames of so many windows, `[B, T, C, H, W]`, not yet written."""
        frame = padded(content or self.content, self.config.square)
        return np.empty((windows, self.config.time_steps, self.config.representation.channels, *frame), np.uint8)

    def as_tensor(self, frames_BTCHW: npt.NDArray[np.uint8]) -> torch.Tensor:
        """Frames as the detector takes them, `[T, B, C, H, W]`."""
        signed = self.config.representation.signed
        return torch.from_numpy(frames_BTCHW.view(np.int8) if signed else frames_BTCHW).transpose(0, 1)

    def drawn(self, packed: PackedSlice, window: Window, out_TCHW: Frames) -> None:
        """Write the frames of packed events that cover a window."""
        config = self.config
        span = (window.start_us, window.end_us)
        render(config.representation, packed, *span, config.scale, out_TCHW, config.max_events_per_window)


class WindowRenderer(FrameRenderer):
    """Renders windows of a split's recordings, or finds them in the cache."""

    def __init__(self, shards: Sequence[Shard], config: DataConfig, cache: WindowCache | None) -> None:
        super().__init__(shards[0].size, config)
        self._shards = shards
        self._cache = cache
        self._settings = config.rendering()

    def frames(self, window: Window, out_TCHW: Frames) -> None:
        """Write the frames of one window."""
        shard = self._shards[window.recording]

        def rendered(out: Frames) -> None:
            self.drawn(shard.packed(window.start_us, window.end_us), window, out)

        if self._cache is None:
            rendered(out_TCHW)
        else:
            key = window_key(self._settings, shard.sha256, window.start_us, window.end_us)
            self._cache.fill(key, out_TCHW, rendered)


class PassingRenderer(FrameRenderer):
    """Renders windows of passing events, whose starts never fall."""

    def __init__(self, events: PassingEvents, config: DataConfig) -> None:
        super().__init__(events.size, config)
        self._events = events

    def frames(self, window: Window, out_TCHW: Frames) -> None:
        """Write the frames of one window."""
        self.drawn(self._events.packed(window.start_us, window.end_us), window, out_TCHW)
