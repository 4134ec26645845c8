"""Where the time of a training goes: a profiler's trace of a few steps, and a table of the parts of all of them."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from data.storage import whole_path
from model.detector import SpikingDetector
from model.prediction import WindowResult
from model.training.report import EpochReport, StepReport
from model.watching.lenience import Lenience

TRACE = "trace.json"
FIRST, LAST = 4, 12  # steps of a training that are traced: those before compile and load


class Trace:
    """A watcher that writes the trace, in the format of Chrome's viewer and Perfetto, and adds the times up."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / TRACE
        self._lenience = Lenience(self._path)
        self._profile: profile | None = None
        self._steps = 0
        self._seconds = dict.fromkeys(("data", "forward", "backward", "optimizer", "evaluation"), 0.0)
        self._epoch_steps = 0.0

    def stepped(self, step: StepReport) -> None:
        """Add the step's times; begin or end the trace."""
        self._steps += 1
        for part in ("data", "forward", "backward", "optimizer"):
            self._seconds[part] += getattr(step.seconds, part)
        self._epoch_steps += step.seconds.total
        if self._steps == FIRST:
            activities = [ProfilerActivity.CPU]
            if torch.cuda.is_available():
                activities.append(ProfilerActivity.CUDA)
            self._profile = profile(activities=activities)
            self._profile.start()
        elif self._steps == LAST:
            self._write()

    def measured(self, report: EpochReport, detector: SpikingDetector, results: Sequence[WindowResult]) -> None:  # noqa: ARG002
        """Add the time of the measurement, which is what the epoch took besides its steps."""
        self._write()
        self._seconds["evaluation"] += max(report.seconds - self._epoch_steps, 0.0)
        self._epoch_steps = 0.0

    def table(self) -> list[tuple[str, float, float]]:
        """Each part with its seconds and its share of all."""
        total = sum(self._seconds.values()) or 1.0
        return [(part, seconds, seconds / total) for part, seconds in self._seconds.items()]

    def _write(self) -> None:
        if self._profile is None:
            return
        traced, self._profile = self._profile, None
        traced.stop()
        with self._lenience.writing(), whole_path(self._path, ".json") as partial:
            traced.export_chrome_trace(str(partial))
