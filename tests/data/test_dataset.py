"""A dataset opens in a moment wherever it lies, names what is missing or damaged, and travels light."""

import hashlib
import os
import pickle
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from data.boxes import Boxes, LabelSet, label_set
from data.dataset import Dataset
from data.errors import DatasetError, InputError
from data.events import Events, Repairs, SensorSize
from data.manifest import MANIFEST, SCHEMA_VERSION, Manifest, ShardEntry, Split, shard_name
from data.packing import Words
from data.storage import SourceFile, open_storage
from tests.object_store import KEYS, S3Server, s3_server

MANY = 10_000
SIZE = SensorSize(64, 48)


def entry(split: Split, name: str, content: bytes) -> ShardEntry:
    return ShardEntry(
        name=name, split=split, night=None, events=1, first_us=0, last_us=0, boxes=0, repairs=Repairs(),
        boxes_clipped=0, boxes_dropped=0, boxes_left_out=0, source=f"{name}.h5", source_bytes=1, source_sha256="0" * 64,
        box_source=None, other_sources=(), words=Words.NARROW, file_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )  # fmt: skip


def manifest_of(entries: Sequence[ShardEntry]) -> Manifest:
    labels = label_set("etram3")
    return Manifest(
        schema_version=SCHEMA_VERSION, label_set=labels, source_labels=labels, label_mapping=(0, 1, 2), split_rule=None,
        size=SIZE, recordings=tuple(entries), left_out=(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten thousand shards, none of which is one: whoever reads one fails."""
    folder = tmp_path_factory.mktemp("many")
    (folder / "content").write_bytes(b"not a shard")
    entries = []
    for number in range(MANY):
        split = list(Split)[number % 3]
        entries.append(entry(split, f"r{number:05d}", b"not a shard"))
        path = folder / shard_name(split, f"r{number:05d}")
        path.parent.mkdir(exist_ok=True)
        path.hardlink_to(folder / "content")
    manifest_of(entries).write(open_storage(folder))
    return folder


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPIKETUNE_CACHE", str(tmp_path / "cache"))
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    return tmp_path / "cache" / "shards"


@pytest.fixture
def small(tmp_path: Path, make_take: Callable[..., object], write_dataset: Callable[..., Dataset]) -> Dataset:
    """Two recordings to train on and one to validate on, with boxes of classes 0 0 2, of 1 1, and none."""
    classes = {"a": [0, 0, 2], "b": [1, 1], "c": []}
    takes = []
    for name, split in (("b", Split.TRAIN), ("a", Split.TRAIN), ("c", Split.VAL)):
        t = np.arange(0, 900_000, 1_000, dtype=np.int64)
        events = Events(t, (t % 64).astype(np.uint16), (t % 48).astype(np.uint16), (t % 2).astype(np.uint8))
        count = len(classes[name])
        ids = np.array(classes[name], np.int64)
        boxes = Boxes(np.arange(count) * 50_000, np.full((count, 4), 8, np.float32), ids, ids)
        takes.append(make_take(name, split, events, boxes))
    labels: LabelSet = label_set("etram3")
    return write_dataset(tmp_path / "small", takes, SIZE, labels)


def copied(dataset: Dataset, server: S3Server, folder: str) -> str:
    """The dataset's location after it was copied into the store."""
    storage, source = open_storage(server.url(folder)), Path(dataset.location)
    for file in open_storage(source).files():
        storage.put(source / file.path, file.path)
    return storage.location


def test_ten_thousand_recordings_open_without_a_look_into_one(many: Path) -> None:
    start = time.process_time()
    dataset = Dataset.open(many)
    assert time.process_time() - start < 2  # 0.5 s where nothing else runs
    assert sum(len(dataset.shards(split)) for split in Split) == MANY
    with pytest.raises(DatasetError, match="damaged"):  # it is read when it is used
        _ = dataset.shards(Split.TRAIN)[0].boxes


def test_shards_are_sorted_by_name(small: Dataset) -> None:
    assert [shard.name for shard in small.shards(Split.TRAIN)] == ["a", "b"]


def test_an_empty_split_is_an_error_that_names_the_others(small: Dataset) -> None:
    with pytest.raises(DatasetError, match=r"small: split 'test' holds no recording; .*: train, val$"):
        small.shards(Split.TEST)


def test_a_missing_shard_is_named_with_the_command_that_makes_it_again(small: Dataset) -> None:
    (Path(small.location) / "train" / "b.arrow").unlink()
    again = rf"spiketune ingest SOURCE {small.location} --rebuild train/b$"
    with pytest.raises(DatasetError, match=rf"small/train/b\.arrow: the shard is missing; rebuild it alone: {again}"):
        Dataset.open(small.location)


def test_a_shard_of_another_size_is_named(small: Dataset) -> None:
    path = Path(small.location) / "val" / "c.arrow"
    size = path.stat().st_size
    os.truncate(path, size - 1)
    with pytest.raises(DatasetError, match=rf"c\.arrow: the shard has {size - 1} bytes instead of {size};.* val/c$"):
        Dataset.open(small.location)


def test_a_missing_folder_of_a_split_is_a_missing_shard(small: Dataset) -> None:
    shutil.rmtree(Path(small.location) / "val")
    with pytest.raises(DatasetError, match=r"val/c\.arrow: the shard is missing"):
        Dataset.open(small.location)


def test_a_folder_without_a_manifest_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds no manifest\.json"):
        Dataset.open(tmp_path)


def test_boxes_are_counted_by_class(small: Dataset) -> None:
    assert small.class_counts(Split.TRAIN).tolist() == [2, 2, 1]  # 0 0 2 and 1 1
    assert small.class_counts(Split.VAL).tolist() == [0, 0, 0]
    assert small.class_counts(Split.VAL).dtype == np.int64


def test_a_relative_path_is_made_absolute_and_a_url_is_left(
    small: Dataset, server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Dataset.open("small").location == str(tmp_path / "small")
    assert Dataset.open(copied(small, server, tmp_path.name)).location == server.url(tmp_path.name)


@pytest.mark.parametrize("kind", ["s3", "file"])
def test_a_dataset_far_away_reads_as_the_one_it_was_copied_from(
    kind: str, small: Dataset, server: S3Server, tmp_path: Path, cache: Path
) -> None:
    location = copied(small, server, tmp_path.name) if kind == "s3" else (tmp_path / "small").as_uri()
    far = Dataset.open(location)
    assert not cache.exists()  # opening fetches nothing
    for near_shard, far_shard in zip(small.shards(Split.TRAIN), far.shards(Split.TRAIN), strict=True):
        near, fetched = near_shard.events(0, 10**6), far_shard.events(0, 10**6)
        assert len(fetched) == 900
        assert all(np.array_equal(getattr(near, key), getattr(fetched, key)) for key in "txyp")
        assert far_shard.path.is_relative_to(cache)
    assert len([path for path in cache.iterdir() if path.is_file()]) == 2  # that of val was not asked for


def test_a_shard_far_away_that_is_missing_is_named_when_it_is_used(
    small: Dataset, server: S3Server, tmp_path: Path
) -> None:
    location = copied(small, server, tmp_path.name)
    open_storage(location).remove(PurePosixPath("train/a.arrow"))
    far = Dataset.open(location)
    with pytest.raises(DatasetError, match=r"s3://.*train/a\.arrow: the shard is missing; .* --rebuild train/a$"):
        far.shards(Split.TRAIN)[0].events(0, 1000)


def test_a_location_that_holds_nothing_is_an_error(server: S3Server, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds no manifest\.json"):
        Dataset.open(server.url(tmp_path.name))
    with pytest.raises(InputError, match="no bucket 'nowhere'"):
        Dataset.open(server.url(tmp_path.name).replace("recordings", "nowhere"))


def test_a_dataset_in_use_pickles_without_what_it_has_mapped(small: Dataset) -> None:
    before = len(pickle.dumps(small))
    boxes = small.shards(Split.TRAIN)[0].boxes
    small.shards(Split.TRAIN)[0].events(0, 10**6)
    sent = pickle.dumps(small)
    assert len(sent) == before < 20_000
    again = pickle.loads(sent)
    assert again.location == small.location
    assert again.shards(Split.TRAIN)[0].boxes.t.tolist() == boxes.t.tolist() == [0, 50_000, 100_000]


def test_a_dataset_far_away_pickles_and_uses_the_same_cache(small: Dataset, server: S3Server, tmp_path: Path) -> None:
    far = Dataset.open(copied(small, server, tmp_path.name))
    path = far.shards(Split.TRAIN)[0].path
    again = pickle.loads(pickle.dumps(far))
    assert again.shards(Split.TRAIN)[0].path == path
    assert again.shards(Split.TRAIN)[0].boxes.class_id.tolist() == [0, 0, 2]


def test_a_shard_in_use_pickles_by_itself(small: Dataset) -> None:
    shard = small.shards(Split.TRAIN)[0]
    before = shard.events(0, 10**6)
    again = pickle.loads(pickle.dumps(shard))
    assert np.array_equal(again.events(0, 10**6).t, before.t)
    assert again.boxes.class_id.tolist() == [0, 0, 2]


def test_the_manifest_is_one_file_beside_the_splits(small: Dataset) -> None:
    files = open_storage(small.location).files()
    assert {file.path for file in files} == {MANIFEST} | {
        shard_name(each.split, each.name) for each in small.manifest.recordings
    }
    assert all(isinstance(file, SourceFile) and file.bytes for file in files)
