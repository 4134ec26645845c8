"""The study: what is told, what anyone finds in the database, and what a later process makes of it."""

import math
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState as OptunaState

from data.errors import DatasetError
from tuner.schedulers.decision import Decision
from tuner.spec.search_spec import SearchSpec, load_spec
from tuner.study.address import told_url
from tuner.study.database import patiently
from tuner.study.history import read_trials
from tuner.study.record import Origin, Told, TrialKind, TrialRecord, TrialState
from tuner.study.study import Study

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


def begin(study: Study, **sampled: Any) -> int:
    number = study.begin(Origin(sampled)).number
    study.take_up(number)
    return number


def report(study: Study, number: int, epoch: int, value: float, best: float = 1.0, **further: Any) -> TrialRecord:
    metrics = {"epoch": epoch, "map": value, "map50": value + 0.1, "map75": value - 0.1, "best": best}
    decision = further.pop("decision", Decision.CONTINUE)
    told = Told(epoch, {**metrics, **further}, f"trials/{number:04d}/c{epoch}", decision, 2.0 * epoch)
    return study.report(number, told)


def run(study: Study, values: list[float], state: TrialState = TrialState.COMPLETE) -> int:
    number = begin(study)
    for epoch, value in enumerate(values, start=1):
        report(study, number, epoch, value, float(value > max(values[: epoch - 1], default=-1.0)))
    study.finish(number, state)
    return number


def test_a_trial_s_parameters_are_those_that_lie_in_their_domains(study: Study, tmp_path: Path) -> None:
    begin(study)
    begin(study, **{"loss.box": 3.0, "loss.focal_gamma": 1.5, "optimizer.name": "sgd", "optimizer.lr": 0.01})
    # loss.box=100 lies outside [2, 15], so it is left out; focal_gamma's default 0 is the domain's lower end.
    assert [trial.params for trial in stored(tmp_path)] == [
        {"loss.focal_gamma": 0.0, "optimizer.name": "adamw", "optimizer.lr[optimizer.name=adamw]": 5e-4},
        {
            "loss.box": 3.0,
            "loss.focal_gamma": 1.5,
            "optimizer.name": "sgd",
            "optimizer.lr[optimizer.name=sgd]": 0.01,
        },
    ]


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


@pytest.mark.parametrize("state", [TrialState.DIVERGED, TrialState.OUT_OF_MEMORY, TrialState.FAILED])
def test_a_trial_that_was_lost_keeps_its_scores_and_tells_no_value(
    study: Study, tmp_path: Path, state: TrialState
) -> None:
    number = run(study, [0.2, 0.3], state)
    run(study, [], state)
    assert [(trial.state, trial.value) for trial in stored(tmp_path)] == [(OptunaState.FAIL, None)] * 2
    before, at_once = read_trials(tmp_path)[1]
    assert (before.number, before.state, before.epochs, before.best_epoch) == (number, state, 2, 2)
    assert before.scores == pytest.approx({"map": 0.3, "map50": 0.4, "map75": 0.2})
    assert (at_once.state, at_once.epochs, at_once.scores) == (state, 0, None)


def test_the_best_epoch_is_of_the_last_phase(study: Study, tmp_path: Path) -> None:
    number = begin(study)
    # The second phase begins with epoch 3: there is less to see in more pixels, and `best` begins anew.
    for epoch, value, best in ((1, 0.4, 1.0), (2, 0.6, 1.0), (3, 0.2, 1.0), (4, 0.5, 1.0), (5, 0.3, 0.0)):
        report(study, number, epoch, value, best)
    record = study.finish(number, TrialState.COMPLETE)
    assert (record.best_epoch, record.scores) == (4, {"map": 0.5, "map50": 0.6, "map75": 0.4})
    assert stored(tmp_path)[0].value == 0.5


def test_an_epoch_that_was_done_again_counts_once(study: Study, tmp_path: Path) -> None:
    number = begin(study)
    for epoch, value in ((1, 0.2), (2, 0.3), (2, 0.3), (3, 0.4)):
        report(study, number, epoch, value)
    assert study.finish(number, TrialState.COMPLETE).epochs == 3
    assert stored(tmp_path)[0].intermediate_values == {1: 0.2, 2: 0.3, 3: 0.4}


def test_a_later_process_finds_everything_as_it_was(study: Study, spec: SearchSpec, tmp_path: Path) -> None:
    run(study, [0.2, 0.5])
    run(study, [], TrialState.OUT_OF_MEMORY)
    waiting, running = begin(study), begin(study, **{"loss.box": 4.0})
    report(study, waiting, 1, 0.3, decision=Decision.PAUSE)
    study.wait(waiting, TrialState.PAUSED)
    report(study, running, 1, 0.4, energy_uj=5.5)  # a metric that was not known before
    study.started(running, "node-b")
    study.tag(running, diagnosis="ERROR dead_layer: one", violation=0.25)
    study.tag_run(0, "run of a trial that has ended")
    repeat = study.begin(Origin({"training.seed": 1}, TrialKind.REPEAT, 0, memory={"by": "tpe"}, expected_gain=0.125))
    again = Study.resume(tmp_path, spec, "tiny-1")
    assert list(again.trials()) == list(study.trials())
    assert [record.state for record in again.trials()] == ["complete", "out of memory", "paused", "running", "running"]
    record = again.trial(running)
    assert (record.metrics or {})["energy_uj"] == 5.5
    assert (record.node, record.legs, record.files, record.busy_s) == ("node-b", 1, "trials/0003/c1", 2.0)
    assert (record.violation, again.trial(0).mlflow_run_id) == (0.25, "run of a trial that has ended")
    assert (again.trial(repeat.number).origin, again.trial(repeat.number).seed) == (repeat.origin, 1)


def test_a_paused_trial_waits_in_optuna_and_runs_again_when_it_is_taken_up(study: Study, tmp_path: Path) -> None:
    number = begin(study)
    report(study, number, 1, 0.3, decision=Decision.PAUSE)
    study.wait(number, TrialState.PAUSED)
    assert stored(tmp_path)[0].state is OptunaState.WAITING
    record = study.take_up(number)
    assert (record.legs, record.leg_from, record.state) == (2, 1, TrialState.RUNNING)
    assert stored(tmp_path)[0].state is OptunaState.RUNNING
    assert read_trials(tmp_path)[1][0].state is TrialState.RUNNING  # though its last report ended in a pause


def test_a_death_between_an_end_and_its_state_is_mended(study: Study, spec: SearchSpec, tmp_path: Path) -> None:
    ended, paused = begin(study), begin(study)
    report(study, ended, 1, 0.5)
    report(study, paused, 1, 0.3, decision=Decision.PAUSE)
    # What a process has written that dies just before it tells Optuna's state.
    study._attribute(ended, "end", {"state": "stopped", "error": None})
    assert [trial.state for trial in stored(tmp_path)] == [OptunaState.RUNNING] * 2
    again = Study.resume(tmp_path, spec, "tiny-1")
    assert [(trial.state, trial.value) for trial in stored(tmp_path)] == [
        (OptunaState.PRUNED, 0.5),
        (OptunaState.WAITING, None),
    ]
    assert [record.state for record in again.trials()] == [TrialState.STOPPED, TrialState.PAUSED]


def test_a_study_that_was_never_made_is_begun_on_resuming(spec: SearchSpec, tmp_path: Path) -> None:
    assert list(Study.resume(tmp_path, spec, "tiny-1").trials()) == []
    assert stored(tmp_path) == []


def test_the_clock_goes_on_over_sessions(study: Study, spec: SearchSpec, tmp_path: Path) -> None:
    study.tick(5.0)
    study.tick(7.0)
    again = Study.resume(tmp_path, spec, "tiny-1")
    assert again.clock_s == 7.0
    again.tick(2.0)
    assert Study.resume(tmp_path, spec, "tiny-1").clock_s == 9.0


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds no study\.db"):
        read_trials(tmp_path)
    (tmp_path / "study.db").write_bytes(b"no database at all, only text that is long enough" * 20)
    with pytest.raises(DatasetError, match="is no study that can be read"):
        read_trials(tmp_path)


def test_a_database_that_is_away_is_asked_until_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("tuner.study.database.time.sleep", slept.append)
    answers = iter([optuna.exceptions.StorageInternalError("away")] * 3 + [7])

    def call() -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert patiently(call) == 7
    assert len(slept) == 3
    with pytest.raises(optuna.exceptions.StorageInternalError):
        patiently(lambda: (_ for _ in ()).throw(optuna.exceptions.StorageInternalError("away")), patience_s=-1)


def test_no_password_is_told() -> None:
    assert told_url("postgresql://me:secret@db:5432/studies") == "postgresql://db:5432/studies"
    assert told_url("sqlite:////a/study.db") == "sqlite:////a/study.db"
