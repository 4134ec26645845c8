"""Real Ray searches over trainings that are formulas: what the study, MLflow and the folder hold afterwards."""

import json
import os
import platform
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run

from data.dataset import Dataset
from data.errors import DatasetError, Diverged, InputError, TrainingError
from model.prediction import Validation
from model.training.report import EpochReport
from model.training.run_folder import BEST, LAST
from model.trial_config import TrialConfig
from tuner import tracking
from tuner.result import SearchResult, read_result
from tuner.search import run_search
from tuner.spec.search_spec import SearchSpec, load_spec
from tuner.study.record import TrialRecord, TrialState
from tuner.trial import TrainFunction

EPOCHS, TRIALS, CRASHING = 4, 8, 2
SCHEDULER = "name: asha, grace: 1, reduction_factor: 2"
SPEC = f"""\
name: formula
base: {{loss.box: 1}}
space:
  loss.box: {{uniform: [2, 15]}}
  optimizer.name: {{choice: [sgd, adamw]}}
sampler: {{name: random}}
scheduler: {{{SCHEDULER}}}
budget: {{trials: {TRIALS}, epochs: {EPOCHS}}}
resources: {{max_concurrent: 2}}
"""


def formula(box: float, epoch: int) -> float:
    """Rises by halves towards box / 20, and falls back in the last epoch, so that the best epoch is the one before."""
    return box / 20 * (1 - 0.5**epoch) * (0.5 if epoch == EPOCHS else 1.0)


def training(
    calls: Path, crash: Callable[[int], bool], diverging: Mapping[int, int] = {}, patience: int = 1_000_000
) -> TrainFunction:
    """A training by formula, which ends by itself after `patience` epochs. Travels to workers by value.

    `crash` tells by the number of the call whether it raises, `diverging` in which epoch it diverges. A file in `calls`
    for each call tells the worker's process.
    """

    def claim(call: int = 0) -> int:
        try:
            with (calls / str(call)).open("x") as file:
                file.write(str(os.getpid()))
        except FileExistsError:
            return claim(call + 1)
        return call

    def report(box: float, epoch: int, epochs: int) -> EpochReport:
        value = box / 20 * (1 - 0.5**epoch) * (0.5 if epoch == epochs else 1.0)
        return EpochReport(
            epoch=epoch,
            map=value,
            map50=value + 0.1,
            map75=value / 2,
            best=epoch != epochs,
            last=epoch == min(epochs, patience),
            loss={"box": 1 / epoch},
            lr=0.01,
            windows_per_second=10.0,
            waiting=0.01,
            seconds=0.1,
            steps=50,
            batch_size=4,
            skipped_steps=0,
            worker_restarts=0,
            bad_shards=0,
            diagnosis=f"seen after epoch {epoch}" if epoch < 3 else None,
        )

    def train(
        config: TrialConfig, dataset: Dataset, out: Path, validation: Validation, *, resume: bool
    ) -> Iterator[EpochReport]:
        call = claim()
        if crash(call):
            raise RuntimeError("this one crashes")
        for epoch in range(1, min(config.training.epochs, patience) + 1):
            if diverging.get(call) == epoch:
                raise Diverged("loss term box is not finite", "box")
            told = report(config.loss.box, epoch, config.training.epochs)
            for name in (BEST, LAST) if told.best else (LAST,):
                (out / name).write_text(f"{config.loss.box} {epoch}")
            yield told

    return train


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working folder with its own MLflow store."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("RAY_ADDRESS", raising=False)
        yield folder


@pytest.fixture(scope="module")
def spec(home: Path) -> SearchSpec:
    (home / "spec.yaml").write_text(SPEC)
    return load_spec(home / "spec.yaml")


@pytest.fixture(scope="module")
def result(home: Path, spec: SearchSpec, dataset: Path) -> SearchResult:
    """Eight trials, of which the third to start crashes."""
    (home / "calls").mkdir()
    train = training(home / "calls", lambda call: call == CRASHING)
    return run_search(spec, dataset, home / "out", report=False, train_function=train)


@pytest.fixture(scope="module")
def client(home: Path) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{home / 'runs' / 'mlflow.db'}")


@pytest.fixture(scope="module")
def runs(client: MlflowClient, result: SearchResult) -> list[Run]:
    experiment = client.get_experiment_by_name("spiketune")
    found = client.search_runs([experiment.experiment_id], f"tags.search_id = '{result.search_id}'")
    return sorted(found, key=lambda run: int(run.data.tags.get("trial", -1)))  # the parent first


def box(trial: TrialRecord) -> float:
    return float(trial.config["loss.box"])


def test_every_trial_ends_in_a_true_state(result: SearchResult) -> None:
    states = result.states()
    assert (states["running"], states["failed"], sum(states.values())) == (0, 1, TRIALS)
    assert states["stopped"] >= 1
    for trial in result.trials:
        if trial.state is not TrialState.FAILED:
            assert (trial.epochs == EPOCHS) == (trial.state is TrialState.COMPLETE)


def test_every_trial_keeps_the_last_diagnosis_that_was_made_of_it(result: SearchResult, runs: list[Run]) -> None:
    ended = [trial for trial in result.trials if trial.epochs]
    assert {trial.diagnosis for trial in ended} <= {"seen after epoch 1", "seen after epoch 2"}
    assert {trial.diagnosis for trial in ended if trial.epochs >= 2} == {"seen after epoch 2"}
    for run in runs[1:]:
        trial = result.trials[int(run.data.tags["trial"])]
        assert run.data.tags.get("diagnosis") == trial.diagnosis


def test_the_default_comes_first_samples_nothing_and_is_never_stopped(result: SearchResult) -> None:
    default = result.trials[0]
    # Its box weight of 1 makes it the worst of all, and still it has its whole budget.
    assert (default.number, default.sampled, box(default)) == (0, {}, 1.0)
    assert (default.state, default.epochs) == (TrialState.COMPLETE, EPOCHS)
    assert result.as_dict()["default"]["map"] == pytest.approx(1 / 20 * (1 - 0.5**3))


def test_a_trial_is_worth_its_best_epoch(result: SearchResult) -> None:
    for trial in result.trials:
        if trial.state is TrialState.FAILED:
            continue
        epoch = min(trial.epochs, EPOCHS - 1)
        assert trial.best_epoch == epoch
        assert trial.scores is not None
        assert trial.scores["map"] == pytest.approx(formula(box(trial), epoch))


def test_the_checkpoint_is_that_of_the_best_epoch_of_the_winner(result: SearchResult) -> None:
    best = result.best
    assert best is not None
    for trial in result.trials:
        if trial.checkpoint is not None:
            assert (result.folder / trial.checkpoint).read_text() == f"{box(trial)} {trial.best_epoch}"
    assert (result.folder / "best.safetensors").read_text() == f"{box(best)} {best.best_epoch}"


def test_the_winner_is_the_best_of_those_with_the_whole_budget(result: SearchResult) -> None:
    complete = [trial for trial in result.trials if trial.state is TrialState.COMPLETE]
    assert result.best is not None
    assert box(result.best) == max(box(trial) for trial in complete)
    winner = TrialConfig.parse(yaml.safe_load((result.folder / "best.yaml").read_text()), "best.yaml")
    assert winner.leaves() == result.best.config


def test_a_crash_is_recorded_with_its_last_line_and_the_search_goes_on(result: SearchResult) -> None:
    (failed,) = [trial for trial in result.trials if trial.state is TrialState.FAILED]
    assert failed.error == "RuntimeError: this one crashes"
    assert failed.scores is None


def test_the_result_is_the_same_from_the_folder_alone(result: SearchResult) -> None:
    printed = result.as_dict()
    assert set(printed) >= {"search_id", "trials", "best", "default"}
    assert set(printed["best"]) >= {"number", "map", "map50", "config", "checkpoint"}
    assert set(printed["default"]) >= {"map", "map50"}
    assert json.loads((result.folder / "result.json").read_text()) == printed
    assert read_result(result.folder).as_dict() == printed


def test_mlflow_holds_one_parent_and_a_child_for_each_trial(result: SearchResult, runs: list[Run]) -> None:
    parent, *children = runs
    assert parent.info.status == "FINISHED"
    assert [int(child.data.tags["trial"]) for child in children] == list(range(TRIALS))
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {parent.info.run_id}
    best = result.best
    assert best is not None
    assert best.scores is not None
    assert parent.data.metrics["best_map"] == best.scores["map"]
    assert parent.info.run_name == f"{result.search_id} mAP {best.scores['map']:.4g}"
    assert parent.data.params["best.loss.box"] == str(box(best))


def test_a_child_run_tells_the_true_state_and_all_leaves(result: SearchResult, runs: list[Run]) -> None:
    status = {"complete": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
    for trial, child in zip(result.trials, runs[1:], strict=True):
        assert child.data.tags["state"] == trial.state.value
        assert child.info.status == status[trial.state.value]
        assert child.data.params == {leaf: str(value) for leaf, value in trial.config.items()}


def test_an_epoch_is_one_entry_of_each_metric_written_at_once(
    result: SearchResult, runs: list[Run], client: MlflowClient
) -> None:
    child, trial = runs[1], result.trials[0]
    history = {
        name: client.get_metric_history(child.info.run_id, name) for name in ("map", "map50", "training/loss_box")
    }
    assert [entry.step for entry in history["map"]] == [1, 2, 3, 4]
    assert [entry.value for entry in history["map"]] == [formula(box(trial), epoch) for epoch in (1, 2, 3, 4)]
    times = [[entry.timestamp for entry in entries] for entries in history.values()]
    assert times[0] == times[1] == times[2]
    assert not {"pid", "done", "training_iteration"} & set(child.data.metrics)


def test_mlflow_keeps_the_specs_and_the_checkpoints(
    result: SearchResult, runs: list[Run], client: MlflowClient
) -> None:
    assert result.best is not None
    assert {file.path for file in client.list_artifacts(runs[0].info.run_id)} == {
        "best.yaml",
        "spec.yaml",
        "result.json",
        "learning_curves.png",
        "optimisation_history.png",
    }
    won = result.best.number
    for number, files in ((0, [BEST]), (won, [BEST, "best.yaml"])):
        assert [file.path for file in client.list_artifacts(runs[number + 1].info.run_id)] == files


def test_a_search_never_writes_into_a_folder_with_something_in_it(
    result: SearchResult, spec: SearchSpec, dataset: Path
) -> None:
    with pytest.raises(InputError, match="is not empty"):
        run_search(spec, dataset, result.folder)


def test_a_missing_dataset_is_refused_before_anything_is_written(spec: SearchSpec, home: Path) -> None:
    with pytest.raises(DatasetError):
        run_search(spec, home / "nowhere", home / "never")
    assert not (home / "never").exists()


def test_three_trials_with_the_same_error_end_the_search(
    result: SearchResult, spec: SearchSpec, dataset: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "more").mkdir()
    train = training(home / "more", lambda _: True)
    # Also without MLflow: a server that is gone is noted, and the search goes its way.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr(tracking, "FINISH_S", 1.0)
    with pytest.raises(TrainingError, match="3 trials in a row failed with the same error: RuntimeError: this one"):
        run_search(spec, dataset, home / "failing", report=False, train_function=train)
    failing = read_result(home / "failing")
    assert 3 <= len(failing.trials) < TRIALS
    # One more may have begun meanwhile; a resumed search would go on with it.
    states = failing.states()
    assert (states["failed"], states["failed"] + states["preempted"]) == (3, len(failing.trials))
    summary = json.loads((home / "failing" / "result.json").read_text())
    assert "wait in" in summary["notes"][0]


def test_trials_diverge_or_end_early_one_after_the_other_in_one_worker(
    result: SearchResult, dataset: Path, home: Path, client: MlflowClient
) -> None:
    """The first three diverge with the same words, which is no bug; the fourth diverges after an epoch."""
    (home / "some.yaml").write_text(
        SPEC.replace("max_concurrent: 2", "max_concurrent: 1")
        .replace("trials: 8", "trials: 5")
        .replace(SCHEDULER, "name: none")
    )
    calls = home / "calls of some"
    calls.mkdir()
    train = training(calls, lambda _: False, {0: 1, 1: 1, 2: 1, 3: 2}, patience=2)
    some = run_search(load_spec(home / "some.yaml"), dataset, home / "some", report=False, train_function=train)
    assert some.halted is None
    assert [trial.state for trial in some.trials] == [TrialState.DIVERGED] * 4 + [TrialState.COMPLETE]
    assert [trial.epochs for trial in some.trials] == [0, 0, 0, 1, 2]
    assert {trial.node for trial in some.trials} == {platform.node()}  # also of those that came to nothing
    assert [trial.error for trial in some.trials] == ["loss term box is not finite"] * 4 + [None]
    assert some.trials[3].scores is not None
    assert some.best == some.trials[4]
    assert len({(calls / str(call)).read_text() for call in range(5)}) == 1
    experiment = client.get_experiment_by_name("spiketune")
    children = client.search_runs(
        [experiment.experiment_id], f"tags.search_id = '{some.search_id}' and tags.kind = 'trial'"
    )
    told = {child.data.tags["trial"]: (child.info.status, child.data.tags["state"]) for child in children}
    assert told == {**{str(n): ("FAILED", "diverged") for n in range(4)}, "4": ("FINISHED", "complete")}


def test_ctrl_c_ends_trials_and_runs_in_order_and_keeps_what_was_reached(
    result: SearchResult, dataset: Path, home: Path, client: MlflowClient
) -> None:
    (home / "long.yaml").write_text(SPEC.replace(f"epochs: {EPOCHS}", "epochs: 100000"))
    (home / "calls of the long one").mkdir()
    train = training(home / "calls of the long one", lambda _: False)
    checkpoints = home / "cut" / "trials" / "0001"
    stop = threading.Event()

    def interrupt() -> None:
        while not stop.wait(0.1):
            if checkpoints.is_dir() and any(checkpoints.glob("checkpoint_*")):
                os.kill(os.getpid(), signal.SIGINT)
                return

    watcher = threading.Thread(target=interrupt)
    watcher.start()
    try:
        cut = run_search(load_spec(home / "long.yaml"), dataset, home / "cut", report=False, train_function=train)
    finally:
        stop.set()
        watcher.join()
    assert cut.halted == "interrupted"
    assert {trial.state for trial in cut.trials} == {TrialState.PREEMPTED}
    assert (home / "cut" / "best.safetensors").is_file()
    experiment = client.get_experiment_by_name("spiketune")
    runs = client.search_runs([experiment.experiment_id], f"tags.search_id = '{cut.search_id}'")
    assert {run.info.status for run in runs} == {"KILLED"}
