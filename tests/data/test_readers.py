"""Readers: real recordings give the counts others found in them; written ones come back as they were written."""

import struct
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import data.formats.dat
import data.formats.etram
import data.formats.faery_child
import data.formats.faery_recording
import data.formats.rvt
from data.boxes import BOX_DTYPE, Boxes, label_set
from data.errors import RecordingError
from data.events import Events, Repairs, SensorSize
from data.formats.dat import DatRecording
from data.formats.etram import EtramRecording
from data.formats.faery_recording import FaeryRecording
from data.formats.hdf5_column import Hdf5Column
from data.formats.recording import Recording
from data.formats.rvt import RvtRecording

faery = pytest.importorskip("faery")
RECORDINGS = Path(__file__).parents[3] / "shared" / "recordings"
real = pytest.mark.skipif(not RECORDINGS.exists(), reason="the real recordings (../shared/recordings) are not here")
GEN1 = label_set("gen1")
VGA = SensorSize(640, 480)
Row = tuple[int, int, int, int]  # t, x, y, p


def read(recording: Recording) -> tuple[Events, Repairs]:
    chunks = list(recording.chunks())
    t, x, y, p = (np.concatenate([getattr(events, name) for events, _ in chunks]) for name in "txyp")
    return Events(t, x, y, p), sum((repairs for _, repairs in chunks), Repairs())


def labels(recording: Recording) -> Boxes | None:
    return recording.boxes()


def rows(recording: Recording) -> list[Row]:
    events, _ = read(recording)
    return list(zip(events.t.tolist(), events.x.tolist(), events.y.tolist(), events.p.tolist(), strict=True))


# HDF5


def columns(count: int = 50) -> dict[str, Any]:
    random = np.random.default_rng(1)
    return {
        "t": np.sort(random.integers(0, 10**6, count)),
        "x": random.integers(0, 1280, count).astype(np.uint16),
        "y": random.integers(0, 720, count).astype(np.uint16),
        "p": random.integers(0, 2, count).astype(np.int16),
    }


def write_h5(path: Path, storage: dict[str, Any] | None = None, **changed: Any) -> EtramRecording:
    with h5py.File(path, "w") as file:
        for key, values in (columns() | changed).items():
            if values is not None:
                scalar = np.ndim(values) == 0
                file.create_dataset(f"events/{key}", data=values, **({} if scalar else storage or {}))
    return EtramRecording(path)


STORAGES = {
    "plain": {},
    "gzip": {"compression": "gzip"},
    "gzip in small chunks": {"compression": "gzip", "chunks": (9,)},
    "shuffled gzip": {"compression": "gzip", "shuffle": True, "chunks": (16,)},
    "gzip with checksums": {"compression": "gzip", "fletcher32": True},
    "lzf": {"compression": "lzf", "chunks": (13,)},
    "blosc": dict(hdf5plugin.Blosc(cname="zstd")),
    "zstd": dict(hdf5plugin.Zstd()),
}


@pytest.mark.parametrize("storage", STORAGES.values(), ids=STORAGES.keys())
def test_hdf5_events_come_back_exactly_whatever_the_filter(
    tmp_path: Path, storage: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data.formats.etram, "CHUNK_EVENTS", 7)
    recording = write_h5(tmp_path / "train_night_0001_td.h5", storage)
    events, repairs = read(recording)
    for key, values in columns().items():
        assert getattr(events, key).tolist() == values.tolist()
    assert (repairs, recording.row_count, labels(recording)) == (Repairs(), 50, None)
    assert len(list(recording.chunks())) == 8  # 50 events in sevens


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">i2", "<u4", ">u4", "<i8", ">i8", "<u8"])
@pytest.mark.parametrize("shuffle", [True, False])
def test_a_gzip_column_reads_as_h5py_reads_it(tmp_path: Path, dtype: str, shuffle: bool) -> None:
    limits = np.iinfo(np.dtype(dtype))
    values = np.random.default_rng(2).integers(limits.min, limits.max, 1000, limits.dtype.newbyteorder("="), True)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        column = file.create_dataset("a", data=values.astype(dtype), compression="gzip", shuffle=shuffle, chunks=(64,))
        column.id.write_direct_chunk((128,), values[128:192].astype(dtype).tobytes(), 3)  # a chunk left as it is
        reader = Hdf5Column(column, tmp_path / "a.h5")
        parts = [reader.read(first, min(first + 90, 1000)) for first in range(0, 1000, 90)]
        assert np.concatenate(parts).tolist() == column[:].tolist() == values.tolist()


@pytest.mark.parametrize(
    ("name", "expected"), [("a_td.h5", "a"), ("a.h5", "a"), ("a.hdf5", "a"), ("a_td.hdf5", "a"), ("a_x.h5", "a_x")]
)
def test_an_hdf5_recording_is_named_without_its_ending(name: str, expected: str) -> None:
    assert EtramRecording(Path("folder", name)).name == expected


@pytest.mark.parametrize("place", ["events/", ""])
def test_an_hdf5_file_may_name_its_sensor(tmp_path: Path, place: str) -> None:
    recording = write_h5(tmp_path / "a_td.h5")
    assert recording.size == SensorSize(1280, 720)
    assert EtramRecording(recording.path, VGA).size == VGA
    with h5py.File(recording.path, "a") as file:
        file[f"{place}width"], file[f"{place}height"] = 320, 180
    assert EtramRecording(recording.path).size == SensorSize(320, 180)
    with pytest.raises(RecordingError, match=r"a_td\.h5: names the geometry 320x180, but 640x480 was given"):
        _ = EtramRecording(recording.path, VGA).size


def test_hdf5_repairs_are_counted_across_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data.formats.etram, "CHUNK_EVENTS", 3)
    recording = write_h5(
        tmp_path / "a_td.h5",
        t=np.array([10, 20, 30, 25, 29, 300_000_001, 300_000_000]),
        x=np.array([0, 1, 2, 3, 4, 5, 1280], np.uint16),
        y=np.array([0, 33014, 2, 3, 4, 32886, 6], np.uint16),  # the two flipped bits known in eTraM
        p=np.array([-1, 1, 1, -1, 1, 1, -1], np.int16),
    )
    events, repairs = read(recording)
    assert events.t.tolist() == [10, 30, 30, 30]
    assert events.p.tolist() == [0, 1, 0, 1]
    assert repairs == Repairs(out_of_frame=3, backward_times=2, signed_polarity=True, bit15=2)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"p": None}, "has no column /events/p"),
        ({"x": np.zeros(49, np.uint16)}, r"differ in length \(t 50, x 49, y 50, p 50\)"),
        ({"t": np.zeros(50)}, "/events/t is float64, but must hold whole numbers"),
        ({"y": np.zeros((50, 1), np.uint16)}, "has no column /events/y"),
        ({"p": np.array([1] * 41 + [5] * 9, np.int16)}, "row 41: polarity p=5"),
        ({"width": 1.5}, "/events/width must be one whole number"),
        ({"height": 0}, "/events/height is 0"),
        ({"height": 720}, "has one of /width and /height"),
        ({"width": 10**9, "height": 720}, "names the geometry 1000000000x720, but a side has 1 to 65536 pixels"),
    ],
)
def test_an_hdf5_file_that_breaks_a_rule_is_named(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    recording = write_h5(tmp_path / "a_td.h5", **changed)
    with pytest.raises(RecordingError, match=rf"a_td\.h5: .*{message}"):
        read(recording)


# DAT

HEAD = "% Data file containing CD events.\n% Version 2\n% Height 240\n% Width 304\n"


def write_dat(path: Path, events: list[Row], head: str = HEAD, mark: bytes = b"\x0c\x08", v1: bool = False) -> Path:
    words = [(t, x | y << 9 | p << 17 if v1 else x | y << 14 | p << 28) for t, x, y, p in events]
    path.write_bytes(head.encode("ascii") + mark + np.array(words, "<u4").tobytes())
    return path


def test_dat_bits_are_read_as_the_format_lays_them_out(tmp_path: Path) -> None:
    # The first event of the GEN1 sample, worked out by hand: 43 1c 39 01 | 19 41 18 00.
    path = tmp_path / "a_td.dat"
    content = bytes.fromhex("431c3901 19411800") + bytes.fromhex("441c3901 19411810")
    path.write_bytes(HEAD.encode() + b"\x0c\x08" + content)
    recording = DatRecording(path)
    assert rows(recording) == [(20_520_003, 281, 97, 0), (20_520_004, 281, 97, 1)]
    assert (recording.size, recording.name, recording.row_count) == (SensorSize(304, 240), "a", 2)
    assert labels(recording) is None


@pytest.mark.parametrize("mark", [b"\x00\x08", b"\x0c\x08"])
def test_version_1_of_dat_has_nine_bits_of_x_and_eight_of_y(tmp_path: Path, mark: bytes) -> None:
    head = "% Data file\n% Version 1\n% Width 304\n% Height 240\n"
    events = [(5, 303, 239, 1), (6, 0, 0, 0), (7, 256, 128, 1)]
    path = write_dat(tmp_path / "a.dat", events, head, mark, v1=True)
    assert rows(DatRecording(path)) == events
    if mark == b"\x0c\x08":  # faery takes no other
        packets = np.concatenate(list(faery.events_stream_from_file(path, version_fallback="dat1")))
        assert [tuple(map(int, row)) for row in packets] == events


def test_a_dat_clock_that_starts_anew_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end = 2**32
    clock = [end - 9, end - 2, 3, end - 1, 5, 6]  # the fourth event comes late, out of order
    path = write_dat(tmp_path / "a_td.dat", [(t, 0, 0, 1) for t in clock])
    for step in (1, 2, 3, 10):
        monkeypatch.setattr(data.formats.dat, "CHUNK_EVENTS", step)
        events, repairs = read(DatRecording(path))
        assert events.t.tolist() == [end - 9, end - 2, end + 3, end + 3, end + 5, end + 6]
        assert repairs == Repairs(backward_times=1)


def test_a_dat_file_without_geometry_is_taken_for_gen1_unless_another_is_given_or_seen(tmp_path: Path) -> None:
    path = write_dat(tmp_path / "b_td.dat", [(1, 303, 239, 1), (2, 304, 0, 1)], "% Version 2\n")
    with pytest.raises(
        RecordingError, match=r"b_td\.dat: the header names no Width and Height, and events lie outside"
    ):
        read(DatRecording(path))
    assert len(read(DatRecording(path, VGA))[0]) == 2
    inside = write_dat(tmp_path / "a_td.dat", [(1, 303, 239, 1)], "% Version 2\n")
    assert (DatRecording(inside).size, rows(DatRecording(inside))) == (SensorSize(304, 240), [(1, 303, 239, 1)])


def test_dat_events_outside_a_named_geometry_are_dropped_and_counted(tmp_path: Path) -> None:
    path = write_dat(tmp_path / "a_td.dat", [(1, 304, 0, 1), (2, 3, 240, 1), (3, 3, 3, 0)])
    events, repairs = read(DatRecording(path))
    assert (events.t.tolist(), repairs) == ([3], Repairs(out_of_frame=2))


@pytest.mark.parametrize(
    ("head", "mark", "message"),
    [
        ("", b"\x0c\x08", "is no DAT file of version 1 or 2"),
        ("% Version 3\n", b"\x0c\x08", "is no DAT file of version 1 or 2"),
        (HEAD, b"\x0e\x08", "event type and size after the header are 0e 08"),
        (HEAD, b"\x0c\x0c", "event type and size after the header are 0c 0c"),
        ("% Version 2\n% Width 0\n% Height 240\n", b"\x0c\x08", "names the geometry 0x240"),
    ],
)
def test_what_is_no_dat_file_of_change_events_is_named(tmp_path: Path, head: str, mark: bytes, message: str) -> None:
    with pytest.raises(RecordingError, match=rf"a_td\.dat: {message}"):
        read(DatRecording(write_dat(tmp_path / "a_td.dat", [(1, 0, 0, 1)], head, mark)))


def test_a_dat_file_cut_within_an_event_or_with_polarity_two_is_named(tmp_path: Path) -> None:
    path = write_dat(tmp_path / "a_td.dat", [(1, 0, 0, 1), (2, 0, 0, 2)])
    with pytest.raises(RecordingError, match=r"a_td\.dat: row 1: polarity p=2"):
        read(DatRecording(path))
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(RecordingError, match=r"a_td\.dat: ends 5 bytes into an event"):
        read(DatRecording(path))


@real
@pytest.mark.parametrize(
    ("part", "count", "first_us"), [(0, 369_396, 20_520_003), (1, 342_410, 20_760_000), (2, 306_933, 21_020_001)]
)
def test_real_gen1_events_equal_those_of_a_second_decoder(
    part: int, count: int, first_us: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data.formats.dat, "CHUNK_EVENTS", 100_000)
    path = RECORDINGS / "gen1" / f"gen1_part{part}_td.dat"
    events, repairs = read(DatRecording(path))
    assert (len(events), int(events.t[0]), repairs) == (count, first_us, Repairs())
    packets = np.concatenate(list(faery.events_stream_from_file(path)))
    for ours, theirs in ((events.t, "t"), (events.x, "x"), (events.y, "y"), (events.p, "on")):
        assert np.array_equal(ours, packets[theirs])


# RAW, AEDAT4, ES


@real
def test_the_real_evt3_recording_has_the_counts_and_sums_of_two_other_decoders() -> None:
    recording = FaeryRecording(RECORDINGS / "raw" / "codecs_evt3_trigger.raw")
    events, repairs = read(recording)
    assert (len(events), int(events.p.sum()), repairs) == (82_469, 41_439, Repairs())
    assert (int(events.t[0]), int(events.t[-1])) == (14_224_870, 15_476_187)
    assert int(events.t.sum()) == 1_222_326_831_810
    assert (int(events.x.sum(dtype=int)), int(events.y.sum(dtype=int))) == (42_078_718, 31_656_267)
    assert (recording.name, recording.size) == ("codecs_evt3_trigger", SensorSize(1280, 720))
    assert (recording.row_count, labels(recording)) == (None, None)


@real
def test_the_real_evt2_recording_needs_its_geometry_and_has_the_known_counts() -> None:
    path = RECORDINGS / "raw" / "evt2.raw"
    events, repairs = read(FaeryRecording(path, VGA))
    assert (len(events), int(events.p.sum()), repairs) == (521_252, 185_861, Repairs())
    assert (int(events.t[0]), int(events.t[-1])) == (913_716_224, 913_812_095)
    with pytest.raises(RecordingError, match=r"evt2\.raw: names no geometry; give it with --size WIDTHxHEIGHT"):
        read(FaeryRecording(path))
    with pytest.raises(RecordingError, match=r"evt2\.raw: cannot be decoded after \d+ events \(. overflow"):
        read(FaeryRecording(path, SensorSize(320, 240)))


@real
def test_the_real_aedat4_recording_has_the_known_counts() -> None:
    recording = FaeryRecording(RECORDINGS / "raw" / "davis.aedat4")
    events, repairs = read(recording)
    assert (len(events), int(events.p.sum()), repairs) == (117_667, 72_363, Repairs())
    assert recording.size == SensorSize(346, 260)
    with pytest.raises(RecordingError, match="names the geometry 346x260, but 640x480 was given"):
        read(FaeryRecording(recording.path, VGA))


RAW_HEAD = "% evt {0}.0\n% format EVT{0};height=480;width=640\n% geometry 640x480\n% end\n"
ROWS: list[Row] = [(70, 1, 2, 1), (70, 639, 479, 0), (5000, 30, 40, 1), (9_000_000, 31, 41, 0)]


def evt2(events: list[Row]) -> bytes:
    """Type, then 28 bits of the time's upper part, or 6 bits of its lower, 11 of x and 11 of y."""
    words = []
    for t, x, y, p in events:
        words += [8 << 28 | t >> 6, p << 28 | (t & 63) << 22 | x << 11 | y]
    return np.array(words, "<u4").tobytes()


def evt3(events: list[Row]) -> bytes:
    """Four bits of type: 8 time bits 12 to 23, 6 time bits 0 to 11, 0 the row, 2 polarity and column."""
    words = []
    for t, x, y, p in events:
        words += [0x8000 | t >> 12, 0x6000 | t & 0xFFF, y, 0x2000 | p << 11 | x]
    return np.array(words, "<u2").tobytes()


@pytest.mark.parametrize(("number", "encode"), [(2, evt2), (3, evt3)])
def test_raw_events_come_back_as_their_bits_say(tmp_path: Path, number: int, encode: Any) -> None:
    path = tmp_path / "a.raw"
    path.write_bytes(RAW_HEAD.format(number).encode() + encode(ROWS))
    assert rows(FaeryRecording(path)) == ROWS
    assert FaeryRecording(path).size == VGA


def test_a_vector_of_evt3_is_twelve_pixels_of_one_row(tmp_path: Path) -> None:
    words = [0x8000, 0x6005, 100, 0x3000 | 1 << 11 | 200, 0x4000 | 0b100000000011]  # base 200, bits 0, 1 and 11
    (tmp_path / "a.raw").write_bytes(RAW_HEAD.format(3).encode() + np.array(words, "<u2").tobytes())
    assert rows(FaeryRecording(tmp_path / "a.raw")) == [(5, 200, 100, 1), (5, 201, 100, 1), (5, 211, 100, 1)]


@pytest.mark.parametrize(
    ("head", "size"),
    [
        ("% evt 3.0\n% geometry 320x240\n", SensorSize(320, 240)),
        ("% format EVT3;height=240;width=320\n", SensorSize(320, 240)),
        ("% Version 3.0\n% Width 320\n% Height 240\n% end\n", SensorSize(320, 240)),
        ("% evt 3.0\n% sensor_generation 4.2\n", SensorSize(1280, 720)),
        ("% evt 3.0\n% generation 3.1\n", VGA),
    ],
)
def test_the_geometry_of_raw_is_read_wherever_the_header_has_it(tmp_path: Path, head: str, size: SensorSize) -> None:
    (tmp_path / "a.raw").write_bytes(head.encode() + evt3(ROWS[:1]))
    recording = FaeryRecording(tmp_path / "a.raw")
    assert (recording.size, rows(recording)) == (size, ROWS[:1])


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("", "the header names no encoding"),
        ("% geometry 640x480\n", "the header names no encoding"),
        ("% evt 2.0\n% format EVT3;height=480;width=640\n", "the header names the encodings evt2, evt3"),
        ("% evt 2.1\n% geometry 640x480\n", "is encoded in EVT2.1, but only EVT2 and EVT3 can be read"),
        ("% evt 4.0\n% geometry 640x480\n", "is encoded in EVT4, but only EVT2 and EVT3"),
        ("% evt 3.0\n% geometry 0x480\n", "names the geometry 0x480, but a side has 1 to 65536"),
        ("% evt 3.0\n% geometry 1000000000x480\n", "names the geometry 100000000x480, but a side has 1 to 65536"),
        ("% evt 3.0\n% geometry 640x480\n% Width 320\n% Height 240\n", "the geometries 320x240 and 640x480"),
    ],
)
def test_a_raw_header_that_breaks_a_rule_is_named(tmp_path: Path, head: str, message: str) -> None:
    (tmp_path / "a.raw").write_bytes(head.encode() + evt3(ROWS))
    with pytest.raises(RecordingError, match=rf"a\.raw: .*{message}"):
        read(FaeryRecording(tmp_path / "a.raw"))


def test_a_raw_file_cut_within_a_word_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(RAW_HEAD.format(2).encode() + evt2(ROWS)[:-1])
    with pytest.raises(RecordingError, match=r"a\.raw: ends 3 bytes into a word"):
        read(FaeryRecording(tmp_path / "a.raw"))


def test_es_events_come_back_as_faery_wrote_them(tmp_path: Path) -> None:
    table = np.array([(t, x, y, p == 1) for t, x, y, p in ROWS], faery.EVENTS_DTYPE)
    faery.events_stream_from_array(table, VGA).to_file(tmp_path / "a.es", zero_t0=False)
    recording = FaeryRecording(tmp_path / "a.es")
    assert (rows(recording), recording.size) == (ROWS, VGA)


def test_of_atis_es_events_only_those_of_change_are_read(tmp_path: Path) -> None:
    head = b"Event Stream\x02\x00\x00\x02" + struct.pack("<HH", 304, 240)
    kinds = {"off": 0, "exposure start": 1, "on": 2, "exposure end": 3}
    body = b"".join(bytes([5 << 2 | kind]) + struct.pack("<HH", 10 + kind, 0) for kind in kinds.values())
    (tmp_path / "a.es").write_bytes(head + body)
    # Row 0 of ES is the lowest; ours is the highest.
    assert rows(FaeryRecording(tmp_path / "a.es")) == [(5, 10, 239, 0), (15, 12, 239, 1)]


@pytest.mark.parametrize(("kind", "name"), [(0, "generic"), (4, "color"), (3, "unsupported type 3")])
def test_es_files_of_other_things_than_change_are_named(tmp_path: Path, kind: int, name: str) -> None:
    size = b"" if kind == 0 else struct.pack("<HH", 64, 48)
    (tmp_path / "a.es").write_bytes(b"Event Stream\x02\x00\x00" + bytes([kind]) + size + bytes(30))
    with pytest.raises(RecordingError, match=rf"a\.es: cannot be decoded after 0 events \(.*{name}"):
        read(FaeryRecording(tmp_path / "a.es"))


def test_a_decoder_that_hangs_is_ended_and_the_file_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = tmp_path / "child.py"
    child.write_text("import time; time.sleep(600)")
    monkeypatch.setattr(data.formats.faery_child, "__file__", str(child))
    monkeypatch.setattr(data.formats.faery_recording, "SILENCE_S", 0.1)
    (tmp_path / "a.raw").write_bytes(RAW_HEAD.format(3).encode() + evt3(ROWS))
    with pytest.raises(RecordingError, match=r"a\.raw: .*the decoder gave nothing for 0\.1 s"):
        read(FaeryRecording(tmp_path / "a.raw"))


# RVT


def write_rvt(
    folder: Path, counts: Any, ends: Any, boxes: Any = (), file: str = "event_representations.h5", bins: int = 2
) -> RvtRecording:
    frames = folder / "event_representations_v2" / f"stacked_histogram_dt=50_nbins={bins}"
    frames.mkdir(parents=True)
    (folder / "labels_v2").mkdir()
    shape = (1, *np.shape(counts)[1:])
    with h5py.File(frames / file, "w") as h5:
        h5.create_dataset("data", data=np.array(counts, np.uint8), chunks=shape, **hdf5plugin.Blosc(cname="zstd"))
    np.save(frames / "timestamps_us.npy", np.array(ends, np.int64))
    table = np.array(list(boxes), BOX_DTYPE)
    np.savez(folder / "labels_v2" / "labels.npz", labels=table, objframe_idx_2_label_idx=np.zeros(0, np.int64))
    return RvtRecording(folder, GEN1)


def test_rvt_counts_become_events_in_the_middle_of_their_bins(tmp_path: Path) -> None:
    counts = np.zeros((2, 4, 2, 3))  # channels: OFF early, OFF late, ON early, ON late
    counts[0, 0, 1, 2] = 2
    counts[0, 3, 0, 1] = 1
    counts[1, 2, 0, 0] = 1
    counts[1, 1, 1, 1] = 3
    recording = write_rvt(tmp_path / "seq", counts, [100_000, 200_000])
    assert rows(recording) == [
        (62_500, 2, 1, 0), (62_500, 2, 1, 0),  # 50 to 75 ms
        (87_500, 1, 0, 1),  # 75 to 100 ms
        (162_500, 0, 0, 1),  # 150 to 175 ms
        *[(187_500, 1, 1, 0)] * 3,
    ]  # fmt: skip
    assert (recording.name, recording.size, recording.row_count) == ("seq", SensorSize(3, 2), None)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(255, 700))
def test_rvt_events_counted_again_give_the_histogram(tmp_path_factory: Any, seed: int, room: int) -> None:
    counts = np.random.default_rng(seed).integers(0, 255, (2, 6, 3, 4))
    recording = write_rvt(tmp_path_factory.mktemp("rvt"), counts, [50_000, 100_000], bins=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data.formats.rvt, "CHUNK_EVENTS", room)
        assert all(len(events) <= room for events, _ in recording.chunks())
        events, _ = read(recording)
    again = np.zeros((2, 2, 3, 3, 4), int)
    window, inside_us = np.divmod(events.t, 50_000)
    np.add.at(again, (window, events.p, inside_us * 3 // 50_000, events.y, events.x), 1)
    assert np.array_equal(again.reshape(counts.shape), counts)


@pytest.mark.parametrize(("ending", "scale"), [(".h5", 1), ("_ds2_nearest.h5", 2)])
def test_rvt_labels_are_brought_to_the_pixels_of_the_frames(tmp_path: Path, ending: str, scale: int) -> None:
    boxes = [(100_000, 10, 20, 30, 40, 1, 7, 1), (50_000, 2, 4, 6, 8, 0, 3, 1)]
    found = write_rvt(tmp_path / "a", np.zeros((1, 4, 8, 8)), [50_000], boxes, f"event_representations{ending}").boxes()
    assert found.t.tolist() == [50_000, 100_000]
    assert found.xywh.tolist() == [[v / scale for v in (2, 4, 6, 8)], [v / scale for v in (10, 20, 30, 40)]]
    assert (found.class_id.tolist(), found.track_id.tolist()) == ([0, 1], [3, 7])


def test_of_two_rvt_files_the_full_size_is_read(tmp_path: Path) -> None:
    recording = write_rvt(tmp_path / "a", np.zeros((1, 4, 8, 6)), [50_000])
    smaller = recording.path.with_name("event_representations_ds2_nearest.h5")
    with h5py.File(smaller, "w") as file:
        file["data"] = np.zeros((1, 4, 4, 3), np.uint8)
    assert RvtRecording(tmp_path / "a", GEN1).size == SensorSize(6, 8)
    recording.path.unlink()
    assert RvtRecording(tmp_path / "a", GEN1).size == SensorSize(3, 4)


@pytest.mark.parametrize(
    ("shape", "ends", "message"),
    [
        ((2, 4, 2, 2), [50_000, 99_999], r"timestamps_us\.npy: row 1 ends 49999 µs after the one before"),
        ((2, 4, 2, 2), [50_000], r"timestamps_us\.npy: must hold 2 whole numbers"),
        ((1, 4, 2, 2), [49_999], r"timestamps_us\.npy: holds times of 49999 to 49999 µs"),
        ((1, 6, 2, 2), [50_000], r"event_representations\.h5: has 6 channels, but 2 polarities of 2 bins are 4"),
        ((1, 4, 2), [50_000], r"event_representations\.h5: has no dataset 'data' of uint8 counts"),
    ],
)
def test_an_rvt_sequence_that_breaks_a_rule_is_named(tmp_path: Path, shape: Any, ends: Any, message: str) -> None:
    recording = write_rvt(tmp_path / "a", np.zeros(shape), ends)
    with pytest.raises(RecordingError, match=message):
        read(recording)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((1, 1, 1, 1, 1, 2, 1, 1), r"labels\.npz: row 0 .*class_id=2.*label set 'gen1' has the classes 0 to 1"),
        ((1, np.nan, 1, 1, 1, 1, 1, 1), r"labels\.npz: row 0 .*x=nan.*: a box needs finite numbers"),
        ((-1, 1, 1, 1, 1, 1, 1, 1), r"labels\.npz: row 0 .*t=-1.*: its time must be a number of µs"),
    ],
)
def test_an_rvt_label_that_breaks_a_rule_is_named(tmp_path: Path, row: Any, message: str) -> None:
    with pytest.raises(RecordingError, match=message):
        write_rvt(tmp_path / "a", np.zeros((1, 4, 2, 2)), [50_000], [row]).boxes()
