"""A store for tests that keeps what MLflow would, in memory, and can be made to fail or to kill its caller."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException, RestException

Told = Callable[[str, Mapping[str, Any]], None]


class Killed(BaseException):
    """What kill -9 is to a thread in a test: nothing catches it."""


def refused(message: str = "not allowed") -> MlflowException:
    return RestException({"error_code": "INVALID_PARAMETER_VALUE", "message": message})


def away() -> MlflowException:
    return RestException({"error_code": "TEMPORARILY_UNAVAILABLE", "message": "database is locked"})


def ill() -> MlflowException:
    return RestException({"error_code": "INTERNAL_ERROR", "message": "a bug"})


@dataclass
class StoredRun:
    name: str
    start: int
    tags: dict[str, str]
    params: dict[str, str] = field(default_factory=dict)
    metrics: set[tuple[str, float, int, int]] = field(default_factory=set)  # name, value, timestamp, step
    files: dict[str, str] = field(default_factory=dict)
    status: str = "RUNNING"
    end: int | None = None


class Store:
    """MLflow's client and server in one. `before` and `after` are told of each call: its name and arguments."""

    def __init__(self) -> None:
        self.experiment: str | None = None
        self.experiment_tags: dict[str, str] = {}
        self.stage = "active"
        self.runs: dict[str, StoredRun] = {}
        self.calls: list[str] = []
        self.before: Told = lambda *_: None
        self.after: Told = lambda *_: None
        self._ids = itertools.count()

    def by_trial(self) -> dict[str, StoredRun]:
        """Runs by their trial's number, the search's own as `search`; fails where there are two."""
        found: dict[str, StoredRun] = {}
        for run in self.runs.values():
            key = run.tags.get("trial", "search")
            assert key not in found, f"two runs for {key}"
            found[key] = run
        return found

    def __getattribute__(self, name: str) -> Any:
        method = super().__getattribute__(name)
        if name.startswith("_") or name in ("by_trial", "before", "after") or not callable(method):
            return method

        def observed(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            arguments = signature(method).bind(*args, **kwargs).arguments
            self.before(name, arguments)
            result = method(*args, **kwargs)
            self.after(name, arguments)
            return result

        return observed

    def get_experiment_by_name(self, _name: str) -> Any:
        if self.experiment is None:
            return None
        return SimpleNamespace(experiment_id="1", lifecycle_stage=self.stage)

    def create_experiment(self, name: str, _artifacts: str | None = None) -> str:
        self.experiment = name
        return "1"

    def get_experiment(self, _experiment: str) -> Any:
        return SimpleNamespace(tags=dict(self.experiment_tags))

    def set_experiment_tag(self, _experiment: str, key: str, value: str) -> None:
        self.experiment_tags[key] = value

    def create_run(self, _experiment: str, start_time: int, tags: Mapping[str, str], run_name: str) -> Any:
        run_id = f"run{next(self._ids)}"
        self.runs[run_id] = StoredRun(run_name, start_time, dict(tags))
        return self._run(run_id)

    def search_runs(self, _experiments: Sequence[str], filter_string: str, **_: Any) -> list[Any]:
        wanted = dict(part.removeprefix("tags.").split(" = ") for part in filter_string.split(" and "))
        return [
            self._run(run_id)
            for run_id, run in self.runs.items()
            if all(run.tags.get(tag) == value.strip("'") for tag, value in wanted.items())
        ]

    def get_run(self, run_id: str) -> Any:
        return self._run(run_id)

    def log_batch(
        self,
        run_id: str,
        metrics: Sequence[Metric] = (),
        params: Sequence[Param] = (),
        tags: Sequence[RunTag] = (),
    ) -> None:
        run = self.runs[run_id]
        for param in params:
            if run.params.setdefault(param.key, param.value) != param.value:
                raise refused("Changing param values is not allowed")
        run.metrics |= {(metric.key, metric.value, metric.timestamp, metric.step) for metric in metrics}
        run.tags |= {tag.key: tag.value for tag in tags if tag.key != "mlflow.runName"}
        run.name = next((tag.value for tag in tags if tag.key == "mlflow.runName"), run.name)

    def update_run(self, run_id: str, status: str) -> None:
        self.runs[run_id].status = status

    def delete_tag(self, run_id: str, key: str) -> None:
        del self.runs[run_id].tags[key]

    def set_terminated(self, run_id: str, status: str, end_time: int) -> None:
        self.runs[run_id].status, self.runs[run_id].end = status, end_time

    def log_artifact(self, run_id: str, local_path: str) -> None:
        self.runs[run_id].files[Path(local_path).name] = Path(local_path).read_text(errors="replace")

    def _run(self, run_id: str) -> Any:
        run = self.runs[run_id]
        data = SimpleNamespace(params=dict(run.params), tags=dict(run.tags))
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id), data=data)
