"""The command line: exit codes, one clear line for a mistake, JSON alone on stdout, and no chatter of Ray's."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tuner.cli import main

SPEC = """\
name: real
base: {training: {batch_size: 1}}
space: {loss.box: {uniform: [2, 15]}}
scheduler: {grace: 1, reduction_factor: 2}
budget: {trials: 2, epochs: 2}
"""
COMMAND = [sys.executable, "-c", "from tuner.cli import main; main()"]


def environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS")}
    # A server that is gone: this file is not about MLflow, and making a database takes 10 s.
    return {**kept, "MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "OMP_NUM_THREADS": "1", "HOME": str(home)}


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


Spiketune = Callable[..., Done]


@pytest.fixture
def spiketune(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Spiketune:
    """Runs a command in this process: importing everything anew for each would take minutes."""

    def run(*arguments: str) -> Done:
        monkeypatch.chdir(home)
        monkeypatch.setattr(sys, "argv", ["spiketune", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Done(int(ended.value.code or 0), printed.out, printed.err)

    return run


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, dataset: Path) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    (folder / "spec.yaml").write_text(SPEC)
    shutil.copytree(dataset, folder / "dataset")
    return folder


@pytest.fixture(scope="module")
def searched(home: Path) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "search", "spec.yaml", "--data", "dataset", "--out", "out", "--no-report", "--json"]
    return subprocess.run(command, cwd=home, env=environment(home), capture_output=True, text=True, timeout=180)


def test_a_search_ends_with_0_and_prints_json_alone_on_stdout(searched: subprocess.CompletedProcess[str]) -> None:
    assert searched.returncode == 0, searched.stderr
    printed = json.loads(searched.stdout)
    assert set(printed["trials"].values()) <= {0, 1, 2}
    assert sum(printed["trials"].values()) == 2
    assert printed["default"].keys() >= {"map", "map50"}


def test_progress_is_plain_lines_and_nothing_of_ray_s_reaches_the_terminal(
    searched: subprocess.CompletedProcess[str], home: Path
) -> None:
    lines = searched.stderr.splitlines()
    assert any(line.startswith("trial 0 epoch 2/2 mAP") for line in lines)
    # Every line is one of ours: a message of the search, or a trial's.
    ours = ("search real-", "plan: ", "recording to MLflow", "MLflow cannot", "starting Ray", "trial ", "estimate: ")
    assert [line for line in lines if not line.startswith(ours)] == []
    assert "Started a local Ray instance" in (home / "out" / "ray.log").read_text()


def test_best_and_evaluate_read_what_the_search_wrote(
    searched: subprocess.CompletedProcess[str], spiketune: Spiketune
) -> None:
    best = spiketune("best", "out", "--json")
    assert best.code == 0, best.err
    printed, searched_json = json.loads(best.out), json.loads(searched.stdout)
    assert printed["best"] == searched_json["best"]
    evaluated = spiketune("evaluate", printed["best"]["checkpoint"], "--data", "dataset", "--json")
    assert evaluated.code == 0, evaluated.err
    # The same windows, the same weights: the same number.
    assert json.loads(evaluated.out)["map"] == pytest.approx(printed["best"]["map"], abs=1e-9)
    assert json.loads(evaluated.out).keys() >= {"map", "map50", "map75", "per_class"}


def test_best_yaml_trains_again_to_the_same_numbers(searched: subprocess.CompletedProcess[str], home: Path) -> None:
    command = [*COMMAND, "train", "--data", "dataset", "--config", "out/best.yaml", "--out", "again", "--json"]
    trained = subprocess.run(command, cwd=home, env=environment(home), capture_output=True, text=True, timeout=180)
    assert trained.returncode == 0, trained.stderr
    assert json.loads(trained.stdout)["map"] == pytest.approx(json.loads(searched.stdout)["best"]["map"], abs=1e-9)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["search", "spec.yaml", "--data", "nowhere"], "nowhere: holds no manifest.json"),
        (["search", "nowhere.yaml", "--data", "dataset"], "spiketune: nowhere.yaml: cannot be read"),
        (["search", "spec.yaml", "--data", "dataset", "--out", "."], "spiketune: .: is not empty"),
        (["best", "dataset"], "spiketune: dataset: holds no search.json"),
        (["train", "--data", "dataset", "--out", "new", "--set", "los.box=3"], "did you mean 'loss.box'?"),
        (["evaluate", "spec.yaml", "--data", "dataset"], "spiketune: spec.yaml"),
        (["evaluate", "spec.yaml", "--data", "dataset", "--split", "dev"], "must be one of train, val, test"),
        (["search", "spec.yaml"], "Missing option '--data'"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_exit_code_2(spiketune: Spiketune, arguments: list[str], says: str) -> None:
    done = spiketune(*arguments)
    assert done.code == 2
    assert says in done.err
    assert "Traceback" not in done.err
    assert done.out == ""


def test_help_comes_without_loading_the_heavy_libraries() -> None:
    code = "import sys, tuner.cli; print([m for m in ('torch', 'ray', 'mlflow', 'optuna', 'h5py') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
