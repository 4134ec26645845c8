"""The commands that look at a dataset: what they print, what they write, and what they refuse."""

import json
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import typer
from typer.testing import CliRunner, Result

from data.boxes import Boxes
from data.dataset import Dataset
from data.drawing import track_colour
from data.errors import DatasetError, InputError
from data.manifest import Split
from model.checkpoint import Checkpoint, save_checkpoint
from model.initial import initial_detector
from model.predictions.files import PredictionFormat, write_predictions
from model.predictions.predicted_boxes import PredictedBoxes, RecordingPredictions
from model.trial_config import TrialConfig
from tuner.cli_show import data_summary, show

app = typer.Typer()
app.command("show")(show)
app.command("data")(data_summary)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, catch_exceptions=True)


def picture(name: str) -> npt.NDArray[np.uint8]:
    image: npt.NDArray[np.uint8] | None = cv2.imread(name)
    assert image is not None
    return image


def refusal(*arguments: str) -> str:
    """What a command that is refused says; the program prints it as one line and ends with 2."""
    result = run(*arguments)
    assert isinstance(result.exception, InputError), result.output
    assert result.output == ""
    return str(result.exception)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_picture_is_named_after_its_recording_and_its_path_is_printed(tiny_dataset: Dataset, here: Path) -> None:
    result = run("show", tiny_dataset.location, "val_day_0001")
    assert result.output == "val_day_0001.png\n"
    assert picture("val_day_0001.png").shape[1] == 96 * 9  # at least 800 px wide
    assert [path.name for path in here.iterdir()] == ["val_day_0001.png"]


def test_a_recording_named_with_its_split_is_written_here(tiny_dataset: Dataset, here: Path) -> None:
    assert run("show", tiny_dataset.location, "val/val_day_0001").output == "val_day_0001.png\n"
    assert (here / "val_day_0001.png").exists()


@pytest.mark.parametrize("ending", ["mp4", "gif", "MP4"])
def test_a_clip_has_25_images_a_second(tiny_dataset: Dataset, here: Path, ending: str) -> None:
    arguments = ("show", tiny_dataset.location, "val_day_0001", "--at", "0.2", "--seconds", "0.4")
    result = run(*arguments, "--out", f"new/clip.{ending}")
    assert result.output == f"new/clip.{ending}\n"
    assert cv2.VideoCapture(f"new/clip.{ending}").get(cv2.CAP_PROP_FRAME_COUNT) == 10


def test_a_clip_without_a_length_shows_five_seconds_or_all_there_is(tiny_dataset: Dataset, here: Path) -> None:
    run("show", tiny_dataset.location, "val_day_0001", "--out", "clip.gif")
    assert cv2.VideoCapture("clip.gif").get(cv2.CAP_PROP_FRAME_COUNT) == 25  # the recording is 1 s long


def test_a_longer_window_shows_more_events(tiny_dataset: Dataset, here: Path) -> None:
    for window, name in (("10", "short.png"), ("200", "long.png")):
        run("show", tiny_dataset.location, "val_day_0001", "--at", "0.5", "--window-ms", window, "--out", name)
    drawn = [(picture(name)[30:] != 255).any(axis=2).sum() for name in ("short.png", "long.png")]
    assert drawn[1] > 1.5 * drawn[0]


@pytest.mark.parametrize(
    ("options", "says"),
    [(["--at", "7"], "goes from 0 to 0.99"),
     (["--at", "-1"], "lies outside"),
     (["--out", "picture.jpg"], "must end in .png, .mp4 or .gif"),
     (["--seconds", "3"], "--seconds=3 is the length of a clip"),
     (["--seconds", "0", "--out", "clip.gif"], "--seconds=0 must lie above 0"),
     (["--window-ms", "0"], "--window-ms=0 must lie between 1 and 60000")],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_a_wrong_option_is_refused_and_nothing_is_written(
    tiny_dataset: Dataset, here: Path, options: list[str], says: str
) -> None:
    assert says in refusal("show", tiny_dataset.location, "val_day_0001", *options)
    assert list(here.iterdir()) == []


def test_an_unknown_recording_is_answered_with_the_nearest(tiny_dataset: Dataset) -> None:
    assert "did you mean val_day_0001" in refusal("show", tiny_dataset.location, "val_day_1")


def test_a_folder_that_is_no_dataset_is_refused(tmp_path: Path) -> None:
    for arguments in (("show", str(tmp_path), "a"), ("data", str(tmp_path))):
        assert isinstance(run(*arguments).exception, DatasetError)


def test_the_numbers_of_a_dataset_come_as_json_alone(tiny_dataset: Dataset) -> None:
    printed = json.loads(run("data", tiny_dataset.location, "--json").output)
    # Four recordings, each of two objects with an event every 120 µs in 1 s, both labelled at 18 times.
    assert printed["all"]["recordings"] == 4
    assert printed["all"]["events"] == 4 * 2 * (1_000_000 // 120)
    assert printed["splits"]["val"]["boxes"] == {"car": 36, "pedestrian": 36}
    assert printed["splits"]["train"]["label_interval_ms"] == 50.0


def test_the_numbers_of_a_dataset_come_as_a_table(tiny_dataset: Dataset) -> None:
    lines = run("data", tiny_dataset.location).output.splitlines()
    rows = {cells[0]: cells[1:] for line in lines if len(cells := [cell.strip() for cell in line.split("│")[1:-1]]) > 1}
    assert rows["recordings"] == ["2", "2", "4"]
    assert rows["light"] == ["1 day, 1 night", "1 day, 1 night", "2 day, 2 night"]
    assert rows["events"] == ["33,332", "33,332", "66,664"]
    assert rows["car boxes"] == ["36", "36", "72"]
    assert rows["all boxes"] == ["72", "72", "144"]


def test_histograms_are_written_beside_what_is_printed(tiny_dataset: Dataset, here: Path) -> None:
    assert run("data", tiny_dataset.location, "--out", "data.png").output.endswith("data.png\n")
    assert picture("data.png").shape[1] > 1000
    assert json.loads(run("data", tiny_dataset.location, "--out", "data.png", "--json").output)["width"] == 96
    assert "must end in .png" in refusal("data", tiny_dataset.location, "--out", "data.pdf")


def predictions_folder(dataset: Dataset, folder: Path, written_as: PredictionFormat) -> Path:
    """One box of track 5 at the first label time of val_day_0001."""
    (shard,) = [shard for shard in dataset.shards(Split.VAL) if shard.name == "val_day_0001"]
    time_us = shard.boxes.times()[:1]
    box = Boxes(time_us, np.array([[30, 20, 40, 30]], np.float32), np.array([0]), np.array([5]))
    found = PredictedBoxes(box, np.array([0.9], np.float32))
    recording = RecordingPredictions(shard.name, time_us, shard.boxes.at(int(time_us[0])), found)
    write_predictions([recording], dataset.label_set, dataset.size, folder, written_as)
    return folder


@pytest.mark.parametrize("written_as", list(PredictionFormat))
def test_predictions_in_a_folder_are_drawn_in_the_colour_of_their_track(
    tiny_dataset: Dataset, here: Path, written_as: PredictionFormat
) -> None:
    folder = predictions_folder(tiny_dataset, here / "found", written_as)
    at = ("--at", "0.1")
    run("show", tiny_dataset.location, "val_day_0001", *at, "--predictions", str(folder), "--out", "found.png")
    run("show", tiny_dataset.location, "val_day_0001", *at, "--out", "labels.png")
    drawn = [(picture(name) == track_colour(5)).all(axis=2).sum() for name in ("found.png", "labels.png")]
    assert drawn[0] > 4 * 9 * 30
    assert drawn[1] == 0


def test_a_checkpoint_finds_boxes_for_a_clip(tiny_dataset: Dataset, here: Path) -> None:
    config = TrialConfig()
    detector = initial_detector(config, tiny_dataset.label_set).eval()
    save_checkpoint(
        Checkpoint(detector, config, tiny_dataset.label_set, tiny_dataset.size, 0, {}), here / "x.safetensors"
    )
    arguments = ("--predictions", "x.safetensors", "--at", "0.3", "--seconds", "0.2", "--out", "clip.gif")
    assert run("show", tiny_dataset.location, "val_day_0001", *arguments).output == "clip.gif\n"
    assert (here / "clip.gif").stat().st_size > 1000


def test_a_folder_without_predictions_of_the_recording_is_refused(tiny_dataset: Dataset, here: Path) -> None:
    folder = str(predictions_folder(tiny_dataset, here / "found", PredictionFormat.COCO))
    said = refusal("show", tiny_dataset.location, "val_night_0001", "--predictions", folder)
    assert said == f"{folder}: has predictions of val_day_0001, not of val_night_0001"
    (here / "empty").mkdir()
    assert "holds no predictions" in refusal("show", tiny_dataset.location, "val_day_0001", "--predictions", "empty")
