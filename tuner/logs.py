"""The log of a run: what the packages say, in a file, and on stderr where it is asked for."""

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from data.errors import InputError
from model.detector import SpikingDetector
from model.prediction import WindowResult
from model.training.report import EpochReport, StepReport

LOG = "train.log"
PACKAGES = ("data", "model", "tuner", "spiketune")  # the last: what caches say, wherever they are used
LEVELS = {"info": logging.INFO, "debug": logging.DEBUG}
log = logging.getLogger(__name__)


def level_named(name: str) -> int:
    """The level of this name.

    Raises:
        InputError: there is none.
    """
    if name not in LEVELS:
        raise InputError(f"--log-level {name}: must be one of {', '.join(LEVELS)}")
    return LEVELS[name]


@contextmanager
def logged(file: Path, level: int) -> Iterator[None]:
    """While it lasts, append what our packages say to the file; on stderr warnings, or everything at level debug."""
    written = _LogFile(file, encoding="utf-8", delay=True)
    written.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    shown = _Stderr()
    shown.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    shown.setLevel(level if level == logging.DEBUG else logging.WARNING)
    loggers = [logging.getLogger(package) for package in PACKAGES]
    before = [(each.level, each.propagate) for each in loggers]
    for each in loggers:
        each.setLevel(level)
        each.addHandler(written)
        each.addHandler(shown)
        each.propagate = False
    try:
        yield
    finally:
        for each, (old, propagate) in zip(loggers, before, strict=True):
            each.removeHandler(written)
            each.removeHandler(shown)
            each.setLevel(old)
            each.propagate = propagate
        with suppress(OSError):  # the disk is full, which has been said
            written.close()


class _LogFile(logging.FileHandler):
    """A file that may fail: that is said once, and ends nothing."""

    _said = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:  # where the file cannot even be opened
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._said:
            self._said = True
            sys.stderr.write(f"WARNING {self.baseFilename}: cannot be written ({error.strerror})\n")


class _Stderr(logging.Handler):
    """stderr as it is when something is said: an open progress bar stands in its place, and prints above itself."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(self.format(record) + "\n")


class TrainingLog:
    """A watcher that logs each epoch, and at level debug each step with its loss terms and how labels met windows."""

    def stepped(self, step: StepReport) -> None:
        """Log a step."""
        terms = " ".join(f"{name}={value:.4g}" for name, value in step.loss.items())
        skipped = f", skipped: {step.skipped} not finite" if step.skipped else ""
        log.debug(
            "epoch %d step %d/%d: %s lr=%.3g; %d windows, %d boxes, %.0f %% of the time steps labelled%s",
            step.epoch, step.step, step.steps, terms, step.lr, step.windows, step.boxes, 100 * step.labelled, skipped,
        )  # fmt: skip

    def measured(self, report: EpochReport, detector: SpikingDetector, results: Sequence[WindowResult]) -> None:  # noqa: ARG002
        """Log an epoch."""
        terms = " ".join(f"{name}={value:.4g}" for name, value in report.loss.items())
        log.info(
            "epoch %d: mAP %.4f mAP50 %.4f on %d windows; %s; %.1f s",
            report.epoch, report.map, report.map50, len(results), terms, report.seconds,
        )  # fmt: skip
