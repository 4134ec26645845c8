"""history.csv: a row of numbers for each epoch."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from data.errors import DatasetError
from data.storage import whole_path
from model.checkpoint import load_checkpoint
from model.detector import SpikingDetector
from model.prediction import WindowResult
from model.training.report import EpochReport, StepReport
from model.training.run_folder import BEST, LAST
from model.watching.lenience import Lenience

HISTORY = "history.csv"
Row = dict[str, str]


class History:
    """A watcher that keeps the file up to date; the epochs that a resumed run does again replace their rows.

    A run that was killed between an epoch's state and its row gets the row from the checkpoint, which has its numbers.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / HISTORY
        self._rows = read_history(self._path)
        self._lenience = Lenience(self._path)
        known = {float(row["epoch"]) for row in self._rows}
        missing = [row for row in _of_checkpoints(folder) if float(row["epoch"]) not in known]
        for row in missing:
            self._add(row)
        if missing:
            self._write()

    def stepped(self, step: StepReport) -> None:
        """Nothing."""

    def measured(self, report: EpochReport, detector: SpikingDetector, results: Sequence[WindowResult]) -> None:  # noqa: ARG002
        """Write the epoch's row after those before it."""
        self._rows = [row for row in self._rows if float(row["epoch"]) < report.epoch]
        self._add(_row(report.as_metrics()))
        self._write()

    def _add(self, row: Row) -> None:
        self._rows = sorted([*self._rows, row], key=lambda each: float(each["epoch"]))

    def _write(self) -> None:
        columns = list(dict.fromkeys(name for row in self._rows for name in row))
        with (
            self._lenience.writing(),
            whole_path(self._path) as partial,
            partial.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self._rows)


def read_history(path: Path) -> list[Row]:
    """The rows of the file, in order; none where there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _row(metrics: Mapping[str, float]) -> Row:
    return {name: repr(value) for name, value in metrics.items()}


def _of_checkpoints(folder: Path) -> list[Row]:
    """The rows that the best and the last checkpoint remember, as far as they can be read."""
    rows: dict[int, Row] = {}
    for path in (folder / BEST, folder / LAST):
        if path.is_file():
            try:
                checkpoint = load_checkpoint(path)
            except DatasetError:
                continue  # the training itself says so, where it reads it
            rows[checkpoint.epoch] = _row(checkpoint.metrics)
    return list(rows.values())
