"""The peer of a whole training: our net in plain SpikingJelly, eager and in fp32, fed from gzip-compressed HDF5.

Everything else is ours: which windows a batch holds, how they are mirrored, their labels, the loss and the optimizer.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.eager_ilif import at_rest, eager_ilif
from benchmarks.reading import from_hdf5, hdf5_index
from data.batches import Batch, BatchMaker
from data.data_config import DataConfig
from data.dataset import Dataset
from data.manifest import Split
from data.rendering import WindowRenderer
from data.representation import POLARITIES, Frames
from data.sampling import TrainingPlan, training_windows
from data.shards import Shard
from data.windows import Window
from model.detector import SpikingDetector
from model.initial import initial_detector
from model.loss import DetectionLoss
from model.optimizer import make_optimizer
from model.trial_config import TrialConfig


class GzipRenderer(WindowRenderer):
    """Frames the plain way: a window's events read by h5py and counted by np.bincount, and nothing kept."""

    def __init__(self, recordings: Path, shards: Sequence[Shard], config: DataConfig) -> None:
        """Args:
        recordings: in eTraM's layout, those the shards of the training split were made of.
        shards: tell the frames' size, and which recording a window is of.
        config: of histo3d frames.
        """
        super().__init__(shards, config, None)
        folder = recordings / "HDF5" / "train_h5_1"
        self._files = [folder / f"{shard.name}_td.h5" for shard in shards]
        self._rows = [hdf5_index(file) for file in self._files]

    def frames(self, window: Window, out_TCHW: Frames) -> None:
        T, C, H, W = out_TCHW.shape
        file, rows = self._files[window.recording], self._rows[window.recording]
        events = from_hdf5(file, rows, max(window.start_us, 0), min(window.end_us, 1000 * (len(rows) - 1)))
        step = (events.t - window.start_us) * T // (window.end_us - window.start_us)
        y, x = ((side * self.config.scale).astype(np.int64) for side in (events.y, events.x))
        cells = ((step * POLARITIES + events.p) * H + y) * W + x
        counts = np.bincount(cells, minlength=T * C * H * W)
        out_TCHW[...] = np.minimum(counts, 255).reshape(out_TCHW.shape)


class GzipLoader:
    """The batches of our loader, made the plain way."""

    def __init__(self, recordings: Path, dataset: Dataset, config: TrialConfig) -> None:
        shards, data, training = dataset.shards(Split.TRAIN), config.data, config.training
        assert isinstance(training.batch_size, int), "the benchmark sets it"
        windows = training_windows(shards, data, False, training.seed)
        self._plan = TrainingPlan(
            windows, data, data.order, training.batch_size, training.windows_per_epoch, training.seed
        )
        self._maker = BatchMaker(shards, data, None)
        self._maker._renderer = GzipRenderer(recordings, shards, data)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of one epoch."""
        return map(self._maker, self._plan.epoch(number))


class PlainTrainer:
    """A loop as one would write it first."""

    def __init__(self, recordings: Path, dataset: Dataset, config: TrialConfig, channels_innermost: bool) -> None:
        """Args:
        recordings: in eTraM's layout, those the dataset was made of.
        dataset: tells windows and labels.
        config: of the training.
        channels_innermost: whether pictures lie in memory as ours do, which is faster, and not as PyTorch lays them.
        """
        self.loader = GzipLoader(recordings, dataset, config)
        self._detector: SpikingDetector = eager_ilif(initial_detector(config, dataset.label_set)).train()
        self._detector.channels_innermost = channels_innermost
        self._loss = DetectionLoss(config.loss)
        assert isinstance(config.training.batch_size, int), "the benchmark sets it"
        self._optimizer = make_optimizer(self._detector, config.optimizer, config.training.batch_size)
        self._clip_norm = config.optimizer.clip_norm

    def epoch(self, number: int) -> tuple[int, float]:
        """Train on one epoch; the windows it had, and the seconds it waited for them."""
        windows, waited, asked = 0, 0.0, time.perf_counter()
        for batch in self.loader.epoch(number):
            waited += time.perf_counter() - asked
            self._step(batch)
            windows += len(batch.windows)
            asked = time.perf_counter()
        return windows, waited

    def _step(self, batch: Batch) -> None:
        at_rest(self._detector)
        loss = self._loss(self._detector(batch.frames_TBCHW), batch).total()
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._detector.parameters(), self._clip_norm or torch.inf)
        self._optimizer.step()


def check_same_frames(recordings: Path, dataset: Dataset, config: TrialConfig) -> None:
    """Compare the peer's frames with ours.

    Raises:
        RuntimeError: they differ.
    """
    shards = dataset.shards(Split.TRAIN)
    plain, ours = GzipRenderer(recordings, shards, config.data), WindowRenderer(shards, config.data, None)
    windows = training_windows(shards, config.data, False, 0)
    for window in [windows[0], windows[len(windows) // 2], windows[-1]]:
        one, other = plain.empty(1)[0], ours.empty(1)[0]
        plain.frames(window, one)
        ours.frames(window, other)
        if not np.array_equal(one, other):
            raise RuntimeError(f"ours and np.bincount count {window} differently: the comparison means nothing")
