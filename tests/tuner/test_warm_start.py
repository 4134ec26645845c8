"""Learning from earlier searches: what is an observation, what a prior, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from data.errors import ConfigError
from tests.tuner.search_records import SPEC, spec_of
from tuner.samplers.observation import Stage
from tuner.schedulers.decision import Decision
from tuner.search_folder import IDENTITY_FILE
from tuner.spec.search_spec import SearchSpec
from tuner.study.record import Origin, Told, TrialState
from tuner.study.study import Study
from tuner.warm_start import warm_start

DIGEST = "d1"


def earlier(folder: Path, text: str = SPEC, digest: str = DIGEST) -> SearchSpec:
    """A search of three trials that have ended and one that has not."""
    folder.mkdir()
    spec = spec_of(folder, text)
    identity = {"search_id": "old-1", "dataset": "datasets/old", "digest": digest}
    (folder / IDENTITY_FILE).write_text(json.dumps(identity))
    study = Study.create(folder, spec, "old-1")
    sampled: list[dict[str, Any]] = [
        {"loss.box": 3.0},
        {"loss.box": 5.0, "optimizer.name": "sgd"},
        {"loss.box": 14.0},
        {"loss.box": 4.0},
    ]
    for number, leaves in enumerate(sampled):
        study.begin(Origin(dict(leaves)))
        study.take_up(number)
        for epoch in (1, 2):
            metrics = {"map": number / 10 + epoch / 100, "map50": 0.0, "map75": 0.0, "best": 1.0}
            study.report(number, Told(epoch, metrics, None, Decision.CONTINUE, 1.0))
        if number < 3:
            study.finish(number, TrialState.COMPLETE if number else TrialState.STOPPED)
    return spec


def begun(folder: Path, old: Path, text: str = SPEC) -> SearchSpec:
    (folder / "new").mkdir(exist_ok=True)
    return spec_of(folder / "new", text + f"warm_start: [{old}]\n")


def test_trials_under_the_same_settings_are_observations(tmp_path: Path) -> None:
    earlier(tmp_path / "old")
    (found,) = warm_start(begun(tmp_path, tmp_path / "old"), DIGEST)
    assert [one.number for one in found.observations] == [-1, -2, -3]
    assert [one.source for one in found.observations] == [None] * 3
    assert found.observations[1].values == {"loss.box": 5.0, "optimizer.name": "sgd"}
    assert found.observations[1].curve == {1: (0.1 + 0.01,), 2: (0.1 + 0.02,)}
    assert {one.stage for one in found.observations} == {Stage.ENDED}
    assert found.told == "warm start: 3 trials of old-1 as observations"


def test_trials_outside_of_the_space_are_left_out_and_counted(tmp_path: Path) -> None:
    earlier(tmp_path / "old")
    (found,) = warm_start(begun(tmp_path, tmp_path / "old", SPEC.replace("[2, 15]", "[2, 10]")), DIGEST)
    assert (len(found.observations), found.left_out) == (2, 1)


def test_trials_under_other_settings_or_data_are_a_prior(tmp_path: Path) -> None:
    earlier(tmp_path / "old", SPEC + "base: {loss.cls: 3, training.seed: 9}\n")
    (found,) = warm_start(begun(tmp_path, tmp_path / "old"), "d2")
    assert {one.source for one in found.observations} == {"old-1"}
    assert found.differs == ("the dataset", "loss.cls")  # a seed is no other setting
    assert "as a prior, for they differ in the dataset, loss.cls" in found.told


def test_a_space_may_differ_by_leaves_whose_values_there_lie_in_it_here(tmp_path: Path) -> None:
    earlier(tmp_path / "old")
    text = SPEC.replace("optimizer.name: {choice: [sgd, adamw]}", "loss.cls: {uniform: [0.1, 5]}")
    (found,) = warm_start(begun(tmp_path, tmp_path / "old", text + "base: {optimizer.name: sgd}\n"), DIGEST)
    # One of its trials had AdamW, which is not searched here: that makes all of them a prior.
    assert found.differs == ("optimizer.name",)
    assert all("loss.cls" in one.values for one in found.observations)


@pytest.mark.parametrize(
    ("old", "rule"),
    [
        ("objective: {windows: 7}\n", "its objective's windows was 7, here it is None"),
        ("objective: {metric: map50}\n", "its objective's metrics was"),
        (
            "base: {loss.cls: 3, loss.track: 0, optimizer.momentum: 0.5, data.scale: 0.5}\n",
            "its trials differ in 4 settings outside of this space",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, old: str, rule: str) -> None:
    earlier(tmp_path / "old", SPEC + old)
    with pytest.raises(ConfigError, match=rule):
        warm_start(begun(tmp_path, tmp_path / "old"), DIGEST)


def test_a_name_that_is_no_search_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no folder of a search"):
        warm_start(begun(tmp_path, tmp_path / "nowhere"), DIGEST)


def test_mlflow_s_trials_of_the_same_objective_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs as the recorder writes them, of two searches, one of which was evaluated on other windows."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    client = MlflowClient(uri)
    experiment = client.create_experiment("past", (tmp_path / "artifacts").as_uri())
    spec = begun(tmp_path, Path("mlflow:past"))
    objective = {f"objective.{k}": str(v) for k, v in spec.file.objective.model_dump(mode="json").items()}
    for windows, value in (("None", 0.4), ("7", 0.9)):
        parent = client.create_run(experiment, tags={"kind": "search"}).info.run_id
        for name, text in {**objective, "objective.windows": windows}.items():
            client.log_param(parent, name, text)
        tags = {"kind": "trial", "trial": "3", "state": "complete", "mlflow.parentRunId": parent}
        child = client.create_run(experiment, tags=tags).info.run_id
        for leaf, leaf_value in {**spec.default.leaves(), "loss.box": 7.5, "optimizer.name": "sgd"}.items():
            client.log_param(child, leaf, str(leaf_value))
        for epoch in (1, 2):
            client.log_metric(child, "map", value * epoch, step=epoch)
    (found,) = warm_start(spec, DIGEST)
    (only,) = found.observations
    assert only.values == {"loss.box": 7.5, "optimizer.name": "sgd"}
    assert only.curve == {1: (0.4,), 2: (0.8,)}
    assert (only.source, found.differs) == (None, ())


def test_an_experiment_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    with pytest.raises(ConfigError, match="has no such experiment"):
        warm_start(begun(tmp_path, Path("mlflow:nothing")), DIGEST)
