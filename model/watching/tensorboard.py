"""TensorBoard: curves, pictures of windows with boxes, firing rates and precision against recall."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from tensorboardX import summary

from data.data_config import DataConfig
from data.dataset import Dataset
from data.manifest import Split
from data.rendering import WindowRenderer
from data.windows import evenly_spaced
from model.detector import SpikingDetector
from model.evaluation.coco import RECALL_POINTS
from model.evaluation.protocol import validate
from model.picture import window_picture
from model.prediction import WindowResult
from model.profiling.firing import neurons_watched
from model.training.report import EpochReport, StepReport
from model.watching.event_file import EventFile
from model.watching.lenience import Lenience

FOLDER = "tensorboard"
PICTURES = 4  # windows of each measurement that are drawn
EVERY = 10  # steps between two points of the steps' curves
BARS = 30  # of a histogram


class TensorBoard:
    """A watcher that writes events; a resumed run writes into a file of its own beside the earlier ones."""

    def __init__(self, folder: Path, dataset: Dataset, split: Split, config: DataConfig) -> None:
        self._file = EventFile(folder / FOLDER)
        self._lenience = Lenience(folder / FOLDER)
        self._dataset = dataset
        self._split = split
        self._config = config

    def stepped(self, step: StepReport) -> None:
        """Write the step's losses, learning rate and time."""
        place = (step.epoch - 1) * step.steps + step.step
        if place % EVERY or self._lenience.failing:  # it is tried again after the epoch
            return
        with self._writing():
            for name, value in step.loss.items():
                self._file.add(summary.scalar(f"step/loss_{name}", value), place)
            self._file.add(summary.scalar("step/lr", step.lr), place)
            self._file.add(summary.scalar("step/waiting", step.seconds.data / step.seconds.total), place)

    def measured(self, report: EpochReport, detector: SpikingDetector, results: Sequence[WindowResult]) -> None:
        """Write the epoch's numbers, pictures, histograms and curves."""
        with self._writing():
            for name, value in report.as_metrics().items():
                self._file.add(summary.scalar(f"epoch/{name}", value), report.epoch)
            self._pictures(report.epoch, results)
            self._firing(report.epoch, detector, results)
            self._curves(report.epoch, results)
            self._file.flush()

    def close(self) -> None:
        """Write what is still held back."""
        self._file.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._lenience.writing():
            yield
        if self._lenience.failing:
            self._file.close()

    def _pictures(self, epoch: int, results: Sequence[WindowResult]) -> None:
        shards = self._dataset.shards(self._split)
        for place, row in enumerate(evenly_spaced(len(results), PICTURES)):
            result = results[row]
            picture = window_picture(result, shards[result.window.recording], self._dataset.label_set)
            self._file.add(summary.image(f"windows/{place}", picture[..., ::-1], dataformats="HWC"), epoch)

    def _firing(self, epoch: int, detector: SpikingDetector, results: Sequence[WindowResult]) -> None:
        """How often each channel of each layer fires, over the windows that are drawn."""
        shards = self._dataset.shards(self._split)
        renderer = WindowRenderer(shards, self._config, None)
        windows = [results[row].window for row in evenly_spaced(len(results), PICTURES)]
        frames_BTCHW = renderer.empty(len(windows))
        for window, frames_TCHW in zip(windows, frames_BTCHW, strict=True):
            renderer.frames(window, frames_TCHW)

        def note(name: str, spikes: torch.Tensor) -> None:
            rates_C = spikes.float().mean((0, 1, 3, 4)).cpu().numpy()
            if np.isfinite(rates_C).all():  # of others there is no histogram
                self._file.add(summary.histogram(f"firing/{name}", rates_C, BARS), epoch)

        device = next(detector.parameters()).device
        with torch.no_grad(), neurons_watched(detector, note):
            detector(renderer.as_tensor(frames_BTCHW).to(device))

    def _curves(self, epoch: int, results: Sequence[WindowResult]) -> None:
        """Precision at COCO's recalls of each class, at an IoU of .50."""
        precision = validate(results, self._dataset.label_set, self._dataset.size)
        unknown = [0.0] * len(RECALL_POINTS)  # how many boxes each point stands for
        for name, curve in zip(self._dataset.label_set.classes, precision.curves[:, 0], strict=True):
            if not np.isnan(curve[0]):
                counts = (unknown, unknown, unknown, unknown)
                told = summary.pr_curve_raw(
                    f"precision_recall/{name}", *counts, curve, RECALL_POINTS, len(RECALL_POINTS)
                )
                self._file.add(told, epoch)
