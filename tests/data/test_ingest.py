"""Ingest: a source becomes a dataset; what is done is kept, what is not is done by running it again."""

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from data.boxes import BOX_DTYPE
from data.dataset import Dataset
from data.errors import DatasetError, InputError, RecordingError
from data.events import Repairs, SensorSize
from data.formats.discovery import find_recordings
from data.formats.label_scheme import read_labels
from data.ingest.conversion import convert
from data.ingest.ingest import IngestOptions, ingest
from data.ingest.progress import IngestProgress
from data.manifest import Manifest, Split
from data.packing import Words
from data.storage import open_storage

ROOT = Path(__file__).parents[2]
RECORDINGS = ROOT.parent / "shared" / "recordings"
real = pytest.mark.skipif(not RECORDINGS.exists(), reason="the real recordings (../shared/recordings) are not here")
BOX = (600_000, 10, 20, 30, 40, 1, 5, 1)
ETRAM3 = IngestOptions(labels="etram3")


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
    path = events_of(source, place)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for key, values in columns.items():
            file[f"events/{key}"] = values
    np.save(source / "HDF5" / f"{place}_bbox.npy", np.array(list(boxes), BOX_DTYPE))
    return columns


def three(source: Path) -> Path:
    for name in "abc":
        recording(source, f"train_h5_1/{name}")
    return source


def events_of(source: Path, place: str) -> Path:
    return source / "HDF5" / f"{place}_td.h5"


def contents(folder: Path) -> dict[str, bytes]:
    """Every file that is no lock, by its path."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != ".ingest.lock"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(paths)}


def shard_of(target: Path, name: str) -> Path:
    return target / "train" / f"{name}.arrow"


def news_of(source: Path, target: Path, options: IngestOptions = ETRAM3) -> tuple[list[str], list[str]]:
    """Ingest; the recordings that were converted, and what was said besides."""
    seen: list[IngestProgress] = []
    ingest(source, target, options, seen.append)
    done = [step.finished.name for step in seen if step.finished is not None]
    return done, [step.news for step in seen if step.news is not None]


def interrupted_after(count: int) -> Callable[[IngestProgress], None]:
    def progress(step: IngestProgress) -> None:
        if step.finished is not None and step.done == count:
            raise KeyboardInterrupt

    return progress


def test_every_event_and_box_of_a_tree_is_in_the_dataset(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    written = {
        place: recording(source, place)
        for place in ("train_h5_1/train_night_2", "train_h5_2/train_day_1", "val_h5_1/v")
    }
    seen: list[IngestProgress] = []
    manifest = ingest(source, target, ETRAM3, seen.append)
    assert list(contents(target)) == [
        "manifest.json", "train/train_day_1.arrow", "train/train_night_2.arrow", "val/v.arrow",
    ]  # fmt: skip
    finished = [step for step in seen if step.finished is not None]
    assert [(step.done, step.total, step.finished and step.finished.events) for step in finished] == [
        (1, 3, 200), (2, 3, 200), (3, 3, 200),
    ]  # fmt: skip
    assert [step.events for step in finished] == [200, 400, 600]
    assert (finished[-1].share, finished[-1].seconds_left) == (1, 0)
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
    source, target = tmp_path / "source", tmp_path / "target"
    recording(
        source, "train_h5_1/a",
        boxes=[(9, -5, 10, 20, 10, 0, 1, 1), (3, 400, 10, 20, 10, 0, 2, 1), (5, 1, 1, 9, 9, 0, 3, 1)],
        t=np.array([5, 4, 9, 9]), x=np.zeros(4, np.uint16), y=np.array([0, 0, 33014, 179], np.uint16),
        p=np.array([-1, 1, 1, 1], np.int16),
    )  # fmt: skip
    (entry,) = ingest(source, target, ETRAM3).recordings
    assert entry.repairs == Repairs(out_of_frame=1, backward_times=1, signed_polarity=True, bit15=1)
    assert (entry.events, entry.first_us, entry.last_us) == (3, 5, 9)
    assert (entry.boxes, entry.boxes_clipped, entry.boxes_dropped, entry.boxes_left_out) == (2, 1, 1, 0)
    shard = shard_of(target, "a").read_bytes()
    assert (entry.sha256, entry.file_bytes) == (hashlib.sha256(shard).hexdigest(), len(shard))
    assert Manifest.read(open_storage(target)).recordings == (entry,)
    opened = Dataset.open(target).shards(Split.TRAIN)[0]
    assert opened.boxes.track_id.tolist() == [3, 1]  # by time
    assert opened.boxes.xywh.tolist() == [[1, 1, 9, 9], [0, 10, 15, 10]]


def test_the_manifest_says_what_files_a_shard_was_made_of(tmp_path: Path) -> None:
    source = tmp_path / "source"
    recording(source, "train_h5_1/a")
    (entry,) = ingest(source, tmp_path / "target", ETRAM3).recordings
    events, boxes = events_of(source, "train_h5_1/a").read_bytes(), (source / "HDF5/train_h5_1/a_bbox.npy").read_bytes()
    assert entry.source == "HDF5/train_h5_1/a_td.h5"
    assert (entry.source_bytes, entry.source_sha256) == (len(events), hashlib.sha256(events).hexdigest())
    assert entry.box_source == "HDF5/train_h5_1/a_bbox.npy"
    (other,) = entry.other_sources
    assert (other.path, other.bytes, other.sha256) == (entry.box_source, len(boxes), hashlib.sha256(boxes).hexdigest())


def test_boxes_of_classes_that_a_merge_leaves_out_are_counted(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    recording(source, "train_h5_1/a", boxes=[(9, 1, 1, 9, 9, kind, 1, 1) for kind in (0, 1, 2, 2)])
    labels = tmp_path / "mine.yaml"
    labels.write_text("name: mine\nclasses: etram3\nmerge: {road user: [vehicle, pedestrian]}\n")
    manifest = ingest(source, target, IngestOptions(labels=str(labels)))
    assert manifest.label_set.classes == ("road user",)
    assert manifest.label_mapping == (0, 0, -1)
    assert (manifest.recordings[0].boxes, manifest.recordings[0].boxes_left_out) == (2, 2)
    assert Dataset.open(target).shards(Split.TRAIN)[0].boxes.class_id.tolist() == [0, 0]


def test_a_sensor_beyond_2048_pixels_gets_wide_words(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    x = np.array([2048, 5000] * 100, np.uint16)
    written = recording(source, "train_h5_1/a", width=5001, x=x)
    (entry,) = ingest(source, target, ETRAM3).recordings
    assert entry.words is Words.WIDE
    events = Dataset.open(target).shards(Split.TRAIN)[0].events(0, 10**7)
    for key in "txyp":
        assert getattr(events, key).tolist() == written[key].tolist()


def test_several_processes_give_the_same_bytes_as_one(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for i in range(4):
        recording(source, f"train_h5_1/r{i}", count=100 + i)
    recording(source, "train_h5_1/r4", p=np.full(200, 3, np.int16))
    alone = ingest(source, tmp_path / "alone", IngestOptions(labels="etram3", skip_damaged=True))
    seen: list[IngestProgress] = []
    options = IngestOptions(labels="etram3", skip_damaged=True, processes=2)
    together = ingest(source, tmp_path / "together", options, seen.append)
    assert together == alone
    assert contents(tmp_path / "together") == contents(tmp_path / "alone")
    assert [step.done for step in seen if step.finished or step.news] == [1, 2, 3, 4, 5]
    assert seen[-1].events == 100 + 101 + 102 + 103
    (damage,) = [step.news for step in seen if step.news]  # a worker's error reaches the user as it is
    assert re.search(r"r4_td\.h5: row 0: polarity p=3", damage)


def test_damaged_recordings_are_told_together_and_the_others_are_kept(tmp_path: Path) -> None:
    source, target = three(tmp_path / "source"), tmp_path / "target"
    recording(source, "train_h5_1/b", count=50_000)
    cut = events_of(source, "train_h5_1/b")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    recording(source, "val_h5_1/d", p=np.array([1] * 150 + [4] * 50, np.int16))
    with pytest.raises(RecordingError) as raised:
        ingest(source, target, ETRAM3)
    first, *told = str(raised.value).splitlines()
    assert re.match(
        r"2 of 4 recordings could not be ingested; the others are done and kept; mend .* --skip-damaged", first
    )
    assert [re.search(r"(\w)_td\.h5", line)[1] for line in told] == ["b", "d"]  # type: ignore[index]
    assert "row 150: polarity p=4" in told[1]
    with pytest.raises(DatasetError, match="whose ingestion has not finished"):
        Dataset.open(target)
    recording(source, "train_h5_1/b")
    recording(source, "val_h5_1/d")
    done, _ = news_of(source, target)
    assert done == ["b", "d"]
    ingest(source, tmp_path / "fresh", ETRAM3)
    assert contents(target) == contents(tmp_path / "fresh")


def test_damaged_recordings_may_be_left_out_and_come_in_when_they_are_mended(tmp_path: Path) -> None:
    source, target = three(tmp_path / "source"), tmp_path / "target"
    recording(source, "train_h5_1/b", p=np.full(200, 3, np.int16))
    skipping = IngestOptions(labels="etram3", skip_damaged=True)
    manifest = ingest(source, target, skipping)
    (out,) = manifest.left_out
    assert (out.split, out.name, out.source) == (Split.TRAIN, "b", "HDF5/train_h5_1/b_td.h5")
    assert out.reason.startswith("HDF5/train_h5_1/b_td.h5: row 0: polarity p=3")  # no path of this machine
    assert [entry.name for entry in manifest.recordings] == ["a", "c"]
    before = contents(target)
    assert news_of(source, target, skipping)[0] == []
    assert contents(target) == before
    with pytest.raises(RecordingError, match="1 of 3 recordings could not be ingested; the others are done and kept"):
        ingest(source, target, ETRAM3)
    assert contents(target) == before
    recording(source, "train_h5_1/b")
    assert news_of(source, target, skipping)[0] == ["b"]
    ingest(source, tmp_path / "fresh", ETRAM3)
    assert contents(target) == contents(tmp_path / "fresh")


def test_a_source_of_nothing_but_damaged_recordings_is_an_error_that_leaves_nothing(tmp_path: Path) -> None:
    recording(tmp_path / "source", "train_h5_1/a", p=np.full(200, 3, np.int16))
    with pytest.raises(RecordingError, match="1 of 1 recordings could not be ingested; no other is done"):
        ingest(tmp_path / "source", tmp_path / "target", IngestOptions(labels="etram3", skip_damaged=True))
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("processes", [1, 2])
def test_an_interrupted_ingestion_goes_on_where_it_was(tmp_path: Path, processes: int) -> None:
    source, target = three(tmp_path / "source"), tmp_path / "target"
    options = IngestOptions(labels="etram3", processes=processes)
    with pytest.raises(KeyboardInterrupt):
        ingest(source, target, options, interrupted_after(1))
    kept = {name: path for name in "abc" if (path := shard_of(target, name)).exists()}
    times = {name: path.stat().st_mtime_ns for name, path in kept.items()}
    assert not (target / "manifest.json").exists()
    assert not list(target.rglob("*.partial"))
    done, news = news_of(source, target)
    assert sorted([*done, *kept]) == ["a", "b", "c"]
    assert f"going on: an interrupted ingestion has done {len(kept)} recordings already" in news
    assert {name: path.stat().st_mtime_ns for name, path in kept.items()} == times
    ingest(source, tmp_path / "fresh", ETRAM3)
    assert contents(target) == contents(tmp_path / "fresh")


def test_what_an_interrupted_ingestion_did_of_other_files_or_options_is_done_again(tmp_path: Path) -> None:
    source, target = three(tmp_path / "source"), tmp_path / "target"
    with pytest.raises(KeyboardInterrupt):
        ingest(source, target, ETRAM3, interrupted_after(2))
    recording(source, "train_h5_1/a", boxes=[BOX, BOX])
    assert news_of(source, target)[0] == ["a", "c"]
    other = tmp_path / "other"
    with pytest.raises(KeyboardInterrupt):
        ingest(source, other, ETRAM3, interrupted_after(2))
    labels = tmp_path / "mine.yaml"
    labels.write_text("name: mine\nclasses: etram3\n")
    assert news_of(source, other, IngestOptions(labels=str(labels)))[0] == ["a", "b", "c"]


def test_a_journal_and_partials_that_lost_power_left_behind_do_no_harm(tmp_path: Path) -> None:
    source, target = three(tmp_path / "source"), tmp_path / "target"
    with pytest.raises(KeyboardInterrupt):
        ingest(source, target, ETRAM3, interrupted_after(2))
    (target / ".ingest" / "train" / "a.json").write_text("")
    shard_of(target, "b").write_bytes(b"")
    (target / "train" / ".c.arrow.partial").write_bytes(b"half")
    (target / ".ingest" / "scratch" / "train").mkdir(parents=True)
    assert news_of(source, target)[0] == ["a", "b", "c"]
    ingest(source, tmp_path / "fresh", ETRAM3)
    assert contents(target) == contents(tmp_path / "fresh")


def test_the_same_command_on_a_complete_dataset_says_so_and_touches_nothing(tmp_path: Path) -> None:
    source, target = three(tmp_path / "source"), tmp_path / "target"
    first = ingest(source, target, ETRAM3)
    times = {path: path.stat().st_mtime_ns for path in target.rglob("*")}
    for options in (ETRAM3, IngestOptions()):  # the dataset knows its labels
        done, news = news_of(source, target, options)
        assert (done, news[-1]) == ([], "the dataset is complete: every recording of the source is in it")
    assert Manifest.read(open_storage(target)) == first
    now = {path: path.stat().st_mtime_ns for path in target.rglob("*")}
    assert {path: time for path, time in now.items() if path.is_file() and path.name != ".ingest.lock"} == {
        path: time for path, time in times.items() if path.is_file() and path.name != ".ingest.lock"
    }


def test_new_recordings_are_added_changed_ones_made_again_and_vanished_ones_kept(tmp_path: Path) -> None:
    source, target = three(tmp_path / "source"), tmp_path / "target"
    ingest(source, target, ETRAM3)
    untouched = shard_of(target, "c").stat().st_mtime_ns
    before = events_of(source, "train_h5_1/a").stat().st_size
    recording(source, "train_h5_1/a", x=np.full(200, 7, np.uint16))
    assert events_of(source, "train_h5_1/a").stat().st_size == before  # only its bytes tell
    for path in (events_of(source, "train_h5_1/b"), source / "HDF5/train_h5_1/b_bbox.npy"):
        path.unlink()
    events_of(source, "train_h5_1/c").touch()  # another time, but the same bytes
    recording(source, "val_h5_1/d")
    assert news_of(source, target)[0] == ["a", "d"]
    dataset = Dataset.open(target)
    assert [shard.name for shard in dataset.shards(Split.TRAIN)] == ["a", "b", "c"]
    assert dataset.shards(Split.TRAIN)[0].events(0, 10**7).x.tolist() == [7] * 200
    assert [shard.name for shard in dataset.shards(Split.VAL)] == ["d"]
    assert shard_of(target, "c").stat().st_mtime_ns == untouched


def test_corrected_boxes_make_the_shard_again(tmp_path: Path) -> None:
    source, target = three(tmp_path / "source"), tmp_path / "target"
    ingest(source, target, ETRAM3)
    corrected = np.array([(600_000, 11, 20, 30, 40, 1, 5, 1)], BOX_DTYPE)
    np.save(source / "HDF5/train_h5_1/b_bbox.npy", corrected)
    assert news_of(source, target)[0] == ["b"]
    assert Dataset.open(target).shards(Split.TRAIN)[1].boxes.xywh.tolist() == [[11, 20, 30, 40]]


def test_a_dataset_whose_shards_are_being_replaced_cannot_be_opened_until_that_is_done(tmp_path: Path) -> None:
    source, target = three(tmp_path / "source"), tmp_path / "target"
    ingest(source, target, ETRAM3)
    for name in "ac":
        recording(source, f"train_h5_1/{name}", x=np.full(200, 7, np.uint16))
    with pytest.raises(KeyboardInterrupt):
        ingest(source, target, ETRAM3, interrupted_after(2))
    with pytest.raises(DatasetError, match="whose ingestion has not finished"):
        Dataset.open(target)
    assert news_of(source, target)[0] == ["c"]
    ingest(source, tmp_path / "fresh", ETRAM3)
    assert contents(target) == contents(tmp_path / "fresh")


def test_a_changed_recording_that_is_damaged_or_does_not_fit_leaves_the_dataset_as_it_was(tmp_path: Path) -> None:
    source, target = three(tmp_path / "source"), tmp_path / "target"
    ingest(source, target, ETRAM3)
    before = contents(target)
    recording(source, "train_h5_1/a", width=640)
    with pytest.raises(InputError, match="640x180"):
        ingest(source, target, ETRAM3)
    events_of(source, "train_h5_1/a").write_bytes(b"no HDF5")
    with pytest.raises(RecordingError, match="cannot be read as HDF5"):
        ingest(source, target, ETRAM3)
    assert contents(target) == before
    manifest = ingest(source, target, IngestOptions(skip_damaged=True))
    assert [entry.name for entry in manifest.recordings] == ["b", "c"]
    assert not shard_of(target, "a").exists()


def test_a_shard_that_was_replaced_but_not_noted_before_the_power_went_is_made_again(tmp_path: Path) -> None:
    source, target = three(tmp_path / "source"), tmp_path / "target"
    ingest(source, target, ETRAM3)
    recording(source, "train_h5_1/a", x=np.full(200, 7, np.uint16))
    with pytest.raises(KeyboardInterrupt):
        ingest(source, target, ETRAM3, interrupted_after(3))
    (target / ".ingest" / "train" / "a.json").unlink()  # its size and its times are those of a shard that is right
    assert news_of(source, target)[0] == ["a"]
    ingest(source, tmp_path / "fresh", ETRAM3)
    assert contents(target) == contents(tmp_path / "fresh")


def test_a_missing_shard_of_a_dataset_is_made_again(tmp_path: Path) -> None:
    source, target = three(tmp_path / "source"), tmp_path / "target"
    ingest(source, target, ETRAM3)
    before = contents(target)
    shard_of(target, "b").unlink()
    assert news_of(source, target)[0] == ["b"]
    assert contents(target) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (IngestOptions(labels="LABELS"), r"--labels makes the classes mine \(road user\), but .* with etram3 \(pedes"),
        (IngestOptions(size="640x480"), r"--size 640x480, but the dataset was ingested with 320x180"),
        (IngestOptions(split="8:1:1"), r"--split 8:1:1, but the dataset was ingested without --split"),
    ],
)
def test_other_options_than_the_dataset_was_ingested_with_are_an_error(
    tmp_path: Path, options: IngestOptions, message: str
) -> None:
    source, target = three(tmp_path / "source"), tmp_path / "target"
    ingest(source, target, ETRAM3)
    before = contents(target)
    labels = tmp_path / "mine.yaml"
    labels.write_text("name: mine\nclasses: etram3\nmerge: {road user: [vehicle]}\n")
    given = IngestOptions(labels=str(labels)) if options.labels else options
    with pytest.raises(DatasetError, match=f"target: {message}.*; leave --(labels|size|split) out"):
        ingest(source, target, given)
    assert contents(target) == before


def test_a_damaged_shard_is_rebuilt_alone_and_to_the_byte(tmp_path: Path) -> None:
    source, target = three(tmp_path / "source"), tmp_path / "target"
    ingest(source, target, ETRAM3)
    before = contents(target)
    times = {name: shard_of(target, name).stat().st_mtime_ns for name in "ac"}
    content = bytearray(shard_of(target, "b").read_bytes())
    content[len(content) // 2] ^= 0xFF
    shard_of(target, "b").write_bytes(content)
    assert news_of(source, target, IngestOptions(rebuild=("train/b",)))[0] == ["b"]
    assert contents(target) == before
    assert {name: shard_of(target, name).stat().st_mtime_ns for name in "ac"} == times


def test_a_shard_whose_source_changed_is_not_rebuilt(tmp_path: Path) -> None:
    source, target = three(tmp_path / "source"), tmp_path / "target"
    ingest(source, target, ETRAM3)
    before = contents(target)
    recording(source, "train_h5_1/b", x=np.full(200, 7, np.uint16))
    with pytest.raises(DatasetError, match=r"HDF5/train_h5_1/b_td\.h5 changed in the source since it was ingested"):
        ingest(source, target, IngestOptions(rebuild=("train/b",)))
    for ignored, option in (
        (IngestOptions(rebuild=("train/b",), processes=2), "--processes"),
        (IngestOptions(rebuild=("train/b",), skip_damaged=True), "--skip-damaged"),
    ):
        with pytest.raises(InputError, match=f"leave {option} out"):
            ingest(source, target, ignored)
    with pytest.raises(InputError, match=r"--rebuild train/x: the dataset has no such shard.*train/"):
        ingest(source, target, IngestOptions(rebuild=("train/x",)))
    for path in (events_of(source, "train_h5_1/b"), source / "HDF5/train_h5_1/b_bbox.npy"):
        path.unlink()
    with pytest.raises(InputError, match=r"source does not hold its recording HDF5/train_h5_1/b_td\.h5"):
        ingest(source, target, IngestOptions(rebuild=("train/b",)))
    assert contents(target) == before
    with pytest.raises(DatasetError, match="is no finished dataset, so nothing can be rebuilt"):
        ingest(source, tmp_path / "none", IngestOptions(labels="etram3", rebuild=("train/a",)))
    assert not (tmp_path / "none").exists()


def test_a_source_and_a_target_far_away_give_the_same_bytes_and_leave_nothing_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "scratch").mkdir()
    source, target = three(tmp_path / "source"), tmp_path / "target"
    ingest(source, target, ETRAM3)
    far = [f"file://{tmp_path}/{name}" for name in ("source", "far")]
    assert ingest(far[0], far[1], ETRAM3) == ingest(source, target)
    assert contents(tmp_path / "far") == contents(target)
    ingest(far[0], tmp_path / "near", ETRAM3)
    assert contents(tmp_path / "near") == contents(target)
    shard_of(tmp_path / "far", "b").write_bytes(b"")
    ingest(far[0], far[1], IngestOptions(rebuild=("train/b",)))
    assert contents(tmp_path / "far") == contents(target)
    recording(source, "train_h5_1/d", p=np.full(200, 3, np.int16))
    with pytest.raises(RecordingError, match=f"{re.escape(far[0])}/HDF5/train_h5_1/d_td.h5: row 0"):
        ingest(far[0], far[1], ETRAM3)
    assert [path.suffix for path in (tmp_path / "scratch").iterdir()] == [".lock"]


def test_a_second_ingestion_into_a_target_is_refused_while_the_first_goes_on(tmp_path: Path) -> None:
    source, target = three(tmp_path / "source"), tmp_path / "target"
    refused: list[str] = []

    def meanwhile(step: IngestProgress) -> None:
        if step.finished is not None and not refused:
            with pytest.raises(InputError, match="target: another ingestion writes into it; wait") as raised:
                ingest(source, target, ETRAM3)
            refused.append(str(raised.value))

    ingest(source, target, ETRAM3, meanwhile)
    assert len(refused) == 1
    ingest(source, tmp_path / "fresh", ETRAM3)
    assert contents(target) == contents(tmp_path / "fresh")


FULL_DISK = """
import resource, sys
from data.formats.discovery import find_recordings
from data.ingest.ingest import IngestOptions, ingest
source, target, warm = sys.argv[1:]
ingest(source + "/warm", warm, IngestOptions(labels="etram3"))  # what is compiled needs room, too
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
ingest(source + "/all", target, IngestOptions(labels="etram3"))
"""


def test_a_full_disk_is_named_and_the_same_command_goes_on_after_room_was_made(tmp_path: Path) -> None:
    source, target = three(tmp_path / "source" / "all"), tmp_path / "target"
    recording(tmp_path / "source" / "warm", "train_h5_1/a")
    recording(source, "train_h5_1/b", count=50_000)  # 200 kB of words
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "source"), str(target), str(tmp_path / "warm")]
    run = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert run.stderr.splitlines()[-1] == (
        f"data.errors.InputError: {target}: has no room left (File too large); make room: what is done is kept, and "
        "the same command goes on from there"
    )
    assert list(contents(target)) == [".ingest/train/a.json", "train/a.arrow"]
    assert news_of(source, target)[0] == ["b", "c"]
    ingest(source, tmp_path / "fresh", ETRAM3)
    assert contents(target) == contents(tmp_path / "fresh")


def test_a_target_that_cannot_be_written_is_an_input_error(tmp_path: Path) -> None:
    source = three(tmp_path / "source")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="file: is a file, but a dataset is a folder"):
        ingest(source, tmp_path / "file", ETRAM3)
    with pytest.raises(InputError, match=r"below: the ingestion cannot go on .*Not a directory"):
        ingest(source, tmp_path / "file" / "below", ETRAM3)
    assert (tmp_path / "file").read_text() == "mine"


def test_files_of_the_user_in_the_target_are_left_alone(tmp_path: Path) -> None:
    source, target = three(tmp_path / "source"), tmp_path / "target"
    target.mkdir()
    (target / "notes.txt").write_text("mine")
    ingest(source, target, ETRAM3)
    assert list(contents(target)) == ["manifest.json", "notes.txt", *(f"train/{name}.arrow" for name in "abc")]


def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    source, target = three(tmp_path / "source"), tmp_path / "target"
    labels = read_labels("etram3")
    finding = find_recordings(open_storage(source).files(), str(source), labels).findings[0]
    changing = events_of(source, "train_h5_1/a")

    def meanwhile(read: int, of: int | None) -> None:
        assert of == 200
        if read == 200:
            changing.touch()

    with pytest.raises(InputError, match=r"a_td\.h5: changed while it was read; wait until it is whole"):
        convert(finding, labels, source, target, None, meanwhile)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"count": 0}, r"b_td\.h5: holds no event inside the frame"),
        ({"y": np.full(200, 180, np.uint16)}, r"b_td\.h5: holds no event inside the frame"),
        ({"t": np.array([0] * 199 + [86_400_000_001])}, r"b_td\.h5: its times run from 0 to 86400000001 µs"),
        ({"boxes": [BOX, (1, 1, 1, 5, 5, 6, 1, 1)]}, r"b_bbox\.npy: row 1: class_id=6, but label set 'etram3'"),
    ],
)
def test_a_recording_that_breaks_a_rule_is_named(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    recording(tmp_path / "source", "train_h5_1/a")
    recording(tmp_path / "source", "train_h5_1/b", **changed)
    with pytest.raises(RecordingError, match=message):
        ingest(tmp_path / "source", tmp_path / "target", ETRAM3)
    assert not (tmp_path / "target" / "manifest.json").exists()


@pytest.mark.parametrize("far", [False, True])
def test_recordings_of_two_sensors_are_an_error_even_where_damage_is_skipped(tmp_path: Path, far: bool) -> None:
    recording(tmp_path / "source", "train_h5_1/a")
    recording(tmp_path / "source", "train_h5_1/b", width=640)
    source = f"file://{tmp_path}/source" if far else tmp_path / "source"
    message = r"b_td\.h5: the sensor has 640x180 pixels, .*that of .*a_td\.h5 320x180; a dataset has one sensor"
    with pytest.raises(InputError, match=message):
        ingest(source, tmp_path / "target", IngestOptions(labels="etram3", skip_damaged=True))
    assert not (tmp_path / "target" / "manifest.json").exists()


def test_a_sensor_that_a_label_set_taken_by_default_does_not_stand_for_is_an_error(tmp_path: Path) -> None:
    header = b"% Version 2\n% Width 640\n% Height 480\n" + bytes([12, 8])
    (tmp_path / "a_td.dat").write_bytes(header + np.array([5, 1 + 2 * 2**14 + 2**28], "<u4").tobytes())
    message = r"a_td\.dat: the sensor has 640x480 pixels, but label set 'gen1', taken by default, is of 304x240; name"
    with pytest.raises(InputError, match=message):
        ingest(tmp_path, tmp_path / "target")
    assert ingest(tmp_path, tmp_path / "target", IngestOptions(labels="gen1")).size == (640, 480)


def test_a_new_recording_of_another_sensor_than_the_datasets_is_an_error(tmp_path: Path) -> None:
    source, target = three(tmp_path / "source"), tmp_path / "target"
    ingest(source, target, ETRAM3)
    before = contents(target)
    recording(source, "train_h5_1/d", width=640)
    with pytest.raises(InputError, match=r"d_td\.h5: .*640x180.*320x180"):
        ingest(source, target, ETRAM3)
    assert contents(target) == before


def test_fewer_than_one_process_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--processes 0: must be at least 1"):
        ingest(three(tmp_path / "source"), tmp_path / "target", IngestOptions(labels="etram3", processes=0))


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
