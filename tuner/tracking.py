"""The one MLflow writer: a parent run for the search, a child run for each trial, all from the driver."""

import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from data.errors import SpiketuneError
from tuner.halt import INTERRUPTED
from tuner.result import BEST_CONFIG, SPEC_FILE, SearchResult
from tuner.spec import SearchSpec
from tuner.store import EXPERIMENT, artifact_folder, tracking_uri
from tuner.study import DEFAULT_TRIAL, Study, TrialRecord, TrialState

_STATUS = {
    TrialState.COMPLETE: "FINISHED",
    TrialState.STOPPED: "KILLED",
    TrialState.DIVERGED: "FAILED",
    TrialState.FAILED: "FAILED",
}
_PARAM_LENGTH = 6000  # MLflow's limit for a parameter's value
_ENTITIES = 100  # MLflow's limit for the parameters of one request
_Args = ParamSpec("_Args")


_Write = Callable[Concatenate["Tracker", _Args], None]


def _never_fatal(write: "_Write[_Args]") -> "_Write[_Args]":
    """MLflow's trouble is noted once and ends the recording, never the search: the study has everything."""

    @functools.wraps(write)
    def guarded(self: "Tracker", /, *args: _Args.args, **kwargs: _Args.kwargs) -> None:
        if self.notes:
            return
        try:
            write(self, *args, **kwargs)
        except (MlflowException, SQLAlchemyError, OSError) as error:
            line = (str(error).splitlines() or [type(error).__name__])[0]
            self.notes.append(f"MLflow stopped recording: {line}; the search's own study is complete")
            self._say(f"warning: {self.notes[0]}")

    return guarded


class Tracker:
    """A listener of the search that writes to MLflow. `notes` says what went wrong, if anything did."""

    def __init__(self, spec: SearchSpec, study: Study, folder: Path, dataset: str, say: Callable[[str], None]) -> None:
        self.notes: list[str] = []
        self._spec = spec
        self._study = study
        self._folder = folder
        self._dataset = dataset
        self._say = say
        self._children: dict[int, str] = {}

    @classmethod
    def begin(cls, spec: SearchSpec, study: Study, folder: Path, dataset: str, say: Callable[[str], None]) -> "Tracker":
        """Open the store, which takes seconds where the database has to be made, and start the parent run."""
        tracker = cls(spec, study, folder, dataset, say)
        store = tracking_uri().replace(f"{Path.cwd()}/", "")
        say(f"opening MLflow at {store} (the first time takes some 20 s)")
        tracker._begin()
        return tracker

    @_never_fatal
    def _begin(self) -> None:
        self._client = MlflowClient(tracking_uri=tracking_uri())
        self._experiment = _experiment(self._client)
        name = self._study.search_id
        folder = str(self._folder.absolute())
        tags = {"search_id": name, "search_folder": folder, "dataset": self._dataset, "kind": "search"}
        self._parent = self._client.create_run(self._experiment, run_name=name, tags=tags).info.run_id
        self._log_params(self._parent, _flat(self._spec.file.model_dump(mode="json")))
        self._client.log_artifact(self._parent, str(self._folder / SPEC_FILE))

    @_never_fatal
    def started(self, trial: TrialRecord) -> None:
        """Open the trial's child run with all leaves of its configuration."""
        if trial.number in self._children:
            return  # its worker was lost, and another has taken it up
        default = trial.number == DEFAULT_TRIAL
        tags = {
            "mlflow.parentRunId": self._parent,
            "kind": "trial",
            "search_id": self._study.search_id,
            "trial": str(trial.number),
            "state": trial.state.value,
        }
        name = f"{trial.number:04d}{' default' if default else ''}"
        child = self._client.create_run(self._experiment, run_name=name, tags=tags).info.run_id
        self._children[trial.number] = child
        self._study.tag(trial.number, "mlflow_run_id", child)
        self._log_params(child, trial.config)

    @_never_fatal
    def reported(self, trial: TrialRecord, metrics: Mapping[str, float]) -> None:
        """Write an epoch's metrics, in one request."""
        self._log_metrics(self._children[trial.number], metrics, int(metrics["epoch"]))

    @_never_fatal
    def ended(self, trial: TrialRecord) -> None:
        """Close the child run: FINISHED, KILLED (stopped or interrupted) or FAILED, and the true state as a tag."""
        child = self._children.get(trial.number)
        if child is None:
            return  # asked for, never started
        tags = [RunTag("state", trial.state.value)]
        facts = {"error": trial.error, "diagnosis": trial.diagnosis}
        tags += [RunTag(name, fact) for name, fact in facts.items() if fact is not None]
        scores = {f"best_{name}": value for name, value in (trial.scores or {}).items()}
        self._log_metrics(child, scores, trial.best_epoch or 0, tags)
        status = "KILLED" if trial.error == INTERRUPTED else _STATUS[trial.state]
        self._client.set_terminated(child, status)

    @_never_fatal
    def finish(self, result: SearchResult) -> None:
        """Copy the winner to the parent run, log its and the default's checkpoint, and close the parent."""
        best = result.best
        counts = {f"trials_{state}": float(count) for state, count in result.states().items()}
        scores = {f"best_{name}": value for name, value in (best.scores or {}).items()} if best else {}
        scores |= {f"default_{n}": v for n, v in (result.default.scores or {}).items()} if result.default else {}
        self._log_metrics(self._parent, {**counts, **scores}, 0)
        if best is not None:
            self._client.set_tag(self._parent, "best_trial", str(best.number))
            self._log_params(self._parent, {f"best.{leaf}": value for leaf, value in best.sampled.items()})
            self._client.log_artifact(self._parent, str(self._folder / BEST_CONFIG))
        for trial in {t.number: t for t in (best, result.default) if t is not None}.values():
            if trial.checkpoint is not None and trial.number in self._children:
                self._client.log_artifact(self._children[trial.number], str(self._folder / trial.checkpoint))
        if result.halted is None:
            self._client.set_terminated(self._parent, "FINISHED" if best is not None else "FAILED")
        else:
            self._client.set_tag(self._parent, "halted", result.halted)
            self._client.set_terminated(self._parent, "KILLED" if result.halted == INTERRUPTED else "FAILED")

    def _log_params(self, run: str, values: Mapping[str, Any]) -> None:
        params = [Param(name, str(value)[:_PARAM_LENGTH]) for name, value in values.items()]
        for start in range(0, len(params), _ENTITIES):
            self._client.log_batch(run, params=params[start : start + _ENTITIES])

    def _log_metrics(self, run: str, values: Mapping[str, float], step: int, tags: list[RunTag] | None = None) -> None:
        now = int(time.time() * 1000)
        self._client.log_batch(run, [Metric(name, value, now, step) for name, value in values.items()], tags=tags or [])


def _experiment(client: MlflowClient) -> str:
    known = client.get_experiment_by_name(EXPERIMENT)
    if known is None:
        artifacts = artifact_folder()
        return str(client.create_experiment(EXPERIMENT, artifacts.as_uri() if artifacts else None))
    if known.lifecycle_stage != "active":
        raise SpiketuneError(f"MLflow's experiment '{EXPERIMENT}' is deleted; restore it or set MLFLOW_TRACKING_URI")
    return str(known.experiment_id)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
