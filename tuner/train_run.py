"""One training by `spiketune train`, with all that is written beside its checkpoints."""

import json
import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from data.dataset import Dataset
from data.storage import whole_path
from model.device import resolve_device
from model.prediction import Validation
from model.training.report import EpochReport, Watcher
from model.training.run import train
from model.training.run_folder import BEST
from model.trial_config import TrialConfig
from model.watching.checklist import Check, checklist
from model.watching.history import HISTORY, History, read_history
from model.watching.tensorboard import TensorBoard
from model.watching.trace import Trace
from tuner.logs import TrainingLog
from tuner.train_display import TrainDisplay

CONFIG, RESULTS = "config.json", "results.json"


class TrainRun:
    """A training and its folder: checkpoints, history.csv, config.json, results.json, train.log, tensorboard."""

    def __init__(
        self, config: TrialConfig, dataset: Dataset, folder: Path, device: str, profile: bool, *, on_stderr: bool
    ) -> None:
        self._config = config
        self._dataset = dataset
        self._folder = folder
        self._device = resolve_device(device)
        self._trace = Trace(folder) if profile else None
        self._display = TrainDisplay(config.training.epochs, config.data.time_steps, on_stderr)
        self._checks: list[Check] = []

    def train(self, init_from: Path | None, resume: bool) -> dict[str, Any]:
        """Train what is left of it; what `--json` prints."""
        validation, start = Validation(), time.monotonic()
        board = TensorBoard(self._folder, self._dataset, validation.split, self._config.data)
        watchers: list[Watcher] = [self._display, History(self._folder), TrainingLog(), board]
        if self._trace is not None:
            watchers.append(self._trace)
        reports: list[EpochReport] = []
        with self._display:
            for report in train(
                self._config,
                self._dataset,
                self._folder,
                validation,
                str(self._device),
                watchers=watchers,
                init_from=init_from,
                resume=resume,
            ):
                if not reports:
                    self._write(CONFIG, self._told())
                reports.append(report)
        board.close()
        return self._results(validation, reports, time.monotonic() - start)

    def tell(self, say: Callable[[str], None]) -> None:
        """Say where the time went, if it was watched, and what the checks came to."""
        if self._trace is not None:
            for part, seconds, share in self._trace.table():
                say(f"  {part:12} {seconds:8.1f} s  {share:6.1%}")
        for check in self._checks:
            say(check.line())

    def _results(self, validation: Validation, reports: list[EpochReport], seconds: float) -> dict[str, Any]:
        rows = read_history(self._folder / HISTORY)
        best = next(row for row in reversed(rows) if float(row["best"]))
        steps = round(sum(float(row["steps"]) for row in rows))
        self._checks = checklist(rows, steps, self._folder / BEST, self._dataset, validation.split)
        result: dict[str, Any] = {name: float(value) for name, value in best.items() if value}
        result["checkpoint"] = str(self._folder / BEST)
        extra = {
            "epochs": len(rows),
            "epochs_now": len(reports),
            "seconds_now": seconds,
            "skipped_steps": sum(float(row["skipped_steps"]) for row in rows),
            "batch_sizes": sorted({float(row["batch_size"]) for row in rows}),
            "checks": {check.name: {"passed": check.passed, "seen": check.seen} for check in self._checks},
        }
        self._write(RESULTS, {**result, **extra})
        return result

    def _told(self) -> dict[str, Any]:
        """What the run was made of."""
        return {
            "config": self._config.model_dump(mode="json"),
            "dataset": {"location": self._dataset.location, "digest": self._dataset.digest},
            "versions": {name: version(name) for name in ("spiketune", "torch", "spikingjelly", "numpy")},
            "python": platform.python_version(),
            "device": str(self._device),
            "threads": torch.get_num_threads(),
            "command": sys.argv,
        }

    def _write(self, name: str, tree: dict[str, Any]) -> None:
        with whole_path(self._folder / name) as partial:
            partial.write_text(json.dumps(tree, indent=2) + "\n", encoding="utf-8")
