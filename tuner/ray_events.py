"""Between Ray's driver and the study: who is asked, and who hears of a trial's start, reports and end."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ray import tune
from ray.tune.search import Searcher

from model.training.run_folder import BEST
from tuner.halt import Halt
from tuner.study import Study, TrialRecord, TrialState
from tuner.trial import Assignment


class Listener(Protocol):
    """Hears what happens to trials, in order, on the driver."""

    def started(self, trial: TrialRecord) -> None:
        """A worker has begun with the trial."""

    def reported(self, trial: TrialRecord, metrics: Mapping[str, float]) -> None:
        """The trial has ended an epoch; `epoch` is one of its metrics."""

    def ended(self, trial: TrialRecord) -> None:
        """The trial is over; its state tells how."""


class _LeftOutOfSnapshots:
    """Ray pickles its driver's parts for a restore of its own; the study is the state here, and open files stay out."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class StudySearcher(_LeftOutOfSnapshots, Searcher):
    """Gives Ray the study's trials. It only asks: on a stop Ray hides the last report from a searcher."""

    def __init__(self, study: Study, metric: str, mode: str) -> None:
        super().__init__(metric=metric, mode=mode)
        self._study = study

    def suggest(self, trial_id: str) -> Assignment:  # noqa: ARG002 - Ray's own id; ours is the number
        """The next trial's number and sampled leaves."""
        number, leaves = self._study.ask()
        return Assignment(number=number, leaves=leaves)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: TrialEvents tells the study, with the last report and the error's text."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is on disk."""


class TrialEvents(_LeftOutOfSnapshots, tune.Callback):
    """Tells the study first, then the listeners. (Ray passes everything by keyword.)"""

    def __init__(self, study: Study, halt: Halt, listeners: Sequence[Listener]) -> None:
        self._study = study
        self._halt = halt
        self._listeners = listeners

    def on_trial_start(self, trial: Any, **_: Any) -> None:
        """A worker has taken the trial."""
        record = self._study.trial(trial.config["number"])
        for listener in self._listeners:
            listener.started(record)

    def on_trial_result(self, trial: Any, result: dict[str, Any], **_: Any) -> None:
        """An epoch has ended; also called for the report on which the scheduler stops the trial."""
        if "diverged" in result:
            return  # the trial ends at once, and on_trial_complete finds this as its last result
        number = trial.config["number"]
        # Ray adds its own entries (pid, node, times); a trial's metrics are what run_trial put beside its number.
        metrics = {name: float(result[name]) for name in result["reported"]}
        self._study.report(number, metrics)
        # The worker has put the files there before it reported. Ray's on_checkpoint comes later, or never on a halt.
        self._study.keep(number, _files(trial, result) / BEST)
        if result["diagnosis"] is not None:
            self._study.tag(number, "diagnosis", result["diagnosis"])
        record = self._study.trial(number)
        for listener in self._listeners:
            listener.reported(record, metrics)

    def on_trial_complete(self, trial: Any, **_: Any) -> None:
        """The trial has trained its last epoch or diverged, or the scheduler or the search has stopped it."""
        if "diverged" in trial.last_result:
            self._end(trial, TrialState.DIVERGED, trial.last_result["diverged"])
        elif trial.last_result.get("last"):
            self._end(trial, TrialState.COMPLETE)
        elif self._halt.reason is not None:
            self._end(trial, TrialState.FAILED, self._halt.reason)
        else:
            self._end(trial, TrialState.STOPPED)

    def on_trial_error(self, trial: Any, **_: Any) -> None:
        """The trial has raised, or its worker died."""
        # Not get_error(): it looks where the file will be copied to later.
        text = Path(trial.error_file).read_text(encoding="utf-8") if trial.error_file else ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        self._end(trial, TrialState.FAILED, lines[-1] if lines else "the worker died without a word")

    def close(self, reason: str) -> None:
        """Tell the end of every trial that Ray dropped without a word."""
        for record in self._study.close(reason):
            for listener in self._listeners:
                listener.ended(record)

    def _end(self, trial: Any, state: TrialState, error: str | None = None) -> None:
        record = self._study.finish(trial.config["number"], state, error)
        self._halt.watch(record)
        for listener in self._listeners:
            listener.ended(record)


def _files(trial: Any, result: Mapping[str, Any]) -> Path:
    """Where the checkpoints of a report lie: Ray Train keeps those of several processes, Tune those of one."""
    if "checkpoint_path" in result:
        return Path(result["checkpoint_path"])
    return Path(trial.path) / str(result["checkpoint_dir_name"])
