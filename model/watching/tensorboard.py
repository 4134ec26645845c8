"""TensorBoard: curves, pictures of windows with boxes, firing rates and precision against recall."""

from collections.abc import Sequence
from pathlib import Path

import torch
from tensorboardX import SummaryWriter

from data.data_config import DataConfig
from data.dataset import Dataset
from data.manifest import Split
from data.rendering import WindowRenderer
from data.windows import evenly_spaced
from model.detector import SpikingDetector
from model.evaluation.protocol import summarize
from model.picture import window_picture
from model.prediction import WindowResult
from model.profiling.firing import neurons_watched
from model.training.report import EpochReport, StepReport

FOLDER = "tensorboard"
PICTURES = 4  # windows of each measurement that are drawn
EVERY = 10  # steps between two points of the steps' curves


class TensorBoard:
    """A watcher that writes events; a resumed run writes into a file of its own beside the earlier ones."""

    def __init__(self, folder: Path, dataset: Dataset, split: Split, config: DataConfig) -> None:
        self._writer = SummaryWriter(str(folder / FOLDER), flush_secs=10)
        self._dataset = dataset
        self._split = split
        self._config = config

    def stepped(self, step: StepReport) -> None:
        """Write the step's losses, learning rate and time."""
        place = (step.epoch - 1) * step.steps + step.step
        if place % EVERY:
            return
        for name, value in step.loss.items():
            self._writer.add_scalar(f"step/loss_{name}", value, place)
        self._writer.add_scalar("step/lr", step.lr, place)
        self._writer.add_scalar("step/waiting", step.seconds.data / step.seconds.total, place)

    def measured(self, report: EpochReport, detector: SpikingDetector, results: Sequence[WindowResult]) -> None:
        """Write the epoch's numbers, pictures, histograms and curves."""
        for name, value in report.as_metrics().items():
            self._writer.add_scalar(f"epoch/{name}", value, report.epoch)
        self._pictures(report.epoch, results)
        self._firing(report.epoch, detector, results)
        self._curves(report.epoch, results)
        self._writer.flush()

    def close(self) -> None:
        """Write what is still held back."""
        self._writer.close()

    def _pictures(self, epoch: int, results: Sequence[WindowResult]) -> None:
        shards = self._dataset.shards(self._split)
        for place, row in enumerate(evenly_spaced(len(results), PICTURES)):
            result = results[row]
            picture = window_picture(result, shards[result.window.recording], self._dataset.label_set)
            self._writer.add_image(f"windows/{place}", picture[..., ::-1], epoch, dataformats="HWC")

    def _firing(self, epoch: int, detector: SpikingDetector, results: Sequence[WindowResult]) -> None:
        """How often each channel of each layer fires, over the windows that are drawn."""
        shards = self._dataset.shards(self._split)
        renderer = WindowRenderer(shards, self._config, None)
        windows = [results[row].window for row in evenly_spaced(len(results), PICTURES)]
        frames_BTCHW = renderer.empty(len(windows))
        for window, frames_TCHW in zip(windows, frames_BTCHW, strict=True):
            renderer.frames(window, frames_TCHW)

        def note(name: str, spikes: torch.Tensor) -> None:
            rates_C = spikes.float().mean((0, 1, 3, 4))
            self._writer.add_histogram(f"firing/{name}", rates_C.cpu().numpy(), epoch)

        device = next(detector.parameters()).device
        with torch.no_grad(), neurons_watched(detector, note):
            detector(renderer.as_tensor(frames_BTCHW).to(device))

    def _curves(self, epoch: int, results: Sequence[WindowResult]) -> None:
        """Precision at 101 recalls of each class, at an IoU of .50."""
        curves = summarize(results, self._dataset.label_set, self._dataset.size).as_dict(curves=True)
        told = curves["precision_recall"]
        unknown = [0.0] * len(told["recall"])  # how many boxes each point stands for
        for name, curve in told["per_class"].items():
            if curve is not None:
                counts = (unknown, unknown, unknown, unknown)
                self._writer.add_pr_curve_raw(
                    f"precision_recall/{name}", *counts, curve["ap50"], told["recall"], epoch, len(unknown)
                )
