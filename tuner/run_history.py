"""Trials as MLflow keeps them: what earlier searches wrote, whose folders may be gone."""

import ast
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from data.errors import ConfigError
from tuner.recording.columns import column
from tuner.spec.search_spec import SearchSpec
from tuner.store import tracking_uri
from tuner.study.record import Origin, TrialRecord, TrialState

_PAGE = 500
_COMPARED = ("objective.metric", "objective.mode", "objective.split", "objective.windows")


def experiment_trials(experiment: str, spec: SearchSpec) -> list[TrialRecord]:
    """The ended trials of an experiment's searches that had the spec's objective.

    Raises:
        ConfigError: there is no such experiment, or MLflow does not answer.
    """
    client = MlflowClient(tracking_uri=tracking_uri())
    try:
        known = client.get_experiment_by_name(experiment)
        if known is None:
            raise ConfigError(f"warm_start: mlflow:{experiment}: MLflow at {tracking_uri()} has no such experiment")
        parents = _runs(client, known.experiment_id, "tags.kind = 'search'")
        alike = {run.info.run_id for run in parents if _same_objective(run, spec)}
        children = _runs(client, known.experiment_id, "tags.kind = 'trial'")
        mine = [run for run in children if run.data.tags.get("mlflow.parentRunId") in alike]
        return [record for run in mine if (record := _record(client, run, spec)) is not None]
    except MlflowException as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"warm_start: mlflow:{experiment}: MLflow does not answer: {reason}") from None


def _runs(client: MlflowClient, experiment_id: str, rule: str) -> list[Run]:
    found: list[Run] = []
    token: str | None = None
    while True:
        page = client.search_runs([experiment_id], rule, max_results=_PAGE, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _same_objective(parent: Run, spec: SearchSpec) -> bool:
    mine: dict[str, Any] = {f"objective.{k}": v for k, v in spec.file.objective.model_dump(mode="json").items()}
    return all(parent.data.params.get(name) == str(mine[name]) for name in _COMPARED)


def _record(client: MlflowClient, run: Run, spec: SearchSpec) -> TrialRecord | None:
    state = run.data.tags.get("state", "")
    if state not in {known.value for known in TrialState}:
        return None
    default = spec.default.leaves()
    # A leaf that MLflow has no parameter of was not there when that search ran.
    config = {leaf: _value(run.data.params[leaf], old) for leaf, old in default.items() if leaf in run.data.params}
    history = [
        {entry.step: float(entry.value) for entry in client.get_metric_history(run.info.run_id, column(metric))}
        for metric in spec.file.objective.metrics
    ]
    epochs = sorted(set.intersection(*(set(values) for values in history)))
    curve = {epoch: tuple(values[epoch] for values in history) for epoch in epochs}
    best = max(curve, key=lambda epoch: spec.file.objective.worth(curve[epoch]), default=None)
    return TrialRecord(int(run.data.tags["trial"]), Origin({}), {**default, **config}, TrialState(state), curve, best)


def _value(text: str, like: Any) -> Any:
    """A parameter's value back from what `str` made of it; text stays text where the leaf is one."""
    if isinstance(like, str):
        return text
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text  # a leaf that is null unless it is given, as text
