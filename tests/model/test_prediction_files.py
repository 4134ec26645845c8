import contextlib
import io
import json
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools.coco import COCO

from data.boxes import BOX_DTYPE, Boxes, label_set
from data.dataset import Dataset
from data.errors import DatasetError, RecordingError
from data.events import SensorSize
from data.formats.motchallenge import read_mot
from data.formats.prophesee_boxes import read_boxes
from data.manifest import Split
from data.windows import causal_window
from model.decoding import Detections
from model.prediction import WindowResult
from model.predictions.files import PredictionFormat, read_predictions, write_predictions
from model.predictions.predicted_boxes import PredictedBoxes, RecordingPredictions, by_recording
from model.tracking.tracker import TrackedWindow, untracked

LABELS = label_set("etram3")
SIZE = SensorSize(1280, 720)
FORMATS = list(PredictionFormat)

pixels = st.floats(-(2**29), 2**29, width=32)
sides = st.floats(0, 2**29, width=32)


@st.composite
def predictions(draw: st.DrawFn, name: str, tracked: bool) -> RecordingPredictions:
    times_us = np.array(sorted(draw(st.sets(st.integers(0, 2**40), min_size=1, max_size=4))), np.int64)
    t: list[int] = []
    rows: list[int] = []
    for time_us in times_us.tolist():
        some = draw(st.lists(st.integers(1, 2**32 - 1), max_size=3, unique=True))
        t += [time_us] * len(some)
        rows += some
    N = len(t)
    xywh = np.array([[draw(pixels), draw(pixels), draw(sides), draw(sides)] for _ in range(N)], np.float32).reshape(
        -1, 4
    )
    classes = draw(arrays.arrays(np.int64, N, elements=st.integers(0, 2)))
    scores = draw(arrays.arrays(np.float32, N, elements=st.floats(0, 1, width=32)))
    tracks = np.array(rows, np.int64)
    truth = Boxes(np.array(t, np.int64), xywh, classes, tracks)
    found = Boxes(truth.t, xywh[::-1].copy(), classes[::-1].copy(), tracks if tracked else tracks * 0)
    return RecordingPredictions(name, times_us, truth, PredictedBoxes(found, scores))


def assert_same(a: PredictedBoxes, b: PredictedBoxes) -> None:
    for column in Boxes.__slots__:
        ours, theirs = getattr(a.boxes, column), getattr(b.boxes, column)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs, err_msg=column)
    assert a.scores.dtype == b.scores.dtype
    np.testing.assert_array_equal(a.scores, b.scores)


@pytest.mark.parametrize("form", FORMATS)
@settings(deadline=None, max_examples=60)
@given(data=st.data(), tracked=st.booleans())
def test_what_is_read_back_is_what_was_written_to_the_bit(
    form: PredictionFormat, data: st.DataObject, tracked: bool
) -> None:
    recordings = [data.draw(predictions(name, tracked)) for name in ("a.day", "b")]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "out"
        write_predictions(recordings, LABELS, SIZE, folder, form)
        back = read_predictions(folder, LABELS, form)
    assert list(back) == ["a.day", "b"]
    for recording in recordings:
        assert_same(back[recording.name], recording.found)


def simple(tracks: tuple[int, ...] = (1, 2, 1), name: str = "take") -> RecordingPredictions:
    """Three found boxes at two of three times, of which the last is found in nothing."""
    t = np.array([1_000_000, 1_000_000, 1_040_000], np.int64)
    xywh = np.array([[0, 9.5, 40, 30], [100, 100, 50, 50], [4, 9.5, 40, 30]], np.float32)
    found = Boxes(t, xywh, np.array([0, 2, 0], np.int64), np.array(tracks, np.int64))
    scores = np.array([0.9, 0.25, 0.8], np.float32)
    truth = Boxes(t, xywh + np.float32(1), np.array([0, 2, 0], np.int64), np.array([5, 6, 5], np.int64))
    return RecordingPredictions(name, np.array([1_000_000, 1_040_000, 1_100_000]), truth, PredictedBoxes(found, scores))


def test_mot_text_counts_frames_classes_and_pixels_from_one(tmp_path: Path) -> None:
    write_predictions([simple()], LABELS, SIZE, tmp_path / "out", PredictionFormat.MOT)
    assert (tmp_path / "out/predictions/take.txt").read_text().splitlines() == [
        "1,1,1.0,10.5,40.0,30.0,0.9,1,-1",
        "1,2,101.0,101.0,50.0,50.0,0.25,3,-1",
        "2,1,5.0,10.5,40.0,30.0,0.8,1,-1",
    ]
    place = tmp_path / "out/truth/take"
    assert (place / "gt/gt.txt").read_text().splitlines()[1] == "1,6,102.0,102.0,51.0,51.0,1,3,1"
    assert (place / "times_us.txt").read_text() == "1000000\n1040000\n1100000\n"
    info = dict(line.split("=") for line in (place / "seqinfo.ini").read_text().splitlines()[1:])
    assert info == {
        "name": "take", "frameRate": "20.000000", "seqLength": "3", "imWidth": "1280", "imHeight": "720"
    }  # fmt: skip


def test_the_truth_in_mot_text_is_read_by_the_reader_of_recordings(tmp_path: Path) -> None:
    recording = simple()
    write_predictions([recording], LABELS, SIZE, tmp_path / "out", PredictionFormat.MOT)
    place = tmp_path / "out/truth/take"
    back = read_mot(place / "gt/gt.txt", place / "seqinfo.ini", place / "gt/labels.txt", LABELS, SIZE, 1_000_000)
    assert back.t.tolist() == [1_000_000, 1_000_000, 1_050_000]  # by the frame rate: label times were not regular
    np.testing.assert_array_equal(back.xywh, recording.truth.xywh)
    np.testing.assert_array_equal(back.track_id, recording.truth.track_id)


def test_boxes_in_no_track_are_left_out_of_mot_text_unless_there_are_no_tracks_at_all(tmp_path: Path) -> None:
    write_predictions([simple((1, 0, 1))], LABELS, SIZE, tmp_path / "some", PredictionFormat.MOT)
    assert read_predictions(tmp_path / "some", LABELS, PredictionFormat.MOT)["take"].boxes.track_id.tolist() == [1, 1]
    write_predictions([simple((0, 0, 0))], LABELS, SIZE, tmp_path / "none", PredictionFormat.MOT)
    lines = (tmp_path / "none/predictions/take.txt").read_text().splitlines()
    assert [line.split(",")[1] for line in lines] == ["-1", "-1", "-1"]


def test_pycocotools_loads_the_results_beside_the_truth(tmp_path: Path) -> None:
    later, first = simple(name="b"), simple(name="a")
    write_predictions([later, first], LABELS, SIZE, tmp_path / "out", PredictionFormat.COCO)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(tmp_path / "out/truth.json"))
        found = truth.loadRes(str(tmp_path / "out/predictions.json"))
    assert [(image["id"], image["recording"], image["time_us"]) for image in truth.dataset["images"]] == [
        (1, "a", 1_000_000), (2, "a", 1_040_000), (3, "a", 1_100_000),
        (4, "b", 1_000_000), (5, "b", 1_040_000), (6, "b", 1_100_000),
    ]  # fmt: skip
    assert {category["id"]: category["name"] for category in truth.loadCats(truth.getCatIds())} == {
        1: "pedestrian", 2: "vehicle", 3: "micromobility"
    }  # fmt: skip
    (second,) = found.loadAnns(found.getAnnIds(imgIds=[5]))
    assert (second["bbox"], second["category_id"], second["track_id"]) == ([4, 9.5, 40, 30], 1, 1)
    assert second["score"] == np.float32(0.8)
    assert [truth.anns[number]["area"] for number in (1, 2, 3)] == [41 * 31, 51 * 51, 41 * 31]


def test_tables_are_those_that_recordings_have(tmp_path: Path) -> None:
    recording = simple()
    write_predictions([recording], LABELS, SIZE, tmp_path / "out", PredictionFormat.NPY)
    table = np.load(tmp_path / "out/predictions/take_bbox.npy")
    assert table.dtype == BOX_DTYPE
    np.testing.assert_array_equal(table["class_confidence"], recording.found.scores)
    np.testing.assert_array_equal(read_boxes(tmp_path / "out/truth/take_bbox.npy", LABELS).xywh, recording.truth.xywh)


@pytest.mark.parametrize("form", FORMATS)
def test_a_folder_that_is_there_is_left_alone_and_half_a_folder_never_appears(
    tmp_path: Path, form: PredictionFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "old").mkdir()
    with pytest.raises(DatasetError, match="is there already"):
        write_predictions([simple()], LABELS, SIZE, tmp_path / "old", form)
    monkeypatch.setattr("json.dumps", _fails)
    monkeypatch.setattr("numpy.save", _fails)
    monkeypatch.setattr("model.predictions.mot_format._sequence_info", _fails)
    with pytest.raises(OSError, match="disk is full"):
        write_predictions([simple()], LABELS, SIZE, tmp_path / "new", form)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def _fails(*_: object, **__: object) -> None:
    raise OSError("the disk is full")


def test_a_track_id_too_large_for_the_table_is_told(tmp_path: Path) -> None:
    recording = simple()
    recording.truth.track_id[0] = 2**32
    with pytest.raises(DatasetError, match="recording take: has track ids from 5 to 4294967296"):
        write_predictions([recording], LABELS, SIZE, tmp_path / "out", PredictionFormat.NPY)


@pytest.mark.parametrize("form", FORMATS)
def test_a_folder_without_predictions_is_told(tmp_path: Path, form: PredictionFormat) -> None:
    with pytest.raises(RecordingError, match=str(tmp_path)):
        read_predictions(tmp_path, LABELS, form)


@pytest.mark.parametrize("form", [PredictionFormat.COCO, PredictionFormat.MOT])
def test_predictions_of_other_classes_are_refused(tmp_path: Path, form: PredictionFormat) -> None:
    write_predictions([simple()], LABELS, SIZE, tmp_path / "out", form)
    with pytest.raises(RecordingError, match=r"pedestrian.*label set '1mpx3' has.*two wheeler"):
        read_predictions(tmp_path / "out", label_set("1mpx3"), form)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1,1,1,1,4,4,0.5,1", "has 8 fields"),
        ("0,1,1,1,4,4,0.5,1,-1", "frame='0'"),
        ("4,1,1,1,4,4,0.5,1,-1", "frame=4, but times_us.txt has 3 lines"),
        ("1,-2,1,1,4,4,0.5,1,-1", "id='-2'"),
        ("1,1,nan,1,4,4,0.5,1,-1", "bb_left='nan'"),
        ("1,1,1e999,1,4,4,0.5,1,-1", "bb_left='1e999'"),
        ("1,1,1,1,-4,4,0.5,1,-1", "bb_width=-4"),
        ("1,1,1,1,4,4,1.5,1,-1", "conf=1.5"),
        ("1,1,1,1,4,4,0.5,4,-1", "class=4"),
        ("1,1,1,1,4,4,0.5,1,x", "visibility='x'"),
        ("1,2,1,1,4,4,0.5,1,-1", r"track 2 has a box at 1000000 µs already \(.*take.txt:2\)"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    write_predictions([simple()], LABELS, SIZE, tmp_path / "out", PredictionFormat.MOT)
    path = tmp_path / "out/predictions/take.txt"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(RecordingError, match=rf"take\.txt:4: {said}"):
        read_predictions(tmp_path / "out", LABELS, PredictionFormat.MOT)


@pytest.mark.parametrize(("times", "said"), [("5\n5\n6\n", "times_us.txt:2: time 5"), ("5\nx\n6\n", "times_us.txt:2")])
def test_times_that_do_not_rise_are_named(tmp_path: Path, times: str, said: str) -> None:
    write_predictions([simple()], LABELS, SIZE, tmp_path / "out", PredictionFormat.MOT)
    (tmp_path / "out/truth/take/times_us.txt").write_text(times)
    with pytest.raises(RecordingError, match=said):
        read_predictions(tmp_path / "out", LABELS, PredictionFormat.MOT)


GOOD = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 4, 4], "score": 0.5, "track_id": 9}


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (GOOD | {"image_id": 9}, "entry 3: image_id=9"),
        (GOOD | {"category_id": 0}, "entry 3: category_id=0"),
        (GOOD | {"category_id": 4}, "entry 3: category_id=4"),
        (GOOD | {"bbox": [0, 0, 4]}, "entry 3.bbox.3: Field required"),
        (GOOD | {"bbox": [0, 0, 4, float("nan")]}, "entry 3.bbox.3"),
        (GOOD | {"bbox": [0, 0, 4, 1e10]}, "entry 3.bbox.3"),
        (GOOD | {"score": 1.01}, "entry 3.score"),
        (GOOD | {"track_id": -1}, "entry 3.track_id"),
        (GOOD | {"track_id": 2}, r"entry 3: track 2 has a box at 1000000 µs already \(.*entry 1\)"),
        (7, "entry 3"),
    ],
)
def test_a_broken_entry_is_named(tmp_path: Path, entry: object, said: str) -> None:
    write_predictions([simple()], LABELS, SIZE, tmp_path / "out", PredictionFormat.COCO)
    path = tmp_path / "out/predictions.json"
    path.write_text(json.dumps([*json.loads(path.read_text()), entry]))
    with pytest.raises(RecordingError, match=rf"predictions\.json: {said}"):
        read_predictions(tmp_path / "out", LABELS, PredictionFormat.COCO)


@pytest.mark.parametrize("text", ["", "{", "{}", "[" * 100_000, "\x00", "null"])
@pytest.mark.parametrize("name", ["predictions.json", "truth.json"])
def test_what_is_no_such_json_is_refused(tmp_path: Path, name: str, text: str) -> None:
    write_predictions([simple()], LABELS, SIZE, tmp_path / "out", PredictionFormat.COCO)
    (tmp_path / "out" / name).write_text(text)
    with pytest.raises(RecordingError, match=name):
        read_predictions(tmp_path / "out", LABELS, PredictionFormat.COCO)


def table(**columns: object) -> npt.NDArray[np.void]:
    rows = np.zeros(2, BOX_DTYPE)
    rows["t"], rows["track_id"] = (20, 10), (1, 2)
    for name, values in columns.items():
        rows[name] = values
    return rows


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (table(class_confidence=(0.5, np.nan)), "row 1: class_confidence=nan"),
        (table(class_confidence=(-0.1, 2)), "row 0: class_confidence=-0.1"),
        (table(x=(0, np.inf)), "row 1: x=inf"),
        (table(class_id=(0, 3)), "row 1: class_id=3"),
        (table(t=5, track_id=7), r"row 1: track 7 has a box at 5 µs already \(.*row 0\)"),
        (table()[["t", "x", "y", "w", "h", "class_id", "track_id"]], "has no field 'class_confidence'"),
        (np.zeros(3), "is no table of boxes"),
    ],
)
def test_a_broken_table_is_named(tmp_path: Path, rows: npt.NDArray[np.void], said: str) -> None:
    (tmp_path / "predictions").mkdir()
    np.save(tmp_path / "predictions/take_bbox.npy", rows)
    with pytest.raises(RecordingError, match=rf"take_bbox\.npy: {said}"):
        read_predictions(tmp_path, LABELS, PredictionFormat.NPY)


def test_rows_of_a_table_in_disorder_keep_their_scores(tmp_path: Path) -> None:
    (tmp_path / "predictions").mkdir()
    np.save(tmp_path / "predictions/take_bbox.npy", table(class_confidence=(0.25, 0.75), x=(3, 4)))
    back = read_predictions(tmp_path, LABELS, PredictionFormat.NPY)["take"]
    assert back.boxes.t.tolist() == [10, 20]
    assert back.boxes.xywh[:, 0].tolist() == [4, 3]
    assert back.scores.tolist() == [0.75, 0.25]


def test_windows_of_a_split_become_recordings_by_name(tiny_dataset: Dataset) -> None:
    shards = tiny_dataset.shards(Split.VAL)
    corners = np.array([[10, 20, 30, 50], [1, 2, 3, 4]], np.float32)
    detections = Detections(corners, np.array([0.5, 0.25], np.float32), np.array([1, 0]), np.zeros((2, 4), np.float32))
    results = [
        WindowResult(causal_window(which, time_us, 50_000), None, shards[which].boxes.at(time_us), detections)
        for which in (0, 1)
        for time_us in (600_000, 650_000)
    ]
    day, night = by_recording([TrackedWindow(result, np.array([3, 0])) for result in results], shards)
    assert (day.name, night.name) == ("val_day_0001", "val_night_0001")
    assert day.times_us.tolist() == [600_000, 650_000]
    np.testing.assert_array_equal(night.truth.xywh, shards[1].boxes.xywh[np.isin(shards[1].boxes.t, day.times_us)])
    now = day.found.at(650_000)
    assert now.boxes.xywh.tolist() == [[10, 20, 20, 30], [1, 2, 2, 2]]
    assert (now.boxes.track_id.tolist(), now.boxes.class_id.tolist()) == ([3, 0], [1, 0])
    assert now.scores.tolist() == [0.5, 0.25]
    assert by_recording(untracked(results), shards)[1].found.boxes.track_id.tolist() == [0] * 4
