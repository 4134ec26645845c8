"""The experiment that runs are written to."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from tuner.store import experiment_id, tracking_uri


@pytest.mark.parametrize(("variable", "name"), [("", "spiketune"), ("spiketune-ann", "spiketune-ann")])
def test_runs_go_to_the_experiment_that_mlflows_own_variable_names(
    variable: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", variable)
    client = MlflowClient(tracking_uri())
    made = experiment_id(client)
    assert made is not None
    assert client.get_experiment(made).name == name
    assert experiment_id(client) == made
