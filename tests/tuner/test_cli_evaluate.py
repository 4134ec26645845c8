"""The command that measures a checkpoint: what it prints and writes, and what it refuses before any work."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from data.dataset import Dataset
from data.errors import InputError
from model.prediction import Validation
from model.predictions.files import PredictionFormat, read_predictions
from model.training.run import train
from model.training.run_folder import LAST
from model.trial_config import TrialConfig
from tuner.cli_evaluate import evaluate

app = typer.Typer()
app.command()(evaluate)


@pytest.fixture(scope="module")
def checkpoint(tiny_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    leaves = {"training.epochs": 2, "training.windows_per_epoch": 16, "training.compile": "off", "optimizer.lr": 5e-3}
    folder = tmp_path_factory.mktemp("trained")
    list(train(TrialConfig().with_leaves(leaves, "test"), tiny_dataset, folder, Validation(windows=2), "cpu"))
    return folder / LAST


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=True)


def measured(*arguments: str | Path) -> dict[str, object]:
    result = run(*arguments, "--json")
    assert result.exception is None, result.exception
    scores: dict[str, object] = json.loads(result.stdout)
    return scores


def refusal(*arguments: str | Path) -> str:
    result = run(*arguments)
    assert isinstance(result.exception, InputError), result.output
    return str(result.exception)


def test_all_the_protocols_figures_are_in_the_json(checkpoint: Path, tiny_dataset: Dataset) -> None:
    scores = measured(checkpoint, "--data", tiny_dataset.location)
    assert scores.keys() >= {"map", "map50", "map75", "per_class", "day", "night", "unfiltered", "ece", "confusion"}
    assert "tracking" not in scores
    assert "precision_recall" not in scores


def test_spike_driven_the_figures_are_the_same(checkpoint: Path, tiny_dataset: Dataset) -> None:
    counted = measured(checkpoint, "--data", tiny_dataset.location)
    driven = measured(checkpoint, "--data", tiny_dataset.location, "--spike-driven")
    assert driven["map"] == pytest.approx(counted["map"], abs=1e-5)


def test_tracking_figures_and_curves_come_when_they_are_asked_for(
    checkpoint: Path, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    scores = measured(
        checkpoint, "--data", tiny_dataset.location, "--tracking", "--set", "tracking.embedding_weight=0",
        "--curves", tmp_path / "curves.png",
    )  # fmt: skip
    tracking = scores["tracking"]
    assert isinstance(tracking, dict)
    assert tracking.keys() >= {"hota", "det_a", "ass_a", "mota", "idf1", "switches", "fragments"}
    assert scores["precision_recall"]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("written_as", list(PredictionFormat))
def test_predictions_are_written_and_read_back(
    checkpoint: Path, tiny_dataset: Dataset, tmp_path: Path, written_as: PredictionFormat
) -> None:
    folder = tmp_path / "found"
    run(checkpoint, "--data", tiny_dataset.location, "--predictions", folder, "--format", written_as.value)
    found = read_predictions(folder, tiny_dataset.label_set, written_as)
    assert found.keys() == {"val_day_0001", "val_night_0001"}
    assert sum(len(part) for part in found.values()) > 0


def test_a_table_is_printed_for_people(checkpoint: Path, tiny_dataset: Dataset) -> None:
    lines = run(checkpoint, "--data", tiny_dataset.location, "--tracking").output.splitlines()
    assert lines[0].endswith("18 windows")
    told = {line.split()[0] for line in lines[1:]}
    assert told >= {"map", "map50", "ece", "day", "unfiltered", "class", "hota", "switches"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--split", "dev"), "must be one of train, val, test"),
        (("--predictions", "new", "--format", "xml"), "must be one of npy, coco, mot"),
        (("--format", "mot"), "is of --predictions, which are not asked for"),
        (("--picture", "windows.jpg"), "a name that ends in .png"),
        (("--curves", "curves.pdf"), "a name that ends in .png"),
        (("--predictions", "."), "is there already"),
        (("--set", "tracking.high_score=0.5"), "is read by --tracking, which is not asked for"),
        (("--tracking", "--set", "loss.box=3"), "only tracking.* can be set here"),
        (("--tracking", "--set", "tracking.high_score=2"), "tracking.high_score"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(
    checkpoint: Path, tiny_dataset: Dataset, arguments: tuple[str, ...], said: str
) -> None:
    assert said in refusal(checkpoint, "--data", tiny_dataset.location, *arguments)
