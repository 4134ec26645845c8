"""Between Ray's driver and the engine: Ray asks it for work, and tells it of starts, reports and ends.

To Ray, every worker that takes up a trial is a trial of its own. A trial that pauses at a rung, loses its worker or
outlives its driver is handed out again with the files that it left, so all three go one way, and none needs Ray's own
snapshots.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ray import tune
from ray.tune.search import Searcher

from tuner.cluster import Room
from tuner.endings import ending
from tuner.engine import Engine
from tuner.halt import Halt
from tuner.prices import Meter
from tuner.ray_scheduler import LeftOutOfSnapshots
from tuner.schedulers.decision import Decision
from tuner.study.history import UNKNOWN_NODE
from tuner.study.record import TrialRecord, TrialState
from tuner.study.study import Study
from tuner.trial import Assignment

_FRUITLESS_RESULTS = {
    "diverged": TrialState.DIVERGED,
    "infeasible": TrialState.INFEASIBLE,
    "out_of_memory": TrialState.OUT_OF_MEMORY,
}


class Listener(Protocol):
    """Hears what happens to trials, in order, on the driver."""

    def started(self, trial: TrialRecord) -> None:
        """A worker has begun with the trial, or goes on with it."""

    def reported(self, trial: TrialRecord, metrics: Mapping[str, float]) -> None:
        """The trial has ended an epoch; `epoch` is one of its metrics."""

    def waiting(self, trial: TrialRecord) -> None:
        """The trial has given up its worker and may go on later."""

    def ended(self, trial: TrialRecord) -> None:
        """The trial is over; its state tells how."""


class StudySearcher(LeftOutOfSnapshots, Searcher):
    """Gives Ray what the engine has for a free worker."""

    def __init__(self, engine: Engine, folder: Path, workers: Room) -> None:
        super().__init__(metric=tune.result.DEFAULT_METRIC, mode="max")
        self._engine = engine
        self._folder = folder
        self._workers = workers

    def suggest(self, trial_id: str) -> Assignment | str | None:  # noqa: ARG002 - Ray's own id; ours is the number
        """The next trial to take up; None while there is no room or nothing to do, FINISHED when all is done."""
        if self._engine.running >= self._workers():
            return None
        record = self._engine.next()
        self._workers.wants(None if record is not None else self._engine.running)
        if record is None:
            return str(Searcher.FINISHED) if self._engine.finished else None
        files = None if record.files is None else str(self._folder / record.files)
        return Assignment(number=record.number, leaves=record.sampled, leg=record.legs, files=files)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: TrialEvents tells the engine, with the last report and the error's text."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is on disk."""


class TrialEvents(LeftOutOfSnapshots, tune.Callback):
    """Tells the engine first, then the listeners. (Ray passes everything by keyword.)"""

    def __init__(
        self, engine: Engine, study: Study, halt: Halt, meter: Meter, folder: Path, listeners: Sequence[Listener]
    ) -> None:
        self._engine, self._study, self._halt = engine, study, halt
        self._meter, self._folder = meter, folder
        self._listeners = listeners
        self._why: dict[int, str] = {}  # a trial was stopped, where it was not the scheduler's doing
        self._before: dict[int, TrialRecord] = {}  # as the trial was when its worker took it up

    def on_trial_start(self, trial: Any, **_: Any) -> None:
        """A worker has taken the trial."""
        self._tell_closed()
        number = trial.config["number"]
        self._before[number] = record = self._study.trial(number)
        for listener in self._listeners:
            listener.started(record)

    def take(self, trial: Any, result: dict[str, Any]) -> Decision:
        """Keep an epoch's report in the study, with what is decided on it."""
        number = trial.config["number"]
        before = self._before[number]
        busy_s = float(result["time_total_s"])
        if self._study.trial(number).node is None:
            self._engine.started(number, str(result.get("hostname", UNKNOWN_NODE)), since_s=busy_s)
        if "reported" not in result:
            return Decision.CONTINUE  # the trial came to nothing, and ends at once
        metrics = _metrics(result)
        cost = before.cost + busy_s * self._meter.rate(str(result.get("node_ip")))
        # The worker has put the files there before it reported.
        files = _below(_files(trial, result), self._folder)
        _, decision, why = self._engine.report(
            number, metrics, files, before.busy_s + busy_s, cost, result["diagnosis"]
        )
        if why is not None:
            self._why[number] = why
        return decision

    def on_trial_result(self, trial: Any, result: dict[str, Any], **_: Any) -> None:
        """An epoch has ended and is in the study; also called for the report on which the trial is stopped."""
        if "reported" not in result:
            return
        number = trial.config["number"]
        self._drop_what_the_last_worker_left(number)
        metrics = _metrics(result)
        for listener in self._listeners:
            listener.reported(self._study.trial(number), metrics)

    def on_trial_complete(self, trial: Any, **_: Any) -> None:
        """The trial has trained its last epoch or came to nothing, or the engine or the search has stopped it."""
        number, result = trial.config["number"], trial.last_result or {}
        record = self._study.trial(number)
        for key, state in _FRUITLESS_RESULTS.items():
            if key in result:
                if "violation" in result:
                    self._study.tag(number, violation=float(result["violation"]))
                return self._end(number, state, str(result[key]))
        if record.over:
            return self._end(number, TrialState.COMPLETE)
        if record.decision is Decision.STOP:
            return self._end(number, TrialState.STOPPED, self._why.pop(number, None))
        if record.decision is Decision.PAUSE and record.leg_from < record.last_epoch:
            return self._wait(self._engine.ended(number, TrialState.PAUSED))
        return self._wait(self._engine.ended(number, TrialState.PREEMPTED))

    def on_trial_error(self, trial: Any, **_: Any) -> None:
        """The trial has raised, or its worker died."""
        # Not get_error(): it looks where the file will be copied to later.
        text = Path(trial.error_file).read_text(encoding="utf-8") if trial.error_file else ""
        number, found = trial.config["number"], ending(text)
        if found.state is not None:
            return self._end(number, found.state, found.why)
        record = self._engine.lost(number, found.why, with_node=found.with_node)
        if record.state is TrialState.FAILED:
            return self._tell_end(record)
        return self._wait(record)

    def close(self) -> None:
        """Tell of trials that Ray dropped without a word, and end those that wait if the search is over."""
        for record in list(self._study.trials()):
            if record.state is TrialState.RUNNING:
                self._wait(self._engine.ended(record.number, TrialState.PREEMPTED))
        if self._engine.finished:
            self._engine.close("its budget is spent")
        self._tell_closed()

    def _end(self, number: int, state: TrialState, error: str | None = None) -> None:
        self._tell_end(self._engine.ended(number, state, error))

    def _tell_closed(self) -> None:
        for record in self._engine.take_closed():
            self._tell_end(record)

    def _tell_end(self, record: TrialRecord) -> None:
        self._halt.watch(record)
        for listener in self._listeners:
            listener.ended(record)

    def _wait(self, record: TrialRecord) -> None:
        for listener in self._listeners:
            listener.waiting(record)

    def _drop_what_the_last_worker_left(self, number: int) -> None:
        """Its files are the trial's no more, once the present worker's are in the study."""
        old, new = self._before[number].files, self._study.trial(number).files
        if old is None or new is None or Path(old).parent == Path(new).parent:
            return
        shutil.rmtree((self._folder / old).parent, ignore_errors=True)
        self._before[number] = self._before[number].without_files()


def _metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """A trial's own: Ray adds entries (pid, node, times) to what run_trial reports."""
    return {name: float(result[name]) for name in result["reported"]}


def _files(trial: Any, result: Mapping[str, Any]) -> str:
    """Where the checkpoints of a report lie: Ray Train keeps those of several processes, Tune those of one."""
    if "checkpoint_path" in result:
        return str(result["checkpoint_path"])
    return f"{trial.path}/{result['checkpoint_dir_name']}"


def _below(path: str, folder: Path) -> str:
    root = f"{folder.absolute()}/"
    return path.removeprefix(root)
