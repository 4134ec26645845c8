"""What the driver calls: each call appends to the spool and returns; nothing here waits for MLflow but `finish`."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from tuner.recording.background import Background
from tuner.recording.columns import best_columns, columns
from tuner.recording.facts import RunFacts, SearchEnd, SearchFacts
from tuner.recording.notes import NOTE, running_note, search_note, titled, trial_note
from tuner.recording.plots import write_plots
from tuner.recording.provenance import provenance
from tuner.recording.records import SEARCH, Batch, Close, Open, Params, Record, Upload
from tuner.recording.spool import Spool
from tuner.recording.told import Told
from tuner.recording.views import experiment_tags
from tuner.search_folder import REPORT_FILE

FINISH_S = 60.0
_NAME = "mlflow.runName"

_Item = TypeVar("_Item")


class Recorder:
    """Records one search. Whatever is told again, by a driver that goes on or a trial that is repeated, is left out."""

    def __init__(self, folder: Path, facts: SearchFacts, say: Callable[[str], None]) -> None:
        self._facts = facts
        self._search = facts.search_id
        self._folder = folder
        self._say = say
        self._spool = Spool(folder)
        self._told = Told(self._spool)
        self._lost: str | None = None  # why the spool took a record no longer
        self._background = Background(self._spool)
        self._ids = self._spool.runs(self._background.store)

    @classmethod
    def begin(cls, folder: Path, facts: SearchFacts, say: Callable[[str], None]) -> "Recorder":
        """Start to record a search, or go on where an earlier process was in the same folder."""
        recorder = cls(folder, facts, say)
        say(f"recording to MLflow at {recorder._background.store.replace(f'{Path.cwd()}/', '')}")
        tags = {
            "kind": "search",
            "search_id": facts.search_id,
            "search_folder": str(folder.absolute()),
            "dataset": facts.dataset,
            **({} if facts.digest is None else {"dataset_digest": facts.digest}),
            **provenance(),
            NOTE: running_note(facts),
        }
        now = _now()
        recorder._add(
            Open(facts.search_id, SEARCH, now, facts.search_id, None, tags, experiment_tags(facts, now)),
            Params(facts.search_id, SEARCH, _texts(facts.params)),
            *recorder._uploads(SEARCH, facts.spec_file),
        )
        return recorder

    def started(self, trial: RunFacts) -> None:
        """Open the trial's run with all leaves of its configuration; again if it had ended and goes on."""
        if self._told.is_running(trial.number):
            return  # its worker was lost, and another has taken it up
        kind = "trial" if trial.repeats is None else "repeat"
        tags = {"kind": kind, "search_id": self._search, "trial": str(trial.number), **trial.tags()}
        tags[NOTE] = trial_note(trial)
        above = SEARCH if trial.repeats is None else trial.repeats
        records: list[Record] = [Open(self._search, trial.number, _now(), trial.name, above, tags)]
        if not self._told.is_known(trial.number):
            records.append(Params(self._search, trial.number, _texts(trial.config)))
        self._add(*records)

    def reported(self, trial: RunFacts, metrics: Mapping[str, float]) -> None:
        """Record an epoch's metrics, `epoch` is one of them, and those of the best epoch so far."""
        self.started(trial)
        epoch = int(metrics["epoch"])
        if not self._told.has_epoch(trial.number, epoch):
            values = {**columns(metrics), **best_columns(trial.scores, trial.best_epoch)}
            self._add(Batch(self._search, trial.number, _now(), epoch, epoch=True, metrics=values))

    def ended(self, trial: RunFacts) -> None:
        """Close the trial's run: its true state and what became of it as tags, and MLflow's word for it as a status."""
        if self._told.has_ended(trial.number, trial.state):
            return
        self.started(trial)
        now, last = _now(), trial.last_epoch
        told = self._told.has_epoch(trial.number, last) or self._told.has_best(trial.number, last)
        best = {} if told else best_columns(trial.scores, trial.best_epoch)
        tags = {**trial.tags(), NOTE: trial_note(trial)}
        self._add(
            Batch(self._search, trial.number, now, last, metrics=best, tags=tags),
            Close(self._search, trial.number, now, trial.status(), trial.state),
            *self._uploads(SEARCH, Path(REPORT_FILE)),  # as it is by now
        )

    def finish(self, end: SearchEnd, timeout_s: float = FINISH_S) -> tuple[str, ...]:
        """Close the search's run and wait until all is written, for so long at most; what did not go as it should."""
        now = _now()
        tags = {**end.tags(), NOTE: search_note(self._facts, self._folder, end), _NAME: titled(self._search, end)}
        records: list[Record] = [Batch(self._search, SEARCH, now, 0, metrics=end.metrics(), tags=tags)]
        records += self._crowned(end, now)
        if end.halted is None:  # else it may go on, and find another best; MLflow never changes a parameter
            records.append(Params(self._search, SEARCH, _texts(end.params())))
        for checkpoint in end.uploaded():
            records += self._uploads(checkpoint.number, checkpoint.file)
        plots = (
            write_plots(self._spool.folder.absolute(), end.curves, end.objective, end.maximise) if end.curves else []
        )
        for file in (*end.files, *plots):
            records += self._uploads(SEARCH, file)
        self._add(*records, Close(self._search, SEARCH, now, end.status(), end.halted or "finished"))
        settled = self._background.settle(timeout_s)
        self._speak()
        self._spool.close()
        lost = () if self._lost is None else (f"not all was recorded for MLflow: {self._lost}",)
        return (*lost, *settled.notes)

    def _crowned(self, end: SearchEnd, now: int) -> list[Record]:
        """Mark the winner's run, give it its configuration, and unmark whoever had won when the search ended before."""
        best, config = end.best, end.config
        if best is None or config is None:
            return []
        former = [end.trials[number] for number in self._told.having(str(config)) if number != best.number]
        told = [(best, {"winner": "yes", _NAME: f"{best.name} winner", NOTE: trial_note(best, won=True)})]
        told += [(trial, {"winner": "no", _NAME: trial.name, NOTE: trial_note(trial)}) for trial in former]
        batches = [Batch(self._search, trial.number, now, trial.last_epoch, tags=tags) for trial, tags in told]
        return [*batches, *self._uploads(best.number, config)]

    def run_ids(self) -> dict[int, str]:
        """MLflow's id of each trial's run that has become known since the last call."""
        known = self._ids | dict(_taken(self._background.writer.opened))
        self._ids = {}
        return {run: run_id for run, run_id in known.items() if run != SEARCH}

    def running(self) -> list[int]:
        """The trials whose end was not told, by an earlier process perhaps."""
        return self._told.running()

    def _add(self, *records: Record) -> None:
        """Spool the records. A full disk ends what is recorded, never the search."""
        try:
            self._spool.append(records)
        except OSError as error:
            if self._lost is None:
                self._lost = str(error)
                self._say(f"warning: what happens now is not recorded for MLflow: {error}")
            return
        for record in records:
            self._told.take(record)
        self._background.writer.wake()
        self._speak()

    def _uploads(self, run: int, file: Path) -> list[Record]:
        """The upload of a file, if it is there and this version of it is not told."""
        path = file if file.is_absolute() else self._folder / file
        try:
            version = path.stat().st_mtime_ns
        except FileNotFoundError:
            return []
        below = path.absolute().relative_to(self._folder.absolute()) if _is_below(path, self._folder) else path
        upload = Upload(self._search, run, str(below), version)
        return [] if self._told.has_file(upload) else [upload]

    def _speak(self) -> None:
        for message in _taken(self._background.writer.messages):
            self._say(message)


def _now() -> int:
    return time.time_ns() // 1_000_000


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in values.items()}


def _is_below(path: Path, folder: Path) -> bool:
    return path.absolute().is_relative_to(folder.absolute())


def _taken(queue: "SimpleQueue[_Item]") -> list[_Item]:
    taken: list[_Item] = []
    while True:
        try:
            taken.append(queue.get_nowait())
        except Empty:
            return taken
