"""The study: what is asked, what is told, and that the sampler learns from the default."""

import math
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState as OptunaState

from data.errors import DatasetError
from tuner.spec import SearchSpec, load_spec
from tuner.study import Study, TrialState, read_trials

SPEC = """\
name: tiny
base: {optimizer: {name: adamw, lr: 5e-4}, loss.box: 100}
space:
  loss.box: {uniform: [2, 15]}
  loss.focal_gamma: {uniform: [0, 3]}
  optimizer.name: {choice: [sgd, adamw]}
  optimizer.lr:
    - {when: {optimizer.name: sgd}, log_uniform: [3e-3, 3e-2]}
    - {when: {optimizer.name: adamw}, log_uniform: [1e-4, 2e-3]}
budget: {trials: 20, epochs: 3}
"""


@pytest.fixture
def spec(tmp_path: Path) -> SearchSpec:
    (tmp_path / "spec.yaml").write_text(SPEC)
    return load_spec(tmp_path / "spec.yaml")


@pytest.fixture
def study(tmp_path: Path, spec: SearchSpec) -> Study:
    return Study.create(tmp_path, spec, "tiny-1")


def stored(folder: Path) -> list[optuna.trial.FrozenTrial]:
    """The trials as anyone who opens the file with Optuna sees them."""
    return optuna.load_study(study_name="tiny-1", storage=f"sqlite:///{folder / 'study.db'}").trials


def run(study: Study, values: list[float], state: TrialState = TrialState.COMPLETE) -> int:
    number, _ = study.ask()
    for epoch, value in enumerate(values, start=1):
        best = float(value > max(values[: epoch - 1], default=-1.0))
        metrics = {"epoch": epoch, "map": value, "map50": value + 0.1, "map75": value - 0.1, "best": best}
        study.report(number, metrics)
    study.finish(number, state)
    return number


def test_the_first_trial_is_the_default_and_the_sampler_observes_it_where_it_can(study: Study, tmp_path: Path) -> None:
    assert study.ask() == (0, {})
    # loss.box=100 lies outside [2, 15], so it is left out; focal_gamma's default 0 is the domain's lower end.
    assert stored(tmp_path)[0].params == {
        "loss.focal_gamma": 0.0,
        "optimizer.name": "adamw",
        "optimizer.lr[optimizer.name=adamw]": 5e-4,
    }


def test_later_trials_sample_every_active_leaf_once(study: Study) -> None:
    study.ask()
    number, leaves = study.ask()
    assert number == 1
    assert set(leaves) == {"loss.box", "loss.focal_gamma", "optimizer.name", "optimizer.lr"}
    low, high = (3e-3, 3e-2) if leaves["optimizer.name"] == "sgd" else (1e-4, 2e-3)
    assert low <= leaves["optimizer.lr"] <= high


def test_the_told_value_is_the_best_epoch_s_not_the_last_one_s(study: Study, tmp_path: Path) -> None:
    run(study, [0.2, 0.5, 0.3])
    run(study, [0.4, 0.1], TrialState.STOPPED)
    complete, stopped = stored(tmp_path)
    assert (complete.state, complete.value) == (OptunaState.COMPLETE, 0.5)
    assert (stopped.state, stopped.value) == (OptunaState.PRUNED, 0.4)
    assert complete.intermediate_values == {1: 0.2, 2: 0.5, 3: 0.3}
    _, (record, _) = read_trials(tmp_path)
    assert (record.best_epoch, record.epochs, record.scores) == (2, 3, {"map": 0.5, "map50": 0.6, "map75": 0.4})


def test_a_trial_without_a_finite_value_has_failed(study: Study, tmp_path: Path) -> None:
    run(study, [math.nan, math.nan])
    run(study, [])
    assert [trial.state for trial in stored(tmp_path)] == [OptunaState.FAIL, OptunaState.FAIL]
    assert read_trials(tmp_path)[1][0].error == "no epoch reported a finite map"


def test_a_trial_that_diverged_keeps_its_scores_and_tells_no_value(study: Study, tmp_path: Path) -> None:
    number = run(study, [0.2, 0.3], TrialState.DIVERGED)
    run(study, [], TrialState.DIVERGED)
    assert [(trial.state, trial.value) for trial in stored(tmp_path)] == [(OptunaState.FAIL, None)] * 2
    before, at_once = read_trials(tmp_path)[1]
    assert (before.number, before.state, before.epochs, before.best_epoch) == (number, TrialState.DIVERGED, 2, 2)
    assert before.scores == pytest.approx({"map": 0.3, "map50": 0.4, "map75": 0.2})
    assert (at_once.state, at_once.epochs, at_once.scores) == (TrialState.DIVERGED, 0, None)


def test_the_best_epoch_is_of_the_last_phase(study: Study, tmp_path: Path) -> None:
    number, _ = study.ask()
    # The second phase begins with epoch 3: there is less to see in more pixels, and `best` begins anew.
    for epoch, value, best in ((1, 0.4, 1.0), (2, 0.6, 1.0), (3, 0.2, 1.0), (4, 0.5, 1.0), (5, 0.3, 0.0)):
        study.report(number, {"epoch": epoch, "map": value, "map50": value, "map75": value, "best": best})
    record = study.finish(number, TrialState.COMPLETE)
    assert (record.best_epoch, record.scores) == (4, {"map": 0.5, "map50": 0.5, "map75": 0.5})
    assert stored(tmp_path)[0].value == 0.5


def test_an_epoch_that_was_done_again_counts_once(study: Study, tmp_path: Path) -> None:
    number, _ = study.ask()
    for epoch, value in ((1, 0.2), (2, 0.3), (2, 0.3), (3, 0.4)):
        study.report(number, {"epoch": epoch, "map": value, "map50": value, "map75": value, "best": 1.0})
    assert study.finish(number, TrialState.COMPLETE).epochs == 3
    assert stored(tmp_path)[0].intermediate_values == {1: 0.2, 2: 0.3, 3: 0.4}


def test_closing_leaves_no_trial_running(study: Study, tmp_path: Path) -> None:
    run(study, [0.1])
    study.ask()
    study.ask()
    assert [record.number for record in study.close("interrupted")] == [1, 2]
    assert [trial.state for trial in stored(tmp_path)] == [OptunaState.COMPLETE, OptunaState.FAIL, OptunaState.FAIL]
    assert read_trials(tmp_path)[1][2].error == "interrupted"


def test_the_same_seed_proposes_the_same_trials(tmp_path: Path, spec: SearchSpec) -> None:
    proposals = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        study = Study.create(tmp_path / name, spec, "tiny-1")
        for value in (0.1, 0.3, 0.2, 0.5, 0.4):
            run(study, [value])
        proposals.append([trial.sampled for trial in study.trials()])
    assert proposals[0] == proposals[1]


def test_the_sampler_is_univariate_tpe_without_constant_liar(study: Study) -> None:
    # The measured choice. Without a liar and before any end is told, running trials leave the sampler as it was.
    sampler = study.sampler
    assert isinstance(sampler, optuna.samplers.TPESampler)
    assert (sampler._multivariate, sampler._constant_liar, sampler._n_startup_trials) == (False, False, 4)


def test_tpe_proposes_nearer_to_the_default_the_better_it_was(tmp_path: Path) -> None:
    """The default's focal_gamma is 0; everything else is told alike, in two studies that draw the same numbers."""
    mean: dict[float, float] = {}
    for value in (0.0, 0.9):
        folder = tmp_path / str(value)
        folder.mkdir()
        (folder / "spec.yaml").write_text(SPEC)
        study = Study.create(folder, load_spec(folder / "spec.yaml"), "tiny-1")
        run(study, [value])
        for told in (0.3, 0.2, 0.1):
            run(study, [told])
        proposed = [study.ask()[1]["loss.focal_gamma"] for _ in range(8)]
        mean[value] = sum(proposed) / len(proposed)
    assert mean[0.9] < mean[0.0]


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds no study\.db"):
        read_trials(tmp_path)
    (tmp_path / "study.db").write_bytes(b"no database at all, only text that is long enough" * 20)
    with pytest.raises(DatasetError, match="is no study that can be read"):
        read_trials(tmp_path)
