"""What a detector finds when recordings run past it step by step, as a live camera's would."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from data.data_config import DataConfig
from data.loading import open_cache
from data.rendering import WindowRenderer
from data.shards import Shard
from data.step_labels import step_times
from data.windows import Window
from model.decoding import Detections, decode
from model.detector import SpikingDetector
from model.head import Predictions
from model.streaming import DetectorStream

ROWS = 8  # recordings side by side; results do not depend on it


@dataclass(frozen=True, slots=True)
class _Answer:
    """The step of a recording's run that has the answer for a label."""

    window: Window  # whose label is answered
    step: int  # counted from the recording's first


class RecordingRuns:
    """Runs of whole recordings, cut into steps as long as those of a window, the membranes carried all along.

    A label is answered by the last step that has ended when it is given, at most one step before.
    """

    def __init__(self, shards: Sequence[Shard], config: DataConfig, windows: Sequence[Window]) -> None:
        """Args:
        shards: the split's recordings.
        config: how they are rendered; a step is a T-th of a window.
        windows: those whose labels are to be answered, grouped by recording and in time order.
        """
        self._shards = shards
        self._config = config
        self._renderer = WindowRenderer(shards, config, open_cache(shards, config, len(windows)))
        self._windows = windows

    def predict(self, detector: SpikingDetector, device: torch.device) -> list[Detections]:
        """What is found for each window, in their order, in output pixels."""
        found: dict[Window, Detections] = {}
        recordings = sorted({window.recording for window in self._windows})
        for first in range(0, len(recordings), ROWS):
            found |= self._run(recordings[first : first + ROWS], detector, device)
        return [found[window] for window in self._windows]

    def _run(
        self, recordings: Sequence[int], detector: SpikingDetector, device: torch.device
    ) -> dict[Window, Detections]:
        T = self._config.time_steps
        waiting = [self._answers(recording) for recording in recordings]
        last_step = max(answer.step for answers in waiting for answer in answers)
        found: dict[Window, Detections] = {}
        stream = DetectorStream(detector)
        for block in range(last_step // T + 1):
            said = stream.predict(self._frames(recordings, block).to(device))
            for row, answers in enumerate(waiting):
                for answer in answers:
                    if answer.step // T == block:
                        found[answer.window] = _at(said, answer.step % T, row)
        return found

    def _answers(self, recording: int) -> list[_Answer]:
        """Which step answers for each of a recording's windows."""
        windows = [window for window in self._windows if window.recording == recording]
        ends_us = self._step_ends(recording, windows[-1].label_us)
        steps = np.searchsorted(ends_us, [window.label_us for window in windows], side="right") - 1
        return [_Answer(window, max(int(step), 0)) for window, step in zip(windows, steps, strict=True)]

    def _step_ends(self, recording: int, until_us: int) -> npt.NDArray[np.int64]:
        """The last microsecond of each step from the recording's first on."""
        blocks = math.ceil((until_us + 1 - self._shards[recording].first_us) / self._config.window_us)
        ends = [step_times(self._block(recording, block), self._config.time_steps) for block in range(max(blocks, 1))]
        return np.concatenate(ends)

    def _block(self, recording: int, block: int) -> Window:
        start_us = self._shards[recording].first_us + block * self._config.window_us
        end_us = start_us + self._config.window_us
        return Window(recording, start_us, end_us, end_us - 1)

    def _frames(self, recordings: Sequence[int], block: int) -> torch.Tensor:
        frames_BTCHW = self._renderer.empty(len(recordings))
        for recording, frames_TCHW in zip(recordings, frames_BTCHW, strict=True):
            self._renderer.frames(self._block(recording, block), frames_TCHW)
        return self._renderer.as_tensor(frames_BTCHW)


def _at(said: Predictions, step: int, row: int) -> Detections:
    """The boxes of one step of one row."""
    (found,) = decode(said.part(slice(step, step + 1), slice(row, row + 1)))
    return found
