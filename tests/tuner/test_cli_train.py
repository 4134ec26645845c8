"""`spiketune train`: what it shows, what it leaves, how it begins and goes on."""

import json
import logging
import resource
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from data.dataset import Dataset
from model.checkpoint import load_checkpoint
from model.training.report import StepReport, StepSeconds
from model.watching.history import read_history
from tuner import train_display
from tuner.cli import app
from tuner.logs import logged

SMALL = ["data.time_steps=2", "training.batch_size=2", "training.windows_per_epoch=6", "training.compile=off"]


def command(dataset: Dataset, out: Path, *more: str) -> list[str]:
    given = [word for leaf in SMALL for word in ("--set", leaf)]
    return ["train", "--data", dataset.location, "--out", str(out), *given, *more]


@pytest.fixture(scope="module")
def finished(tiny_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("train") / "run"
    done = CliRunner().invoke(app, command(tiny_dataset, out, "--set", "training.epochs=2", "--profile"))
    assert done.exit_code == 0, done.output
    return out, done.output


def test_it_prints_a_line_for_each_epoch_where_the_time_went_and_the_checks(finished: tuple[Path, str]) -> None:
    lines = finished[1].splitlines()
    assert [line.split()[1] for line in lines if line.startswith("epoch")] == ["1/2", "2/2"]
    assert [line.split()[0] for line in lines if line.startswith("  ")] == [
        "data",
        "forward",
        "backward",
        "optimizer",
        "evaluation",
    ]
    assert sum(line.startswith(("pass  ", "FAIL  ")) for line in lines) == 6


def test_it_leaves_all_that_tells_of_the_run(finished: tuple[Path, str], tiny_dataset: Dataset) -> None:
    out, _ = finished
    names = {"best.safetensors", "last.safetensors", "state.safetensors", "history.csv", "config.json", "results.json"}
    assert names | {"train.log", "tensorboard", "trace.json"} == {path.name for path in out.iterdir()}
    told = json.loads((out / "config.json").read_text())
    assert told["config"]["training"]["epochs"] == 2
    assert told["dataset"]["digest"] == tiny_dataset.digest
    assert told["versions"]["torch"] == torch.__version__
    results = json.loads((out / "results.json").read_text())
    assert results["epochs"] == 2
    assert set(results["checks"]) >= {"loss fell", "mAP above zero", "checkpoint readable"}
    assert "epoch 2: mAP" in (out / "train.log").read_text()


def test_a_finished_run_that_is_resumed_has_nothing_to_do_and_says_what_it_came_to(
    finished: tuple[Path, str], tiny_dataset: Dataset
) -> None:
    done = CliRunner().invoke(
        app, command(tiny_dataset, finished[0], "--set", "training.epochs=2", "--resume", "--json")
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["epoch"] in (1, 2)
    assert sum(line.startswith(("pass  ", "FAIL  ")) for line in done.stderr.splitlines()) == 6
    assert len(read_history(finished[0] / "history.csv")) == 2


def test_another_configuration_is_not_resumed(finished: tuple[Path, str], tiny_dataset: Dataset) -> None:
    done = CliRunner().invoke(app, command(tiny_dataset, finished[0], "--set", "training.epochs=3", "--resume"))
    assert done.exit_code != 0
    assert "training.epochs: 2 then, 3 now" in str(done.exception)


def test_it_begins_from_another_checkpoint_s_weights(
    finished: tuple[Path, str], tiny_dataset: Dataset, tmp_path: Path
) -> None:
    start = str(finished[0] / "last.safetensors")
    more = ["--set", "training.epochs=1", "--set", "optimizer.lr=1e-9", "--init-from", start]
    done = CliRunner().invoke(app, command(tiny_dataset, tmp_path / "tuned", *more))
    assert done.exit_code == 0, done.output
    ours = load_checkpoint(tmp_path / "tuned/last.safetensors").detector.state_dict()
    theirs = load_checkpoint(Path(start)).detector.state_dict()
    name = next(name for name, value in ours.items() if value.dim() == 4)
    torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=1e-6)
    assert "tensors taken over" in (tmp_path / "tuned/train.log").read_text()


def test_debug_logs_each_step_with_its_terms_and_its_matching(tiny_dataset: Dataset, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    more = ["--preset", "debug", "--set", "training.epochs=1", "--log-level", "debug"]
    done = CliRunner().invoke(app, command(tiny_dataset, tmp_path / "run", *more))
    torch.set_num_threads(threads)
    assert done.exit_code == 0, done.output
    log = (tmp_path / "run/train.log").read_text()
    assert "epoch 1 step 1/3: box=" in log
    assert "2 windows, " in log
    assert "% of the time steps labelled" in log


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--preset", "swift"], "--preset swift: must be one of quick, fast, accurate, debug"),
        (["--log-level", "loud"], "--log-level loud: must be one of info, debug"),
        (["--resume"], "is no folder of a run"),
        (["--resume", "--init-from", "x.safetensors"], "leave one of the two out"),
    ],
)
def test_a_wrong_option_is_one_clear_error(more: list[str], told: str, tiny_dataset: Dataset, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, command(tiny_dataset, tmp_path / "none", *more))
    assert done.exit_code != 0
    assert told in str(done.exception)


def test_a_run_that_could_not_begin_leaves_its_folder_free_for_the_next(tiny_dataset: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = CliRunner().invoke(app, command(tiny_dataset, out, "--init-from", str(tmp_path / "none.safetensors")))
    assert "no such checkpoint" in str(done.exception)
    assert list(out.iterdir()) == []


def test_a_folder_without_a_run_is_not_resumed_and_stays_as_it_is(tiny_dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear Ann")
    done = CliRunner().invoke(app, command(tiny_dataset, tmp_path, "--resume"))
    assert "is no folder of a run that has come to its first state" in str(done.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_a_store_is_not_taken_for_a_folder_of_that_name(
    tiny_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = command(tiny_dataset, tmp_path)
    given[given.index(str(tmp_path))] = "s3://bucket/run"
    done = CliRunner().invoke(app, given)
    assert "--out s3://bucket/run: must be a folder of this machine" in str(done.exception)
    assert list(tmp_path.iterdir()) == []


def test_without_a_terminal_a_long_epoch_says_in_time_where_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr("tuner.train_display.time.monotonic", lambda: clock[0])
    display = train_display.TrainDisplay(epochs=3, time_steps=4, on_stderr=False)
    with display:
        for number in range(1, 66):  # seconds
            clock[0] = number
            seconds = StepSeconds(0.1, 0.2, 0.4, 0.3)
            display.stepped(StepReport(2, number, 90, {"box": 1.5, "cls": 0.25}, 0.1, 8, 30, 0.5, seconds))
    # 8 windows of 4 steps in each second.
    assert capsys.readouterr().out.splitlines() == [
        "epoch 2/3 step 30/90 32 images/s · box 1.500 cls 0.250",
        "epoch 2/3 step 60/90 32 images/s · box 1.500 cls 0.250",
    ]


def test_the_log_has_what_the_packages_say_and_stderr_the_warnings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with logged(tmp_path / "train.log", logging.INFO):
        for name in ("data.loading", "model.training.run", "spiketune"):  # the last is the caches'
            logging.getLogger(name).info("told by %s", name)
            logging.getLogger(name).warning("warned by %s", name)
        logging.getLogger("model").debug("not at this level")
        logging.getLogger("elsewhere").warning("not ours")
    lines = (tmp_path / "train.log").read_text().splitlines()
    names = ["data.loading", "model.training.run", "spiketune"]
    assert [line.split(": ")[1] for line in lines] == [
        f"{verb} by {name}" for name in names for verb in ("told", "warned")
    ]
    assert capsys.readouterr().err.splitlines() == [f"WARNING warned by {name}" for name in names]


def test_a_log_that_cannot_be_written_is_said_once_and_ends_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = logging.getLogger("model")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))  # which the system then treats as it does a full disk
    try:
        with logged(tmp_path / "train.log", logging.INFO):
            log.info("one")
            log.info("two")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert capsys.readouterr().err == f"WARNING {tmp_path / 'train.log'}: cannot be written (File too large)\n"
