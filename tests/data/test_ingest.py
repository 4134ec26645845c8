"""Ingest: all of a folder becomes a dataset, or none of it."""

import hashlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import data.ingest
from data.boxes import BOX_DTYPE
from data.dataset import Dataset
from data.errors import DatasetError, InputError, RecordingError
from data.events import Repairs, SensorSize
from data.ingest import IngestProgress, ingest
from data.manifest import Manifest, Split

RECORDINGS = Path(__file__).parents[3] / "shared" / "recordings"
real = pytest.mark.skipif(not RECORDINGS.exists(), reason="the real recordings (../shared/recordings) are not here")
BOX = (600_000, 10, 20, 30, 40, 1, 5, 1)


def recording(source: Path, place: str, boxes: Any = (BOX,), count: int = 200, **changed: Any) -> dict[str, Any]:
    """Write HDF5/`place`_td.h5 of a 320x180 sensor, and its boxes."""
    random = np.random.default_rng(len(place))
    columns: dict[str, Any] = {
        "t": np.sort(random.integers(0, 10**6, count)),
        "x": random.integers(0, 320, count).astype(np.uint16),
        "y": random.integers(0, 180, count).astype(np.uint16),
        "p": random.integers(0, 2, count).astype(np.int16),
        "width": 320,
        "height": 180,
    } | changed
    path = source / "HDF5" / f"{place}_td.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for key, values in columns.items():
            file[f"events/{key}"] = values
    np.save(source / "HDF5" / f"{place}_bbox.npy", np.array(list(boxes), BOX_DTYPE))
    return columns


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_every_event_and_box_of_a_tree_is_in_the_dataset(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    written = {
        place: recording(source, place)
        for place in ("train_h5_1/train_night_2", "train_h5_2/train_day_1", "val_h5_1/v")
    }
    seen: list[IngestProgress] = []
    manifest = ingest(source, target, "etram3", seen.append)
    assert files(target) == ["manifest.json", "train/train_day_1.arrow", "train/train_night_2.arrow", "val/v.arrow"]
    assert [(step.done, step.total, step.events) for step in seen] == [(1, 3, 200), (2, 3, 200), (3, 3, 200)]
    assert {step.name for step in seen} == {"train_day_1", "train_night_2", "v"}
    assert [(e.split, e.name, e.night) for e in manifest.recordings] == [
        (Split.TRAIN, "train_day_1", False), (Split.TRAIN, "train_night_2", True), (Split.VAL, "v", None),
    ]  # fmt: skip
    dataset = Dataset.open(target)
    assert (dataset.label_set.name, dataset.size) == ("etram3", SensorSize(320, 180))
    for split in (Split.TRAIN, Split.VAL):
        for shard in dataset.shards(split):
            expected = next(columns for place, columns in written.items() if place.endswith(f"/{shard.name}"))
            events = shard.events(-1, 10**7)
            for key in "txyp":
                assert getattr(events, key).tolist() == expected[key].tolist()
            assert (shard.first_us, shard.last_us, shard.event_count) == (expected["t"][0], expected["t"][-1], 200)
            assert (shard.boxes.t.tolist(), shard.boxes.xywh.tolist()) == ([600_000], [[10, 20, 30, 40]])
            assert (shard.boxes.class_id.tolist(), shard.boxes.track_id.tolist()) == ([1], [5])


def test_the_manifest_says_what_was_repaired_clipped_and_dropped(tmp_path: Path) -> None:
    recording(
        tmp_path, "train_h5_1/a",
        boxes=[(9, -5, 10, 20, 10, 0, 1, 1), (3, 400, 10, 20, 10, 0, 2, 1), (5, 1, 1, 9, 9, 0, 3, 1)],
        t=np.array([5, 4, 9, 9]), x=np.zeros(4, np.uint16), y=np.array([0, 0, 33014, 179], np.uint16),
        p=np.array([-1, 1, 1, 1], np.int16),
    )  # fmt: skip
    (entry,) = ingest(tmp_path, tmp_path / "target", "etram3").recordings
    assert entry.repairs == Repairs(out_of_frame=1, backward_times=1, signed_polarity=True)
    assert (entry.events, entry.first_us, entry.last_us) == (3, 5, 9)
    assert (entry.boxes, entry.boxes_clipped, entry.boxes_dropped) == (2, 1, 1)
    assert entry.source == "HDF5/train_h5_1/a_td.h5"
    shard = (tmp_path / "target" / "train" / "a.arrow").read_bytes()
    assert (entry.sha256, entry.file_bytes) == (hashlib.sha256(shard).hexdigest(), len(shard))
    assert Manifest.read(tmp_path / "target").recordings == (entry,)
    opened = Dataset.open(tmp_path / "target").shards(Split.TRAIN)[0]
    assert opened.boxes.track_id.tolist() == [3, 1]  # by time
    assert opened.boxes.xywh.tolist() == [[1, 1, 9, 9], [0, 10, 15, 10]]


def test_workers_give_the_same_bytes_as_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(4):
        recording(tmp_path / "source", f"train_h5_1/r{i}", count=100 + i)
    alone = ingest(tmp_path / "source", tmp_path / "alone", "etram3")
    monkeypatch.setattr(data.ingest, "PARALLEL_BYTES", 0)
    monkeypatch.setattr(data.ingest, "_processors", lambda: 2)
    seen: list[IngestProgress] = []
    together = ingest(tmp_path / "source", tmp_path / "together", "etram3", seen.append)
    assert together == alone
    assert [step.done for step in seen] == [1, 2, 3, 4]
    assert files(tmp_path / "together") == files(tmp_path / "alone")
    # A worker's error reaches the user as it is.
    recording(tmp_path / "source", "train_h5_1/r5", p=np.full(200, 3, np.int16))
    with pytest.raises(RecordingError, match=r"r5_td\.h5: row 0: polarity p=3"):
        ingest(tmp_path / "source", tmp_path / "failed", "etram3")
    assert not (tmp_path / "failed").exists()


def test_a_truncated_recording_leaves_nothing(tmp_path: Path) -> None:
    recording(tmp_path / "source", "train_h5_1/a")
    recording(tmp_path / "source", "train_h5_1/b", count=50_000)
    path = tmp_path / "source" / "HDF5" / "train_h5_1" / "b_td.h5"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(RecordingError, match=r"b_td\.h5: cannot be read as HDF5"):
        ingest(tmp_path / "source", tmp_path / "target", "etram3")
    assert not (tmp_path / "target").exists()


def test_a_recording_that_fails_half_way_takes_the_finished_shards_with_it(tmp_path: Path) -> None:
    recording(tmp_path / "source", "train_h5_1/a")
    recording(tmp_path / "source", "val_h5_1/b", p=np.array([1] * 150 + [4] * 50, np.int16))
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "notes.txt").write_text("mine")
    seen: list[IngestProgress] = []
    with pytest.raises(RecordingError, match=r"b_td\.h5: row 150: polarity p=4"):
        ingest(tmp_path / "source", tmp_path / "target", "etram3", seen.append)
    assert [step.name for step in seen] == ["a"]
    assert files(tmp_path / "target") == ["notes.txt"]
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["notes.txt"]
    with pytest.raises(DatasetError):
        Dataset.open(tmp_path / "target")


def test_an_interrupted_ingest_leaves_nothing(tmp_path: Path) -> None:
    recording(tmp_path / "source", "train_h5_1/a")

    def interrupt(_: IngestProgress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(tmp_path / "source", tmp_path / "target", "etram3", interrupt)
    assert not (tmp_path / "target").exists()


def test_a_target_that_holds_a_dataset_is_refused_and_left_alone(tmp_path: Path) -> None:
    recording(tmp_path / "source", "train_h5_1/a")
    ingest(tmp_path / "source", tmp_path / "target", "etram3")
    before = {path: (tmp_path / "target" / path).read_bytes() for path in files(tmp_path / "target")}
    with pytest.raises(InputError, match="target: holds a dataset already; choose another target, or remove"):
        ingest(tmp_path / "source", tmp_path / "target", "etram3")
    assert {path: (tmp_path / "target" / path).read_bytes() for path in files(tmp_path / "target")} == before


def test_a_target_that_cannot_be_written_is_an_input_error(tmp_path: Path) -> None:
    recording(tmp_path / "source", "train_h5_1/a")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="file: is a file, but a dataset is a folder"):
        ingest(tmp_path / "source", tmp_path / "file", "etram3")
    with pytest.raises(InputError, match="below: cannot be written"):
        ingest(tmp_path / "source", tmp_path / "file" / "below", "etram3")
    assert (tmp_path / "file").read_text() == "mine"


def test_eight_class_boxes_given_as_three_are_found_before_any_shard_is_written(tmp_path: Path) -> None:
    recording(tmp_path / "source", "train_h5_1/a")
    recording(tmp_path / "source", "train_h5_1/b", boxes=[BOX, (1, 1, 1, 5, 5, 6, 1, 1)])
    seen: list[IngestProgress] = []
    with pytest.raises(RecordingError, match=r"b_bbox\.npy: row 1: class_id=6, but label set 'etram3'"):
        ingest(tmp_path / "source", tmp_path / "target", "etram3", seen.append)
    assert seen == []
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"width": 640}, r"b_td\.h5: the sensor has 640x180 pixels, that of .*a_td\.h5 320x180"),
        ({"count": 0}, r"b_td\.h5: holds no event inside the frame"),
        ({"y": np.full(200, 180, np.uint16)}, r"b_td\.h5: holds no event inside the frame"),
        ({"t": np.array([0] * 199 + [86_400_000_001])}, r"b_td\.h5: its times run from 0 to 86400000001 µs"),
    ],
)
def test_a_recording_that_does_not_fit_is_named(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    recording(tmp_path / "source", "train_h5_1/a")
    recording(tmp_path / "source", "train_h5_1/b", **changed)
    with pytest.raises(RecordingError, match=message):
        ingest(tmp_path / "source", tmp_path / "target", "etram3")
    assert not (tmp_path / "target").exists()


def test_a_sensor_wider_than_a_packed_word_holds_is_an_error(tmp_path: Path) -> None:
    recording(tmp_path / "source", "train_h5_1/a", width=2049)
    with pytest.raises(
        RecordingError, match=r"a_td\.h5: the sensor has 2049x180 pixels, but a shard holds at most 2048x1024"
    ):
        ingest(tmp_path / "source", tmp_path / "target", "etram3")


def test_two_recordings_of_one_name_in_a_split_are_an_error(tmp_path: Path) -> None:
    recording(tmp_path / "source", "train_h5_1/a")
    recording(tmp_path / "source", "train_h5_2/a")
    with pytest.raises(RecordingError, match=r"train_h5_2/a_td\.h5: split 'train' has a recording of this name"):
        ingest(tmp_path / "source", tmp_path / "target", "etram3")


@real
def test_the_real_gen1_parts_become_shards_of_every_event(tmp_path: Path) -> None:
    ingest(RECORDINGS / "gen1", tmp_path)
    shards = Dataset.open(tmp_path).shards(Split.TRAIN)
    assert [shard.event_count for shard in shards] == [369_396, 342_410, 306_933]
    assert shards[0].first_us == 20_520_003
    for shard in shards:
        raw = (RECORDINGS / "gen1" / f"{shard.name}_td.dat").read_bytes()
        words = np.frombuffer(raw, "<u4", offset=len(raw) - 8 * shard.event_count).reshape(-1, 2).astype(np.int64)
        events = shard.events(shard.first_us, shard.last_us + 1)
        assert np.array_equal(events.t, words[:, 0])
        assert np.array_equal(events.x, words[:, 1] % 2**14)
        assert np.array_equal(events.y, words[:, 1] // 2**14 % 2**14)
        assert np.array_equal(events.p, words[:, 1] // 2**28)


@real
def test_the_real_pedro_windows_become_shards_with_their_boxes(tmp_path: Path) -> None:
    manifest = ingest(RECORDINGS / "pedro", tmp_path)
    assert [entry.boxes for entry in manifest.recordings] == [1, 1, 1, 2, 4]
    assert sum(entry.boxes_clipped + entry.boxes_dropped for entry in manifest.recordings) == 0
    for shard in Dataset.open(tmp_path).shards(Split.TRAIN):
        window = np.load(RECORDINGS / "pedro" / "numpy" / f"{shard.name}.npy")
        events = shard.events(shard.first_us, shard.last_us + 1)
        assert np.array_equal(np.stack([events.t, events.x, events.y, events.p], axis=1), window)
        assert set(shard.boxes.t.tolist()) == {int(window[-1, 0])}
