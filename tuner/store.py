"""Where MLflow keeps the runs: the server MLFLOW_TRACKING_URI names, or SQLite below ./runs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "spiketune"  # unless MLFLOW_EXPERIMENT_NAME, which is MLflow's own, says another
MODEL = "spiketune-detector"  # that winners are registered as, unless they are given another name
DEFAULT_FOLDER = Path("runs")
_VARIABLE = "MLFLOW_TRACKING_URI"
_EXPERIMENT_VARIABLE = "MLFLOW_EXPERIMENT_NAME"


def tracking_uri() -> str:
    """The address of the tracking store; makes the folder of the default one."""
    given = os.environ.get(_VARIABLE)
    if given:
        return given
    DEFAULT_FOLDER.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{(DEFAULT_FOLDER / 'mlflow.db').absolute()}"


@contextmanager
def as_default(uri: str) -> Iterator[None]:
    """Have MLflow's own functions, which are not asked for a store or do not pass it on, use this one."""
    import mlflow

    before = os.environ.get(_VARIABLE)
    mlflow.set_tracking_uri(uri)  # which sets the variable, too
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)
        if before is None:
            os.environ.pop(_VARIABLE, None)
        else:
            os.environ[_VARIABLE] = before


def artifact_folder() -> Path | None:
    """Where artifacts go beside a SQLite store: mlartifacts next to the database. A server knows its own place."""
    uri = tracking_uri()
    prefix = "sqlite:///"
    return Path(uri.removeprefix(prefix)).absolute().parent / "mlartifacts" if uri.startswith(prefix) else None


def experiment_name() -> str:
    """The name of the experiment that holds all runs."""
    return os.environ.get(_EXPERIMENT_VARIABLE) or EXPERIMENT


def experiment_id(client: "MlflowClient") -> str | None:
    """The id of the experiment that holds all runs, made where there is none; None if somebody has deleted it."""
    name = experiment_name()
    known = client.get_experiment_by_name(name)
    if known is None:
        artifacts = artifact_folder()
        return str(client.create_experiment(name, artifacts.as_uri() if artifacts else None))
    return str(known.experiment_id) if known.lifecycle_stage == "active" else None
