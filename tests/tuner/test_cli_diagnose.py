"""The diagnosis' command: exit codes, a table and the cause for people, JSON alone on stdout for machines."""

import json
from pathlib import Path

import pytest
import torch
import typer
from torch import nn
from typer.testing import CliRunner, Result

from data.boxes import label_set
from data.dataset import Dataset
from data.errors import DatasetError, InputError
from data.events import SensorSize
from data.manifest import Split
from model.checkpoint import Checkpoint, save_checkpoint
from model.diagnosis.learning_signs import training_batches
from model.initial import initial_detector
from model.trial_config import TrialConfig
from tuner.cli_diagnose import diagnose

CONFIG = TrialConfig().with_leaves({"data.time_steps": 1, "model.width": 0.5, "training.compile": "off"}, "")

app = typer.Typer()
app.command()(diagnose)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def settled(tiny_dataset: Dataset) -> Checkpoint:
    """An untrained detector whose norms know the data, so that all layers fire, and whose weights have moved."""
    detector = initial_detector(CONFIG, tiny_dataset.label_set).train()
    with torch.no_grad():
        for value in detector.parameters():
            value.mul_(1.01)
    norms = [module for module in detector.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 0.9
    with torch.no_grad():
        for batch in training_batches(CONFIG, tiny_dataset.shards(Split.TRAIN), 1):
            detector(batch.frames_TBCHW)
    for norm in norms:
        norm.momentum = 0.1
    return Checkpoint(detector.eval(), CONFIG, tiny_dataset.label_set, SensorSize(96, 64), 1, {"lr": 0.001})


@pytest.fixture
def sound(settled: Checkpoint, tmp_path: Path) -> Path:
    path = tmp_path / "sound.safetensors"
    save_checkpoint(settled, path)
    return path


@pytest.fixture
def unmoved(tiny_dataset: Dataset, tmp_path: Path) -> Path:
    path = tmp_path / "unmoved.safetensors"
    detector = initial_detector(CONFIG, tiny_dataset.label_set)
    save_checkpoint(Checkpoint(detector, CONFIG, tiny_dataset.label_set, SensorSize(96, 64), 7, {"lr": 0.0}), path)
    return path


def test_without_an_error_it_ends_with_0_and_shows_every_layer(sound: Path, tiny_dataset: Dataset) -> None:
    done = run(sound, "--data", tiny_dataset.location, "--device", "cpu")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert any("backbone.stages.0.1.split.0" in line for line in lines)
    assert any(line.startswith("gradients: backbone.stem ") for line in lines)
    assert any(line == "all of val: 0 of 36 true boxes below the evaluation's filter" for line in lines)
    assert not any(line.startswith("error") for line in lines)
    assert done.stderr == ""


def test_a_fault_ends_with_1_and_the_cause_stands_last_and_first_among_the_findings(
    unmoved: Path, tiny_dataset: Dataset
) -> None:
    done = run(unmoved, "--data", tiny_dataset.location, "--split", "train", "--device", "cpu")
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert next(line for line in lines if line.startswith(("error", "warning"))) == "error learning-rate"
    assert lines[-1].startswith(
        "error learning-rate: weights: after epoch 7 they have moved by 0.0e+00 of their length"
    )
    assert any(line.startswith("  -> raise optimizer.lr") for line in lines)
    assert any(line.startswith("18 windows of train: ") for line in lines)


def test_json_is_alone_on_stdout_and_tells_all(unmoved: Path, tiny_dataset: Dataset) -> None:
    done = run(unmoved, "--data", tiny_dataset.location, "--device", "cpu", "--json")
    assert done.exit_code == 1
    printed = json.loads(done.stdout)
    assert printed.keys() == {"healthy", "cause", "findings", "measured"}
    assert (printed["healthy"], printed["cause"]) == (False, "learning-rate")
    first = printed["findings"][0]
    assert first.keys() == {"severity", "cause", "where", "what", "value", "limit", "remedy"}
    assert (first["severity"], first["where"], first["value"]) == ("error", "weights", 0.0)
    measured = printed["measured"]
    assert measured["epoch"] == 7
    assert measured["layers"][0].keys() == {"name", "rate", "training_rate", "levels", "silent"}
    assert next(iter(measured["learning"]["gradients"])) == "backbone.stem"
    assert measured["results"]["boxes"] == 36


def test_another_label_set_is_a_finding_and_no_wrong_input(
    settled: Checkpoint, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "one.safetensors"
    detector = initial_detector(CONFIG, label_set("etram8"))
    save_checkpoint(Checkpoint(detector, CONFIG, label_set("etram8"), SensorSize(96, 64), 0, {}), path)
    done = run(path, "--data", tiny_dataset.location, "--device", "cpu", "--json")
    assert done.exit_code == 1
    printed = json.loads(done.stdout)
    assert printed["cause"] == "label-set"
    assert printed["measured"]["learning"] is None
    assert run(path, "--data", tiny_dataset.location, "--device", "cpu").exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "kind", "says"),
    [
        (["--split", "dev"], InputError, "--split dev: must be one of train, val, test"),
        (["--split", "test"], DatasetError, "split 'test' holds no recording"),
    ],
)
def test_wrong_input_is_an_input_error(
    sound: Path, tiny_dataset: Dataset, arguments: list[str], kind: type[InputError], says: str
) -> None:
    done = run(sound, "--data", tiny_dataset.location, "--device", "cpu", *arguments)
    assert isinstance(done.exception, kind)  # for which `main` ends with 2
    assert says in str(done.exception)
    assert done.stdout == ""


def test_a_checkpoint_that_is_not_there_is_an_input_error(tiny_dataset: Dataset, tmp_path: Path) -> None:
    done = run(tmp_path / "none.safetensors", "--data", tiny_dataset.location)
    assert isinstance(done.exception, DatasetError)
