"""What a training shows while it runs: a bar on a terminal, plain lines anywhere else."""

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column

from model.detector import SpikingDetector
from model.prediction import WindowResult
from model.training.report import EpochReport, StepReport

LEAST_BAR = 18  # columns of the bar, of the time that is left, and of the gaps
QUIET_S = 30.0  # without a terminal: a line at least this often


class TrainDisplay:
    """A watcher that shows; a context manager, for the bar has to be closed. An image is a time step of a window."""

    def __init__(self, epochs: int, time_steps: int, on_stderr: bool) -> None:
        self._stream = sys.stderr if on_stderr else sys.stdout
        self._console = Console(file=self._stream, highlight=False, soft_wrap=True)
        self._epochs = epochs
        self._time_steps = time_steps
        self._map: float | None = None
        self._images, self._seconds = 0, 0.0  # of this epoch
        self._spoke = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(table_column=Column(min_width=10, max_width=20)),
            TimeRemainingColumn(compact=True, table_column=Column(min_width=5, no_wrap=True)),
            TextColumn("{task.fields[told]}", markup=False),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
            redirect_stderr=sys.stderr.isatty(),  # what is said above the bar; a file's stays in the file
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
        """Move the bar; without one, say something from time to time."""
        if self._task is None:
            self._task = self._progress.add_task("", told="")
        if step.step == 1:
            self._images, self._seconds = 0, 0.0
        self._images += step.windows * self._time_steps
        self._seconds += step.seconds.total
        place = f"epoch {step.epoch}/{self._epochs} step {step.step}/{step.steps}"
        told = self._told(step)
        self._progress.update(
            self._task,
            description=place,
            total=self._epochs * step.steps,  # phases differ in it
            completed=(step.epoch - 1) * step.steps + step.step,
            # Cut to the terminal's width here: rich would leave out the columns before it.
            told=f"left · {told}"[: max(self._console.width - len(place) - LEAST_BAR, 0)],
        )
        if not self._console.is_terminal and time.monotonic() - self._spoke >= QUIET_S:
            self._say(f"{place} {told}")

    def measured(self, report: EpochReport, detector: SpikingDetector, results: Sequence[WindowResult]) -> None:  # noqa: ARG002
        """Print the epoch's line."""
        self._map = report.map
        self._say(
            f"epoch {report.epoch}/{self._epochs} loss {report.as_metrics()['loss']:.4f} mAP {report.map:.4f} "
            f"mAP50 {report.map50:.4f} {report.seconds:.1f} s{' *' if report.best else ''}"
        )
        if report.diagnosis is not None and report.map == 0:
            self._say(f"mAP is 0: {report.diagnosis}")

    def _told(self, step: StepReport) -> str:
        terms = " ".join(f"{name} {value:.3f}" for name, value in step.loss.items())
        so_far = "" if self._map is None else f" · mAP {self._map:.3f}"
        return f"{self._images / self._seconds:.0f} images/s{so_far} · {terms}"

    def _say(self, text: str) -> None:
        self._spoke = time.monotonic()
        self._console.print(text, markup=False)
