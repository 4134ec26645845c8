"""Shards give back every event, exactly; damage is named."""

import hashlib
import json
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.boxes import Boxes, label_set
from data.dataset import Dataset
from data.errors import DatasetError
from data.events import Events, Repairs, SensorSize
from data.manifest import SCHEMA_VERSION, Manifest, ShardEntry, Split, shard_path
from data.packing import Words
from data.shard_writer import ShardWriter
from data.shards import Shard
from data.storage import open_storage

SIZE = SensorSize(2048, 1024)
LARGE = SensorSize(65_535, 65_535)


def events_at(t: Any, seed: int = 0, size: SensorSize = SIZE) -> Events:
    times = np.asarray(t, np.int64)
    random = np.random.default_rng(seed)
    x, y, p = (random.integers(0, top, len(times)) for top in (*size, 2))
    return Events(times, x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8))


def three_boxes() -> Boxes:
    xywh = np.array([[1.5, 2.25, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]], np.float32)
    return Boxes(np.array([7, 7, 300_000_001]), xywh, np.array([0, 2, 1]), np.array([4, 2**32 - 1, 4]))


def rows(events: Events, keep: npt.NDArray[np.bool_] | None = None) -> list[tuple[int, int, int, int]]:
    kept = events if keep is None else events.take(keep)
    return list(zip(*(column.tolist() for column in (kept.t, kept.x, kept.y, kept.p)), strict=True))


def write(folder: Path, parts: list[Events], name: str, words: Words = Words.NARROW, **limits: int) -> ShardEntry:
    path = shard_path(folder, Split.TRAIN, name)
    with ShardWriter(path, words, **limits) as writer:
        for part in parts:
            writer.write(part)
        writer.write_boxes(three_boxes())
    return ShardEntry(
        name=name, split=Split.TRAIN, night=None, events=writer.events, first_us=writer.first_us,
        last_us=writer.last_us, boxes=3, repairs=Repairs(), boxes_clipped=0, boxes_dropped=0, boxes_left_out=0,
        source=f"{name}_td.h5", source_bytes=0, source_sha256="", box_source=None, other_sources=(), words=words,
        file_bytes=writer.file_bytes, sha256=writer.sha256,
    )  # fmt: skip


@contextmanager
def shard_of(parts: list[Events], words: Words = Words.NARROW, **limits: int) -> Iterator[Shard]:
    with tempfile.TemporaryDirectory() as folder:
        entry = write(Path(folder), parts, "a", words, **limits)
        yield Shard(lambda: shard_path(Path(folder), Split.TRAIN, "a"), entry, SIZE)


def dataset(folder: Path, count: int = 1) -> Path:
    entries = tuple(write(folder, [events_at([1, 2, 5_000])], f"r{i}") for i in reversed(range(count)))
    labels = label_set("etram3")
    Manifest(
        schema_version=SCHEMA_VERSION, label_set=labels, source_labels=labels, label_mapping=(0, 1, 2),
        split_rule=None, size=SIZE, recordings=entries, left_out=(),
    ).write(open_storage(folder))  # fmt: skip
    return folder


# Bursts within a millisecond, pauses of many, and times around the start of the clock.
steps = st.lists(st.sampled_from([0, 0, 1, 3, 400, 999, 1000, 1001, 7_500]), min_size=1, max_size=60)
times = st.builds(lambda first, gaps: first + np.cumsum(gaps), st.integers(-3_000, 400_000_000), steps)


@settings(max_examples=150, deadline=None)
@given(times, st.integers(1, 20), st.integers(1, 8), st.integers(1, 12), st.sampled_from(Words), st.data())
def test_windows_of_a_shard_equal_a_mask_over_the_recording(
    t: npt.NDArray[np.int64], part: int, run_events: int, run_ms: int, words: Words, data: st.DataObject
) -> None:
    events = events_at(t, size=SIZE if words is Words.NARROW else LARGE)
    parts = [events.take(slice(first, first + part)) for first in range(0, len(t), part)]
    with shard_of(parts, words, run_events=run_events, run_ms=run_ms) as shard:
        assert rows(shard.events(int(t[0]), int(t[-1]) + 1)) == rows(events)
        assert rows(shard.events(int(t[0]) - 5_000, int(t[-1]) + 5_000)) == rows(events)
        for _ in range(5):
            start = data.draw(st.integers(int(t[0]) - 3_000, int(t[-1]) + 3_000))
            end = start + data.draw(st.integers(0, 20_000))
            assert rows(shard.events(start, end)) == rows(events, (events.t >= start) & (events.t < end))
            packed = shard.packed(start, end)
            assert len(packed.offsets) >= 1
            assert packed.offsets.tolist() == sorted(packed.offsets.tolist())
            assert (packed.offsets[0], packed.offsets[-1]) == (0, len(packed.words))


@settings(max_examples=30, deadline=None)
@given(times, st.integers(1, 20), st.integers(1, 20))
def test_a_shard_is_the_same_to_the_byte_however_its_events_arrive(
    t: npt.NDArray[np.int64], one: int, other: int
) -> None:
    events = events_at(t)
    made = []
    for part in (one, other):
        parts = [events.take(slice(first, first + part)) for first in range(0, len(t), part)]
        with shard_of(parts, run_events=4) as shard:
            made.append((shard.sha256, shard.path.read_bytes()))
    assert made[0] == made[1]
    assert made[0][0] == hashlib.sha256(made[0][1]).hexdigest()


def test_a_packed_slice_holds_each_millisecond_as_the_layout_says() -> None:
    t, x, y, p = np.array([2_999, 4_000, 4_007, 6_500]), [1279, 0, 2047, 5], [719, 1, 1023, 6], [1, 0, 1, 0]
    events = Events(t, np.array(x, np.uint16), np.array(y, np.uint16), np.array(p, np.uint8))
    with shard_of([events]) as shard:
        packed = shard.packed(2_999, 6_001)
        assert packed.first_ms == 2
        assert packed.offsets.tolist() == [0, 1, 1, 3, 3, 4]  # milliseconds 2, 3, 4, 5, 6
        assert packed.words.tolist() == [
            1279 + 719 * 2**11 + 1 * 2**21 + 999 * 2**22,
            0 + 1 * 2**11 + 0 * 2**21 + 0 * 2**22,
            2047 + 1023 * 2**11 + 1 * 2**21 + 7 * 2**22,
            5 + 6 * 2**11 + 0 * 2**21 + 500 * 2**22,
        ]
        assert (packed.offsets.dtype.name, packed.words.dtype.name) == ("int64", "uint32")
        inner = shard.packed(4_001, 4_002)  # whole milliseconds that cover the window
        assert (inner.first_ms, inner.offsets.tolist(), inner.words.tolist()) == (4, [0, 2], packed.words[1:3].tolist())


def test_the_sensor_size_chooses_the_words() -> None:
    assert Words.of(SensorSize(2048, 1024)) is Words.NARROW
    assert [Words.of(size) for size in (SensorSize(2049, 4), SensorSize(4, 1025), LARGE)] == [Words.WIDE] * 3


def test_a_wide_word_holds_the_corner_of_the_largest_sensor() -> None:
    t, x, y, p = np.array([2_999, 4_000]), [65_534, 0], [65_534, 65_000], [1, 0]
    events = Events(t, np.array(x, np.uint16), np.array(y, np.uint16), np.array(p, np.uint8))
    with shard_of([events], Words.WIDE) as shard:
        packed = shard.packed(0, 10_000)
        assert packed.words.tolist() == [65_534 + 65_534 * 2**16 + 1 * 2**32 + 999 * 2**33, 65_000 * 2**16]
        assert packed.words.dtype == np.uint64
        assert shard.packed(-9_000, -8_000).words.dtype == np.uint64  # an empty one too
        assert rows(shard.events(0, 10_000)) == rows(events)


@pytest.mark.parametrize(
    ("start", "end"), [(-9_000, -8_000), (0, 2_000), (7_000, 9_000), (3_000, 4_000), (4_500, 4_500)]
)
def test_a_window_without_events_is_an_empty_slice(start: int, end: int) -> None:
    with shard_of([events_at([2_999, 4_000, 6_500])]) as shard:
        assert len(shard.events(start, end)) == 0
        packed = shard.packed(start, end)
        assert packed.offsets[-1] == len(packed.words)
        assert packed.offsets[0] == 0


def test_a_slice_within_a_run_is_a_view_and_one_across_runs_is_joined() -> None:
    events = events_at(np.arange(0, 20_000, 100))
    with shard_of([events], run_events=100) as shard:  # 10 events a millisecond: runs of 10 milliseconds
        inside, across = shard.packed(1_000, 9_000), shard.packed(1_000, 11_000)
        assert not inside.words.flags.owndata
        assert np.shares_memory(inside.words, shard.packed(0, 10_000).words)
        assert across.words[:80].tolist() == inside.words.tolist()
        assert len(across.words) == 100
        assert not inside.words.flags.writeable
        assert not across.words.flags.writeable


def test_microseconds_are_exact_at_300_seconds_and_in_unix_time() -> None:
    late = [299_999_999, 300_000_001, 300_000_002]  # float32 would round these to multiples of 32
    with shard_of([events_at(late)]) as shard:
        assert shard.events(300_000_001, 300_000_002).t.tolist() == [300_000_001]
        assert shard.events(0, 10**9).t.tolist() == late
    with shard_of([events_at([1_672_932_747_906_204, 1_672_932_747_946_203])]) as shard:
        assert shard.events(1_672_932_747_906_205, 2 * 10**15).t.tolist() == [1_672_932_747_946_203]


def test_a_pause_of_hours_costs_no_index() -> None:
    hours_us = 20 * 3_600_000_000
    with shard_of([events_at([5, hours_us]), events_at([hours_us + 5])]) as shard:
        assert shard.path.stat().st_size < 10_000
        assert shard.events(0, 10_000).t.tolist() == [5]
        assert shard.events(hours_us // 2, hours_us // 2 + 10_000).t.tolist() == []
        assert shard.events(hours_us - 10_000, hours_us + 1).t.tolist() == [hours_us]


def test_an_event_a_minute_for_a_day_costs_kilobytes_not_a_byte_for_each_millisecond() -> None:
    t = np.arange(0, 24 * 3_600_000_000, 60_000_000)
    with shard_of([events_at(t)]) as shard:
        assert shard.path.stat().st_size < 1440 * 2_048  # one index of all milliseconds would be 690 MB
        assert shard.events(0, int(t[-1]) + 1).t.tolist() == t.tolist()
        assert shard.events(60_000_000, 120_000_000).t.tolist() == [60_000_000]


def test_a_pause_of_256_ms_stays_in_a_run_and_a_longer_one_starts_another() -> None:
    for pause_ms, runs in ((256, 1), (257, 2)):
        with shard_of([events_at([999, pause_ms * 1000])]) as shard:
            with pa.memory_map(str(shard.path)) as file:
                assert pa.ipc.open_file(file).num_record_batches == runs + 1  # and one for the labels
            assert shard.events(0, 300_000).t.tolist() == [999, pause_ms * 1000]


def test_a_millisecond_of_more_events_than_a_run_is_whole_to_its_reader() -> None:
    with shard_of([events_at([7_000] * 30), events_at([7_001] * 30), events_at([8_000])], run_events=10) as shard:
        assert shard.packed(7_000, 8_000).offsets.tolist() == [0, 60]
        assert shard.packed(7_000, 8_001).offsets.tolist() == [0, 60, 61]


def test_only_the_runs_that_a_window_touches_are_read() -> None:
    with shard_of([events_at(np.arange(0, 20_000, 100))], run_events=100) as shard:
        content = bytearray(shard.path.read_bytes())
        place = content.find(shard.packed(15_000, 15_300).words.tobytes())
        assert place > 0
        content[place] ^= 1
        shard.path.write_bytes(content)
        again = Shard(lambda: shard.path, shard.entry, SIZE)
        assert len(again.events(0, 10_000)) == 100
        with pytest.raises(DatasetError, match="batch 1: its checksum does not fit"):
            again.events(10_000, 10_100)  # damage anywhere in a run is found, wherever the window lies in it


def test_boxes_come_back_exactly() -> None:
    with shard_of([events_at([1, 2])]) as shard:
        expected, boxes = three_boxes(), shard.boxes
        for column in ("t", "xywh", "class_id", "track_id"):
            assert getattr(boxes, column).tolist() == getattr(expected, column).tolist()
            assert getattr(boxes, column).dtype == getattr(expected, column).dtype
        assert boxes.at(7).class_id.tolist() == [0, 2]


def test_a_write_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def interrupted() -> None:
        with ShardWriter(tmp_path / "a.arrow", Words.NARROW, run_events=2) as writer:
            writer.write(events_at([1, 1_001, 2_001, 3_001]))
            assert len(list(tmp_path.iterdir())) == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_opens_with_its_shards_sorted_by_name(tmp_path: Path) -> None:
    opened = Dataset.open(dataset(tmp_path, 3))
    assert (opened.label_set, opened.size, opened.location) == (label_set("etram3"), SIZE, str(tmp_path))
    shards = opened.shards(Split.TRAIN)
    assert [shard.name for shard in shards] == ["r0", "r1", "r2"]
    assert (shards[0].first_us, shards[0].last_us, shards[0].event_count) == (1, 5_000, 3)
    with pytest.raises(DatasetError, match=r"split 'val' holds no recording; .* use: train"):
        opened.shards(Split.VAL)


def test_mapped_shards_hold_no_open_files(tmp_path: Path) -> None:
    shards = Dataset.open(dataset(tmp_path, 20)).shards(Split.TRAIN)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for shard in shards:
        assert shard.events(0, 10_000).t.tolist() == [1, 2, 5_000]
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_folder_without_a_manifest_is_an_error_that_names_the_command(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(DatasetError, match=r"holds no manifest\.json.*spiketune ingest"):
            Dataset.open(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema_version": 1}', '{"schema_version": 2}', "\xff"])
def test_a_manifest_that_is_damaged_or_of_another_version_is_an_error_with_a_remedy(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text, "latin-1")
    with pytest.raises(DatasetError, match=r"manifest\.json: .*ingest the recordings again"):
        Dataset.open(tmp_path)


def test_a_missing_or_cut_shard_is_an_error_that_names_it(tmp_path: Path) -> None:
    shard = shard_path(dataset(tmp_path), Split.TRAIN, "r0")
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=r"r0\.arrow: the shard has \d+ bytes instead of"):
        Dataset.open(tmp_path)
    shard.unlink()
    with pytest.raises(
        DatasetError,
        match=r"r0\.arrow: the shard is missing; rebuild it alone: spiketune ingest SOURCE .* --rebuild train/r0",
    ):
        Dataset.open(tmp_path)


def test_every_flipped_byte_of_a_shard_is_found_or_harmless(tmp_path: Path) -> None:
    # Harmless: the leading copy of the columns' names, and the filling between them, which nothing reads.
    events = events_at([5, 6, 1_000, 2_005, 2_005, 2_999])
    entry = write(tmp_path, [events], "a")
    path = shard_path(tmp_path, Split.TRAIN, "a")
    whole = path.read_bytes()
    found, told = set(), set()
    for place in range(len(whole)):
        content = bytearray(whole)
        content[place] ^= 0xFF
        path.write_bytes(content)
        shard = Shard(lambda: path, entry, SIZE)
        try:
            assert rows(shard.events(0, 5_000)) == rows(events)
            assert shard.boxes.xywh.tolist() == three_boxes().xywh.tolist()
            assert shard.boxes.t.tolist() == three_boxes().t.tolist()
        except DatasetError as error:
            found.add(place)
            told.add(str(error).split("; ")[-1])
    assert told == {"rebuild it alone: spiketune ingest SOURCE DATASET --rebuild train/a"}
    shard = Shard(lambda: path, entry, SIZE)
    path.write_bytes(whole)
    words = shard.packed(0, 3_000).words
    pieces = [words.tobytes(), three_boxes().xywh[:, 0].tobytes(), three_boxes().t.tobytes()]
    for piece in pieces:
        place = whole.find(piece)
        assert place > 0
        assert found.issuperset(range(place, place + len(piece)))


@pytest.mark.parametrize("damage", ["zeros", "index", "count"])
def test_a_damaged_shard_of_the_right_size_is_an_error_at_first_use(tmp_path: Path, damage: str) -> None:
    shard = shard_path(dataset(tmp_path), Split.TRAIN, "r0")
    content = bytearray(shard.read_bytes())
    if damage == "zeros":
        content[-200:] = bytes(200)
    if damage == "index":  # offsets 0, 2, 2, 2, 2, 2, 3 of milliseconds 0 to 5
        place = content.find(np.array([0, 2, 2, 2, 2, 2, 3], "<i8").tobytes())
        assert place > 0
        content[place + 8 : place + 16] = np.array([1 << 40], "<i8").tobytes()
    shard.write_bytes(content)
    if damage == "count":
        manifest = json.loads((tmp_path / "manifest.json").read_text())
        manifest["recordings"][0]["events"] = 4
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    opened = Dataset.open(tmp_path).shards(Split.TRAIN)[0]
    with pytest.raises(DatasetError, match=r"r0\.arrow: the shard is damaged: .*; rebuild it alone: spiketune ingest"):
        opened.packed(0, 10_000)


def test_an_index_that_would_have_words_read_outside_is_refused_though_its_checksum_fits(
    tmp_path: Path,
) -> None:
    entry = write(tmp_path, [events_at([1, 2, 5_000])], "a")
    path = shard_path(tmp_path, Split.TRAIN, "a")
    content = path.read_bytes()
    sound = np.array([0, 2, 2, 2, 2, 2, 3], "<i8").tobytes()
    wrong = np.array([0, 9, 2, 2, 2, 2, 3], "<i8").tobytes()
    checksums = [np.uint32(zlib.crc32(_row(offsets, events_at([1, 2, 5_000])))).tobytes() for offsets in (sound, wrong)]
    assert content.count(checksums[0]) == 1
    path.write_bytes(content.replace(sound, wrong).replace(checksums[0], checksums[1]))
    with pytest.raises(DatasetError, match="batch 0: its time index does not fit its events"):
        Shard(lambda: path, entry, SIZE).packed(0, 10_000)


def _row(offsets: bytes, events: Events) -> bytes:
    """What the checksum of a run that begins in millisecond 0 is of."""
    words = [
        x + (y << 11) + (p << 21) + (t % 1000 << 22)
        for t, x, y, p in zip(*(column.tolist() for column in (events.t, events.x, events.y, events.p)), strict=True)
    ]
    return np.int64(0).tobytes() + offsets + np.array(words, "<u4").tobytes()
