"""history.csv: a row of numbers for each epoch."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from model.detector import SpikingDetector
from model.prediction import WindowResult
from model.training.report import EpochReport, StepReport

HISTORY = "history.csv"


class History:
    """A watcher that keeps the file up to date; the epochs that a resumed run does again replace their rows."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / HISTORY

    def stepped(self, step: StepReport) -> None:
        """Nothing."""

    def measured(self, report: EpochReport, detector: SpikingDetector, results: Sequence[WindowResult]) -> None:  # noqa: ARG002
        """Write the epoch's row after those before it."""
        row = {name: repr(value) for name, value in report.as_metrics().items()}
        rows = [old for old in read_history(self._path) if float(old["epoch"]) < report.epoch]
        columns = list(dict.fromkeys(name for each in [*rows, row] for name in each))
        partial = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows([*rows, row])
        partial.replace(self._path)


def read_history(path: Path) -> list[dict[str, str]]:
    """The rows of the file, in order; none where there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
