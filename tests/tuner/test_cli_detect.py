"""The command that finds boxes in a file of events: what it prints and writes, and what it refuses."""

import json
from pathlib import Path

import cv2
import mlflow
import numpy as np
import PIL.Image
import pytest
import typer
from typer.testing import CliRunner, Result

from data.boxes import Boxes
from data.errors import InputError, RecordingError
from data.events import Events
from data.simulator.etram_writer import write_events
from model.checkpoint import load_checkpoint, save_checkpoint
from model.detecting import detect as detected
from model.predictions.predicted_boxes import PredictedBoxes
from model.predictions.table_format import read_table
from tests.model.lively import LABELS, SIZE, lively_checkpoint
from tuner.cli_detect import detect

app = typer.Typer()
app.command("detect")(detect)
app.callback()(lambda: None)
LENGTH_US = 400_000


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["detect", *map(str, arguments)])


def told(*arguments: object) -> dict[str, object]:
    result = run(*arguments, "--json")
    assert result.exception is None, result.exception
    values: dict[str, object] = json.loads(result.stdout)
    return values


def refusal(*arguments: object) -> str:
    result = run(*arguments)
    assert isinstance(result.exception, InputError), result.output
    assert result.output == ""
    return str(result.exception)


@pytest.fixture(scope="module")
def events() -> Events:
    random = np.random.default_rng(3)
    t = np.sort(random.integers(0, LENGTH_US, 20_000))
    t[0], t[-1] = 0, LENGTH_US - 1
    x, y = random.integers(0, SIZE.width, len(t)), random.integers(0, SIZE.height, len(t))
    return Events(t, x.astype(np.uint16), y.astype(np.uint16), random.integers(0, 2, len(t)).astype(np.uint8))


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory, events: Events) -> Path:
    path = tmp_path_factory.mktemp("raw") / "crossing_td.h5"
    write_events(path, SIZE, iter([events]))
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "lively.safetensors"
    save_checkpoint(lively_checkpoint("lif"), path)
    return path


@pytest.fixture(scope="module")
def expected(checkpoint: Path, events: Events) -> PredictedBoxes:
    return detected(load_checkpoint(checkpoint), [events], SIZE)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    return tmp_path


def test_boxes_and_tracks_are_counted_by_class(checkpoint: Path, recording: Path, expected: PredictedBoxes) -> None:
    result = run(checkpoint, recording)
    assert result.exception is None
    assert "20,000 events, 0.400 s, in windows of 50 ms" in result.stdout
    for number, name in enumerate(LABELS.classes):
        mine = expected.boxes.track_id[expected.boxes.class_id == number]
        (line,) = [line for line in result.stdout.splitlines() if f" {name} " in line]
        counts = [int(word) for word in line.replace("│", " ").split() if word.isdigit()]
        assert counts == [len(mine), len(set(mine[mine > 0]))]


def test_json_is_the_one_thing_on_stdout(checkpoint: Path, recording: Path, expected: PredictedBoxes) -> None:
    values = told(checkpoint, recording)
    assert (values["boxes"], values["events"], values["seconds"]) == (len(expected), 20_000, 0.399999)
    assert values["out"] is None


def test_a_table_is_read_back_as_the_boxes_that_were_found(
    checkpoint: Path, recording: Path, expected: PredictedBoxes, here: Path
) -> None:
    assert told(checkpoint, recording, "--out", "boxes.npy")["out"] == "boxes.npy"
    back = read_table(here / "boxes.npy", LABELS)
    assert np.array_equal(back.scores, expected.scores)
    for column in Boxes.__slots__:
        assert np.array_equal(getattr(back.boxes, column), getattr(expected.boxes, column)), column


def test_coco_json_names_image_class_track_and_score_of_every_box(
    checkpoint: Path, recording: Path, expected: PredictedBoxes, here: Path
) -> None:
    told(checkpoint, recording, "--out", "boxes.json")
    written = json.loads((here / "boxes.json").read_text())
    times = {image["id"]: image["time_us"] for image in written["images"]}
    names = {category["id"]: category["name"] for category in written["categories"]}
    rows = written["annotations"]
    assert [times[row["image_id"]] for row in rows] == expected.boxes.t.tolist()
    assert [names[row["category_id"]] for row in rows] == [LABELS.classes[k] for k in expected.boxes.class_id]
    assert [row["track_id"] for row in rows] == expected.boxes.track_id.tolist()
    np.testing.assert_allclose([row["score"] for row in rows], expected.scores)
    np.testing.assert_allclose([row["bbox"] for row in rows], expected.boxes.xywh)
    assert {(image["recording"], image["width"], image["height"]) for image in written["images"]} == {
        ("crossing", 90, 60)
    }


def test_clips_show_the_whole_recording_25_times_a_second(checkpoint: Path, recording: Path, here: Path) -> None:
    told(checkpoint, recording, "--out", "boxes.mp4")
    film = cv2.VideoCapture(str(here / "boxes.mp4"))
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == 10
    film.release()
    told(checkpoint, recording, "--out", "boxes.gif")
    with PIL.Image.open(here / "boxes.gif") as picture:
        assert picture.n_frames == 10  # type: ignore[attr-defined]
        picture.seek(9)
        shown = np.asarray(picture.convert("RGB")).reshape(-1, 3).astype(int)
    coloured = (shown.max(axis=1) - shown.min(axis=1) > 80).mean()
    assert coloured > 0.05  # events and tracks are coloured, paper is white


def test_a_higher_score_leaves_out_boxes_in_no_track(checkpoint: Path, recording: Path) -> None:
    every, few = (told(checkpoint, recording, "--score", score) for score in (0.0, 1.0))
    assert few["boxes"] < every["boxes"]  # type: ignore[operator]
    assert few["tracks"] == every["tracks"]


def test_the_winner_of_a_search_is_found_by_its_folder(checkpoint: Path, recording: Path, here: Path) -> None:
    search = here / "search"
    search.mkdir()
    (search / "search.json").write_text("{}")
    assert "has no best.safetensors yet" in refusal(search, recording)
    (search / "best.safetensors").write_bytes(checkpoint.read_bytes())
    assert told(search, recording)["boxes"] == told(checkpoint, recording)["boxes"]


def test_a_file_of_an_mlflow_run_and_a_registered_model_give_the_same_boxes(
    checkpoint: Path, recording: Path, here: Path
) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{here}/mlflow.db")
    run_id = client.create_run(client.create_experiment("mine", (here / "artifacts").as_uri())).info.run_id
    client.log_artifact(run_id, str(checkpoint))
    model = here / "model"
    (model / "artifacts").mkdir(parents=True)
    (model / "artifacts" / checkpoint.name).write_bytes(checkpoint.read_bytes())
    flavor = {"artifacts": {"checkpoint": {"path": f"artifacts/{checkpoint.name}", "uri": "elsewhere"}}}
    (model / "MLmodel").write_text(json.dumps({"flavors": {"python_function": flavor}}))
    client.log_artifacts(run_id, str(model), "detector")
    client.create_registered_model("watcher")
    client.create_model_version("watcher", f"runs:/{run_id}/detector", run_id)
    client.set_registered_model_alias("watcher", "champion", "1")
    own = told(checkpoint, recording)["boxes"]
    for address in (f"runs:/{run_id}/{checkpoint.name}", f"runs:/{run_id}/detector", "models:/watcher@champion"):
        assert told(address, recording)["boxes"] == own
    assert told("models:/watcher/1", recording)["boxes"] == own
    assert "models:/nobody@champion" in refusal("models:/nobody@champion", recording)


def test_what_cannot_be_is_refused_before_the_work(checkpoint: Path, recording: Path, here: Path) -> None:
    assert ".npy, .json, .mp4, .gif" in refusal(checkpoint, recording, "--out", "boxes.txt")
    assert "there is no folder" in refusal(checkpoint, recording, "--out", "nowhere/boxes.npy")
    assert "between 0 and 1" in refusal(checkpoint, recording, "--score", "2")
    assert "no such file" in refusal(checkpoint, here / "gone_td.h5")
    assert "names the geometry 90x60" in refusal(checkpoint, recording, "--size", "64x64")
    assert "is no search" in refusal(here / "nothing", recording)
    assert "no such checkpoint" in refusal(here / "gone.safetensors", recording)


def test_a_recording_of_another_sensor_or_without_events_is_refused(
    checkpoint: Path, here: Path, events: Events
) -> None:
    write_events(here / "wide_td.h5", SIZE._replace(width=200), iter([events]))
    assert "200x60, but the detector was trained for 90x60" in refusal(checkpoint, here / "wide_td.h5")
    write_events(here / "empty_td.h5", SIZE, iter([]))
    assert "empty_td.h5" in refusal(checkpoint, here / "empty_td.h5", "--out", "boxes.npy")
    assert not (here / "boxes.npy").exists()


def test_a_damaged_recording_writes_nothing(checkpoint: Path, recording: Path, here: Path) -> None:
    path = here / "cut_td.h5"
    path.write_bytes(recording.read_bytes()[:-3000])
    result = run(checkpoint, path, "--out", "boxes.npy")
    assert isinstance(result.exception, RecordingError)
    assert sorted(file.name for file in here.iterdir()) == ["cut_td.h5"]
