"""Records carried out in MLflow. Each can be carried out again: a run is looked for before it is made."""

from collections.abc import Callable, Mapping
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from tuner.recording.links import Links
from tuner.recording.notes import NOTE
from tuner.recording.records import SEARCH, Batch, Close, Open, Params, Record, Upload
from tuner.recording.verdict import Barred, Refused
from tuner.store import experiment_id, experiment_name

_PARAM_LENGTH = 6000  # MLflow's limit for a parameter's value
_TAG_LENGTH = 5000  # of a tag's, in stores of all versions
_OF_AN_END = {"ending", "error", "halted"}


def connect(uri: str) -> MlflowClient:
    """A client of a store."""
    return MlflowClient(tracking_uri=uri)


class Runs:
    """The runs of one search in one store."""

    def __init__(
        self, client: MlflowClient, folder: Path, known: Mapping[int, str], keep: Callable[[int, str], None]
    ) -> None:
        self._client = client
        self._folder = folder
        self._ids = dict(known)
        self._keep = keep
        self._experiment_id: str | None = None
        self._new: set[int] = set()  # made here, and without parameters so far

    def write(self, record: Record) -> None:
        """Carry out a record.

        Raises:
            Refused: it can never be carried out.
            MlflowException: MLflow says so, or cannot be reached.
        """
        match record:
            case Open():
                self._open(record)
            case Params():
                self._params(self._id(record), record)
            case Batch():
                self._batch(self._id(record), record)
            case Upload():
                self._upload(self._id(record), record)
            case Close():
                self._client.set_terminated(self._id(record), record.status, record.at)

    def check(self) -> None:
        """Read the store; an error if it cannot be read or takes nothing."""
        self._experiment_id = None
        self._experiment()

    def _open(self, record: Open) -> None:
        if record.experiment:
            self._tag_experiment(record.experiment)
        run_id = self._look_up(record.search, record.run)
        if run_id is None:
            tags = dict(record.tags)
            if record.below is not None:
                tags["mlflow.parentRunId"] = self._parent(record)
            run = self._client.create_run(self._experiment(), record.at, self._linked(record, tags), record.name)
            self._know(record.run, run.info.run_id)
            self._new.add(record.run)
            return
        # It may have ended, and goes on: how it ended is no longer true.
        for name in _OF_AN_END & self._client.get_run(run_id).data.tags.keys():
            self._client.delete_tag(run_id, name)
        self._client.update_run(run_id, status="RUNNING")
        self._client.log_batch(run_id, tags=_tags(self._linked(record, record.tags)))

    def _tag_experiment(self, tags: Mapping[str, str]) -> None:
        """Set those that it does not have: what a user has changed stays."""
        known = self._client.get_experiment(self._experiment()).tags
        for name, value in tags.items():
            if name not in known:
                self._client.set_experiment_tag(self._experiment(), name, value)

    def _linked(self, record: Open | Batch, tags: Mapping[str, str]) -> dict[str, str]:
        """The tags with addresses in the note's links."""
        if NOTE not in tags:
            return dict(tags)
        links = Links(self._experiment(), record.search, lambda run: self._look_up(record.search, run))
        return {**tags, NOTE: links.resolved(tags[NOTE])}

    def _parent(self, record: Open) -> str:
        """The run above, or the search's own where MLflow has refused that one."""
        above = self._look_up(record.search, SEARCH if record.below is None else record.below)
        above = above or self._look_up(record.search, SEARCH)
        if above is None:
            raise Refused(f"the search {record.search} has no run in MLflow")
        return above

    def _params(self, run_id: str, record: Params) -> None:
        there = {} if record.run in self._new else self._client.get_run(run_id).data.params
        values = {name: value[:_PARAM_LENGTH] for name, value in record.values.items()}
        new = [Param(name, value) for name, value in values.items() if name not in there]
        # MLflow never changes a parameter: what has changed since, when a search goes on otherwise, can only be a tag.
        changed = {f"changed.{name}": value for name, value in values.items() if there.get(name, value) != value}
        self._client.log_batch(run_id, params=new, tags=_tags(changed))
        self._new.discard(record.run)

    def _batch(self, run_id: str, record: Batch) -> None:
        metrics = [Metric(name, value, record.at, record.step) for name, value in record.metrics.items()]
        self._client.log_batch(run_id, metrics=metrics, tags=_tags(self._linked(record, record.tags)))

    def _upload(self, run_id: str, record: Upload) -> None:
        path = self._folder / record.path
        if not path.is_file():
            raise Refused(f"{path} is no longer there")
        self._client.log_artifact(run_id, str(path))

    def _id(self, record: Params | Batch | Upload | Close) -> str:
        found = self._look_up(record.search, record.run)
        if found is None:
            what = "the search" if record.run == SEARCH else f"trial {record.run}"
            raise Refused(f"{what} has no run in MLflow")
        return found

    def _look_up(self, search: str, run: int) -> str | None:
        if run not in self._ids:
            which = "tags.kind = 'search'" if run == SEARCH else f"tags.trial = '{run}'"
            query = f"tags.search_id = '{search}' and {which}"
            found = self._client.search_runs([self._experiment()], query, max_results=1)
            if not found:
                return None
            self._know(run, found[0].info.run_id)
        return self._ids[run]

    def _know(self, run: int, run_id: str) -> None:
        if self._ids.get(run) != run_id:
            self._keep(run, run_id)
            self._ids[run] = run_id

    def _experiment(self) -> str:
        if self._experiment_id is None:
            self._experiment_id = experiment_id(self._client)
            if self._experiment_id is None:
                raise Barred(f"the experiment '{experiment_name()}' is deleted; restore it or set MLFLOW_TRACKING_URI")
        return self._experiment_id


def _tags(tags: Mapping[str, str]) -> list[RunTag]:
    return [RunTag(name, value[:_TAG_LENGTH]) for name, value in tags.items()]
