"""The durable study: an Optuna study is the state of record, written before anything is acted upon."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState as OptunaState

from tuner.space import Leaves, Space
from tuner.spec.search_spec import SearchSpec
from tuner.study.address import study_url
from tuner.study.database import close_storage, open_storage, patiently
from tuner.study.optuna_rows import OPTUNA_STATES, new_row
from tuner.study.reading import Row
from tuner.study.record import LOST, UNFINISHED, Origin, Told, TrialRecord, TrialState
from tuner.study.rows import RUN, epoch_row, read_epochs, read_record, with_run


class Study:
    """Keeps what becomes of trials, and when; in memory for its one writer, in the database for good."""

    def __init__(
        self,
        storage: BaseStorage,
        study_id: int,
        search_id: str,
        spec: SearchSpec,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.search_id = search_id
        self._clock = clock  # Unix seconds
        self._storage = storage
        self._study_id = study_id
        self._space: Space = spec.space
        self._objectives = spec.file.objective.metrics
        attributes = patiently(lambda: storage.get_study_user_attrs(study_id))
        self.default: Leaves = attributes["default"]
        self._earlier_s: float = attributes.get("clock_s", 0.0)
        self._names: list[str] = list(attributes.get("metrics", ()))
        self._records: list[TrialRecord] = []
        self._row_ids: list[int] = []
        for trial in patiently(lambda: storage.get_all_trials(study_id, deepcopy=False)):
            row = Row(trial.number, trial.state is OptunaState.RUNNING, trial.user_attrs)
            record = read_record(row, self.default, read_epochs(row, self._names), self._objectives)
            self._records.append(with_run(record, attributes))
            self._row_ids.append(trial._trial_id)
            self._settle(trial.state)

    @classmethod
    def create(
        cls,
        folder: Path,
        spec: SearchSpec,
        search_id: str,
        storage: BaseStorage | None = None,
        clock: Callable[[], float] = time.time,
    ) -> "Study":
        """A new study of this name, in the folder's database unless a storage is given."""
        storage = storage or open_storage(study_url(folder))
        up = StudyDirection.MAXIMIZE
        directions = [up if mode == "max" else StudyDirection.MINIMIZE for mode in spec.file.objective.modes]
        study_id = storage.create_new_study(directions, search_id)
        storage.set_study_user_attr(study_id, "search_id", search_id)
        storage.set_study_user_attr(study_id, "default", spec.default.leaves())
        storage.set_study_user_attr(study_id, "objectives", list(spec.file.objective.metrics))
        return cls(storage, study_id, search_id, spec, clock)

    @classmethod
    def resume(cls, folder: Path, spec: SearchSpec, search_id: str) -> "Study":
        """The study of an earlier process, or a new one where that came to none."""
        storage = open_storage(study_url(folder))
        try:
            study_id = storage.get_study_id_from_name(search_id)
        except KeyError:
            return cls.create(folder, spec, search_id, storage)
        return cls(storage, study_id, search_id, spec)

    def set_default(self, default: Leaves) -> None:
        """Take this default configuration; there are no trials yet."""
        patiently(lambda: self._storage.set_study_user_attr(self._study_id, "default", default))
        self.default = default

    def begin(self, origin: Origin) -> TrialRecord:
        """A new trial, with the next number."""
        number = len(self._records)
        row = new_row(origin, self._space.observed({**self.default, **origin.sampled}))

        def create() -> int:
            try:  # an attempt whose answer was lost may have made it
                return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
            except KeyError:
                return self._storage.create_new_trial(self._study_id, row)

        self._row_ids.append(patiently(create))
        self._records.append(TrialRecord.begun(number, origin, self.default))
        return self._records[number]

    def take_up(self, number: int) -> TrialRecord:
        """A worker is to begin with the trial, or to go on after its last epoch."""
        record = self._records[number]
        leg = record.legs + 1
        self._attribute(number, f"leg {leg}", [None, record.last_epoch, self._now()])
        if record.state is not TrialState.RUNNING:
            self._state(number, OptunaState.RUNNING)
        return self._replace(number, state=TrialState.RUNNING, legs=leg, leg_from=record.last_epoch, node=None)

    def started(self, number: int, node: str, since_s: float = 0.0) -> TrialRecord:
        """The worker has begun, on this node, so many seconds ago."""
        record = self._records[number]
        self._attribute(number, f"leg {record.legs}", [node, record.leg_from, round(self._now() - since_s, 3)])
        return self._replace(number, node=node)

    def report(self, number: int, told: Told) -> TrialRecord:
        """Keep an epoch; the first objective becomes an intermediate value."""
        objectives = tuple(told.metrics[name] for name in self._objectives)
        record = self._records[number]
        unknown = [name for name in told.metrics if name not in self._names]
        if unknown:
            self._names += unknown
            patiently(lambda: self._storage.set_study_user_attr(self._study_id, "metrics", self._names))
        if told.epoch not in record.curve:  # it is, if a worker was lost and the next one had to do it again
            row_id = self._row_ids[number]
            patiently(lambda: self._storage.set_trial_intermediate_value(row_id, told.epoch, objectives[0]))
        # Last and at once: an epoch counts with what was decided on it, or not at all.
        told = dataclasses.replace(told, at_s=self._now())
        self._attribute(number, f"epoch {told.epoch}", epoch_row(told, self._names))
        self._records[number] = record.told([(told, objectives)])
        return self._records[number]

    def wait(self, number: int, state: TrialState) -> TrialRecord:
        """The trial gives up its worker and may go on later."""
        self._state(number, OPTUNA_STATES[state])
        return self._replace(number, state=state)

    def finish(self, number: int, state: TrialState, error: str | None = None) -> TrialRecord:
        """Tell a trial's end: its value is its best epoch's, not its last one's; without any number it has failed."""
        record = self._records[number]
        if state not in LOST and record.best_epoch is None:
            state, error = TrialState.FAILED, error or f"no epoch reported a finite {self._objectives[0]}"
        self._attribute(number, "end", {"state": state.value, "error": error, "at_s": self._now()})
        values = None if state in LOST or record.best_epoch is None else list(record.values)
        self._state(number, OPTUNA_STATES[state], values)
        return self._replace(number, state=state, error=error)

    def tag(self, number: int, **facts: str | float) -> TrialRecord:
        """Attach facts to an unfinished trial: its diagnosis, how far it breaks constraints."""
        for name, fact in facts.items():
            self._attribute(number, name, fact)
        return self._replace(number, **facts)

    def tag_run(self, number: int, run_id: str) -> None:
        """Keep the id of the trial's MLflow run, which may only be known when the trial is long over."""
        # With the study: the database takes nothing more of a trial that has ended.
        patiently(lambda: self._storage.set_study_user_attr(self._study_id, f"{RUN} {number}", run_id))
        self._replace(number, mlflow_run_id=run_id)

    @property
    def clock_s(self) -> float:
        """Seconds that earlier sessions of the search took, as far as they were written down."""
        return self._earlier_s

    def tick(self, session_s: float) -> None:
        """Write down how long this session has taken so far."""
        patiently(lambda: self._storage.set_study_user_attr(self._study_id, "clock_s", self._earlier_s + session_s))

    def close(self) -> None:
        """Let go of the database; the records stay readable."""
        close_storage(self._storage)

    def trial(self, number: int) -> TrialRecord:
        """One trial as it is now."""
        return self._records[number]

    def trials(self) -> Sequence[TrialRecord]:
        """All trials, by number."""
        return self._records

    def _settle(self, found: OptunaState) -> None:
        """Bring a trial's state in the database in line with its attributes, after a death between the two."""
        record = self._records[-1]
        if found.is_finished() or found is OPTUNA_STATES[record.state]:
            return
        if record.state in UNFINISHED:
            self._state(record.number, OPTUNA_STATES[record.state])
        else:
            self.finish(record.number, record.state, record.error)

    def _now(self) -> float:
        return round(self._clock(), 3)

    def _attribute(self, number: int, key: str, value: Any) -> None:
        patiently(lambda: self._storage.set_trial_user_attr(self._row_ids[number], key, value))

    def _state(self, number: int, state: OptunaState, values: Sequence[float] | None = None) -> None:
        row_id = self._row_ids[number]

        def tell() -> None:
            try:
                self._storage.set_trial_state_values(row_id, state, values)
            except optuna.exceptions.UpdateFinishedTrialError:
                if self._storage.get_trial(row_id).state is not state:  # else an attempt whose answer was lost
                    raise

        patiently(tell)

    def _replace(self, number: int, **changes: Any) -> TrialRecord:
        self._records[number] = dataclasses.replace(self._records[number], **changes)
        return self._records[number]
