"""What a training shows while it runs: a bar on a terminal, a line for each epoch anywhere else."""

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from model.detector import SpikingDetector
from model.prediction import WindowResult
from model.training.report import EpochReport, StepReport


class TrainDisplay:
    """A watcher that shows; a context manager, for the bar has to be closed."""

    def __init__(self, epochs: int, time_steps: int, on_stderr: bool) -> None:
        self._stream = sys.stderr if on_stderr else sys.stdout
        self._console = Console(file=self._stream, highlight=False, soft_wrap=True)
        self._epochs = epochs
        self._time_steps = time_steps
        self._map = 0.0
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(20),
            TextColumn("{task.fields[told]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        """Open the bar, if there is a terminal to draw it on."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the bar."""
        self._progress.stop()

    def stepped(self, step: StepReport) -> None:
        """Move the bar."""
        if self._task is None:
            self._task = self._progress.add_task("", total=self._epochs * step.steps, told="")
        terms = " ".join(f"{name} {value:.3f}" for name, value in step.loss.items())
        images = step.windows * self._time_steps / step.seconds.total
        self._progress.update(
            self._task,
            description=f"epoch {step.epoch}/{self._epochs} step {step.step}/{step.steps}",
            completed=(step.epoch - 1) * step.steps + step.step,
            told=f"{terms} · mAP {self._map:.3f} · {images:.0f} images/s",
        )

    def measured(self, report: EpochReport, detector: SpikingDetector, results: Sequence[WindowResult]) -> None:  # noqa: ARG002
        """Print the epoch's line."""
        self._map = report.map
        self._console.print(
            f"epoch {report.epoch}/{self._epochs} loss {report.as_metrics()['loss']:.4f} mAP {report.map:.4f} "
            f"mAP50 {report.map50:.4f} {report.seconds:.1f} s{' *' if report.best else ''}",
            markup=False,
        )
        if report.diagnosis is not None and report.map == 0:
            self._console.print(f"mAP is 0: {report.diagnosis}", markup=False)
