"""Rendering: the frames of a window, from its recording's shard or from the cache."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from data.cache.window_cache import WindowCache, window_key
from data.data_config import DataConfig
from data.frame_size import Content, content_size, padded
from data.representation import Frames, render
from data.shards import Shard
from data.windows import Window


class WindowRenderer:
    """Renders windows of a split's recordings, or finds them in the cache."""

    def __init__(self, shards: Sequence[Shard], config: DataConfig, cache: WindowCache | None) -> None:
        self.config = config
        self.content = content_size(shards[0].size, config.scale)
        self._shards = shards
        self._cache = cache
        self._settings = config.rendering()

    def empty(self, windows: int, content: Content | None = None) -> npt.NDArray[np.uint8]:
        """Room for the frames of so many windows, `[B, T, C, H, W]`, not yet written."""
        frame = padded(content or self.content, self.config.square)
        return np.empty((windows, self.config.time_steps, self.config.representation.channels, *frame), np.uint8)

    def frames(self, window: Window, out_TCHW: Frames) -> None:
        """Write the frames of one window."""
        shard = self._shards[window.recording]

        def rendered(out: Frames) -> None:
            config = self.config
            packed = shard.packed(window.start_us, window.end_us)
            span = (window.start_us, window.end_us)
            render(config.representation, packed, *span, config.scale, out, config.max_events_per_window)

        if self._cache is None:
            rendered(out_TCHW)
        else:
            key = window_key(self._settings, shard.sha256, window.start_us, window.end_us)
            self._cache.fill(key, out_TCHW, rendered)

    def as_tensor(self, frames_BTCHW: npt.NDArray[np.uint8]) -> torch.Tensor:
        """Frames as the detector takes them, `[T, B, C, H, W]`."""
        signed = self.config.representation.signed
        return torch.from_numpy(frames_BTCHW.view(np.int8) if signed else frames_BTCHW).transpose(0, 1)
