"""Shards give back every event, exactly; damage is named."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.boxes import Boxes, label_set
from data.dataset import Dataset
from data.errors import DatasetError
from data.events import Events, Repairs, SensorSize
from data.manifest import SCHEMA_VERSION, Manifest, ShardEntry, Split, shard_path
from data.shard_writer import ShardWriter
from data.shards import Shard

SIZE = SensorSize(2048, 1024)


def events_at(t: Any, seed: int = 0) -> Events:
    times = np.asarray(t, np.int64)
    random = np.random.default_rng(seed)
    x, y, p = (random.integers(0, top, len(times)) for top in (2048, 1024, 2))
    return Events(times, x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8))


def three_boxes() -> Boxes:
    xywh = np.array([[1.5, 2.25, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]], np.float32)
    return Boxes(np.array([7, 7, 300_000_001]), xywh, np.array([0, 2, 1]), np.array([4, 2**32 - 1, 4]))


def rows(events: Events, keep: npt.NDArray[np.bool_] | None = None) -> list[tuple[int, int, int, int]]:
    kept = events if keep is None else events.take(keep)
    return list(zip(*(column.tolist() for column in (kept.t, kept.x, kept.y, kept.p)), strict=True))


def write(folder: Path, parts: list[Events], name: str, **limits: int) -> ShardEntry:
    path = shard_path(folder, Split.TRAIN, name)
    with ShardWriter(path, three_boxes(), **limits) as writer:
        for part in parts:
            writer.write(part)
    return ShardEntry(
        name=name, split=Split.TRAIN, night=None, events=writer.events, first_us=writer.first_us,
        last_us=writer.last_us, boxes=3, repairs=Repairs(), boxes_clipped=0, boxes_dropped=0,
        source=f"{name}_td.h5", file_bytes=path.stat().st_size, sha256="",
    )  # fmt: skip


@contextmanager
def shard_of(parts: list[Events], **limits: int) -> Iterator[Shard]:
    with tempfile.TemporaryDirectory() as folder:
        entry = write(Path(folder), parts, "a", **limits)
        yield Shard(shard_path(Path(folder), Split.TRAIN, "a"), entry, SIZE)


def dataset(folder: Path, count: int = 1) -> Path:
    entries = tuple(write(folder, [events_at([1, 2, 5_000])], f"r{i}") for i in reversed(range(count)))
    manifest = Manifest(
        schema_version=SCHEMA_VERSION, label_set=label_set("etram3"), size=SIZE, recordings=entries
    )  # fmt: skip
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    return folder


# Bursts within a millisecond, pauses of many, and times around the start of the clock.
steps = st.lists(st.sampled_from([0, 0, 1, 3, 400, 999, 1000, 1001, 7_500]), min_size=1, max_size=60)
times = st.builds(lambda first, gaps: first + np.cumsum(gaps), st.integers(-3_000, 400_000_000), steps)


@settings(max_examples=150, deadline=None)
@given(times, st.integers(1, 20), st.integers(1, 8), st.integers(1, 12), st.data())
def test_windows_of_a_shard_equal_a_mask_over_the_recording(
    t: npt.NDArray[np.int64], part: int, batch_events: int, batch_ms: int, data: st.DataObject
) -> None:
    events = events_at(t)
    parts = [events.take(slice(first, first + part)) for first in range(0, len(t), part)]
    with shard_of(parts, batch_events=batch_events, batch_ms=batch_ms) as shard:
        assert rows(shard.events(int(t[0]), int(t[-1]) + 1)) == rows(events)
        assert rows(shard.events(int(t[0]) - 5_000, int(t[-1]) + 5_000)) == rows(events)
        for _ in range(5):
            start = data.draw(st.integers(int(t[0]) - 3_000, int(t[-1]) + 3_000))
            end = start + data.draw(st.integers(0, 20_000))
            assert rows(shard.events(start, end)) == rows(events, (events.t >= start) & (events.t < end))


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


@pytest.mark.parametrize(
    ("start", "end"), [(-9_000, -8_000), (0, 2_000), (7_000, 9_000), (3_000, 4_000), (4_500, 4_500)]
)
def test_a_window_without_events_is_an_empty_slice(start: int, end: int) -> None:
    with shard_of([events_at([2_999, 4_000, 6_500])]) as shard:
        assert len(shard.events(start, end)) == 0
        packed = shard.packed(start, end)
        assert packed.offsets[-1] == len(packed.words)
        assert packed.offsets[0] == 0


def test_a_slice_within_a_batch_is_a_view_and_one_across_batches_is_joined() -> None:
    events = events_at(np.arange(0, 20_000, 100))
    with shard_of([events], batch_events=100) as shard:  # 10 events a millisecond: batches of 10 milliseconds
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
        assert shard.path.stat().st_size < 100_000
        assert shard.events(0, 10_000).t.tolist() == [5]
        assert shard.events(hours_us // 2, hours_us // 2 + 10_000).t.tolist() == []
        assert shard.events(hours_us - 10_000, hours_us + 1).t.tolist() == [hours_us]


def test_a_millisecond_of_more_events_than_a_batch_stays_whole() -> None:
    with shard_of([events_at([7_000] * 30), events_at([7_001] * 30), events_at([8_000])], batch_events=10) as shard:
        assert shard.packed(7_000, 8_000).offsets.tolist() == [0, 60]
        assert shard.packed(7_000, 8_001).offsets.tolist() == [0, 60, 61]


def test_boxes_come_back_exactly() -> None:
    with shard_of([events_at([1, 2])]) as shard:
        expected, boxes = three_boxes(), shard.boxes
        for column in ("t", "xywh", "class_id", "track_id"):
            assert getattr(boxes, column).tolist() == getattr(expected, column).tolist()
            assert getattr(boxes, column).dtype == getattr(expected, column).dtype
        assert boxes.at(7).class_id.tolist() == [0, 2]


def test_a_write_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def interrupted() -> None:
        with ShardWriter(tmp_path / "a.arrow", Boxes.empty(), batch_events=2) as writer:
            writer.write(events_at([1, 1_001, 2_001, 3_001]))
            assert len(list(tmp_path.iterdir())) == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_opens_with_its_shards_sorted_by_name(tmp_path: Path) -> None:
    opened = Dataset.open(dataset(tmp_path, 3))
    assert (opened.label_set, opened.size, opened.path) == (label_set("etram3"), SIZE, tmp_path)
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


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema_version": 2}', '{"schema_version": 1}', "\xff"])
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
    with pytest.raises(DatasetError, match=r"r0\.arrow: the shard is missing; remove the dataset and ingest"):
        Dataset.open(tmp_path)


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
    with pytest.raises(DatasetError, match=r"r0\.arrow: the shard is damaged: .*; remove the dataset and ingest"):
        opened.packed(0, 10_000)
