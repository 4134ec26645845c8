"""Readers: eTraM HDF5, DAT, PEDRo; what a folder holds; what damage is called."""

import re
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

import data.dat
import data.etram
from data.boxes import BOX_DTYPE, label_set
from data.dat import DatRecording
from data.errors import ConfigError, InputError, RecordingError
from data.etram import EtramRecording
from data.events import Events, Repairs, SensorSize
from data.formats import Recording, find_recordings, is_night
from data.manifest import Split
from data.pedro import PedroRecording

RECORDINGS = Path(__file__).parents[3] / "shared" / "recordings"
real = pytest.mark.skipif(not RECORDINGS.exists(), reason="the real recordings (../shared/recordings) are not here")
ETRAM3 = label_set("etram3")
GEN1 = label_set("gen1")


def columns(count: int = 50) -> dict[str, Any]:
    random = np.random.default_rng(1)
    return {
        "t": np.sort(random.integers(0, 10**6, count)),
        "x": random.integers(0, 1280, count).astype(np.uint16),
        "y": random.integers(0, 720, count).astype(np.uint16),
        "p": random.integers(0, 2, count).astype(np.int16),
    }


def write_h5(path: Path, storage: dict[str, Any] | None = None, **changed: Any) -> EtramRecording:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for key, values in (columns() | changed).items():
            if values is not None:
                scalar = np.ndim(values) == 0
                file.create_dataset(f"events/{key}", data=values, **({} if scalar else storage or {}))
    return EtramRecording(path, None, ETRAM3)


def write_boxes(path: Path, *class_ids: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [(i, 1, 2, 3, 4, class_id, 7, 1) for i, class_id in enumerate(class_ids)]
    np.save(path, np.array(rows, BOX_DTYPE))


def write_dat(
    path: Path, events: list[tuple[int, int, int, int]], head: str = "", mark: bytes = b"\x0c\x08"
) -> DatRecording:
    words = [(t, x | y << 14 | p << 28) for t, x, y, p in events]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head.encode("ascii") + mark + np.array(words, "<u4").tobytes())
    return DatRecording(path, GEN1)


HEAD = "% Data file containing CD events.\n% Version 2\n% Height 240\n% Width 304\n"


def read(recording: Recording) -> tuple[Events, Repairs]:
    chunks = list(recording.chunks())
    t, x, y, p = (np.concatenate([getattr(events, name) for events, _ in chunks]) for name in "txyp")
    return Events(t, x, y, p), sum((repairs for _, repairs in chunks), Repairs())


@pytest.mark.parametrize(
    "storage",
    [{}, {"compression": "gzip"}, hdf5plugin.Blosc(cname="zstd"), hdf5plugin.Zstd()],
    ids=["plain", "gzip", "blosc", "zstd"],
)
def test_etram_events_come_back_exactly_whatever_the_filter(
    tmp_path: Path, storage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data.etram, "CHUNK_EVENTS", 7)
    recording = write_h5(tmp_path / "train_night_0001_td.h5", dict(storage))
    events, repairs = read(recording)
    for key, values in columns().items():
        assert getattr(events, key).tolist() == values.tolist()
    assert repairs == Repairs()
    assert len(list(recording.chunks())) == 8  # 50 events in sevens
    assert recording.name == "train_night_0001"
    assert recording.size == SensorSize(1280, 720)


@pytest.mark.parametrize("place", ["events/", ""])
def test_an_etram_file_may_name_its_sensor(tmp_path: Path, place: str) -> None:
    recording = write_h5(tmp_path / "a_td.h5")
    with h5py.File(recording.path, "a") as file:
        file[f"{place}width"], file[f"{place}height"] = 320, 180
    assert recording.size == SensorSize(320, 180)


def test_etram_repairs_are_counted_across_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data.etram, "CHUNK_EVENTS", 3)
    recording = write_h5(
        tmp_path / "a_td.h5",
        t=np.array([10, 20, 30, 25, 29, 300_000_001, 300_000_000]),
        x=np.arange(7, dtype=np.uint16),
        y=np.array([0, 33014, 2, 3, 4, 32886, 6], np.uint16),  # the two flipped bits known in eTraM
        p=np.array([-1, 1, 1, -1, 1, 1, -1], np.int16),
    )
    events, repairs = read(recording)
    assert events.t.tolist() == [10, 30, 30, 30, 300_000_000]
    assert events.x.tolist() == [0, 2, 3, 4, 6]
    assert events.p.tolist() == [0, 1, 0, 1, 0]
    assert repairs == Repairs(out_of_frame=2, backward_times=2, signed_polarity=True)


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
    ],
)
def test_an_etram_file_that_breaks_a_rule_is_named(
    tmp_path: Path, changed: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data.etram, "CHUNK_EVENTS", 20)
    recording = write_h5(tmp_path / "a_td.h5", **changed)
    with pytest.raises(RecordingError, match=rf"a_td\.h5: .*{message}"):
        read(recording)


def test_an_etram_file_without_events_in_it_is_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a_td.h5", "w") as file:
        file["events"] = np.zeros(3)
    with pytest.raises(RecordingError, match=r"a_td\.h5: has no column /events/t"):
        read(EtramRecording(tmp_path / "a_td.h5", None, ETRAM3))


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.99])
def test_a_cut_hdf5_file_is_named(tmp_path: Path, keep: float) -> None:
    recording = write_h5(tmp_path / "a_td.h5", {"compression": "gzip"})
    whole = recording.path.read_bytes()
    recording.path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(RecordingError, match=r"a_td\.h5: cannot be read as HDF5, it is damaged or cut short"):
        read(recording)


def test_an_hdf5_file_damaged_inside_a_chunk_is_named(tmp_path: Path) -> None:
    recording = write_h5(tmp_path / "a_td.h5", {"compression": "gzip"})
    with h5py.File(recording.path) as file:
        place = file["events/t"].id.get_chunk_info(0).byte_offset
    content = bytearray(recording.path.read_bytes())
    content[place : place + 40] = bytes(40)
    recording.path.write_bytes(content)
    with pytest.raises(RecordingError, match=r"a_td\.h5: cannot be read as HDF5"):
        read(recording)


def test_dat_bits_are_read_as_the_format_lays_them_out(tmp_path: Path) -> None:
    # The first event of the GEN1 sample, worked out by hand: 43 1c 39 01 | 19 41 18 00.
    path = tmp_path / "a_td.dat"
    path.write_bytes(
        HEAD.encode() + b"\x0c\x08" + bytes.fromhex("431c3901 19411800") + bytes.fromhex("441c3901 19411810")
    )
    recording = DatRecording(path, GEN1)
    events, repairs = read(recording)
    assert events.t.tolist() == [20_520_003, 20_520_004]
    assert (events.x.tolist(), events.y.tolist(), events.p.tolist()) == ([281, 281], [97, 97], [0, 1])
    assert (recording.size, recording.name, repairs) == (SensorSize(304, 240), "a", Repairs())


def test_a_dat_clock_that_starts_anew_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end = 2**32
    clock = [end - 9, end - 2, 3, end - 1, 5, 6]  # the fourth event comes late, out of order
    for step in (1, 2, 3, 10):
        monkeypatch.setattr(data.dat, "CHUNK_EVENTS", step)
        events, repairs = read(write_dat(tmp_path / "a_td.dat", [(t, 0, 0, 1) for t in clock], HEAD))
        assert events.t.tolist() == [end - 9, end - 2, end + 3, end + 3, end + 5, end + 6]
        assert repairs == Repairs(backward_times=1)


def test_a_dat_file_without_geometry_is_taken_for_gen1_unless_its_events_say_otherwise(tmp_path: Path) -> None:
    head = "% Version 2\n"
    recording = write_dat(tmp_path / "a_td.dat", [(1, 303, 239, 1)], head)
    assert recording.size == SensorSize(304, 240)
    assert read(recording)[0].x.tolist() == [303]
    with pytest.raises(
        RecordingError, match=r"b_td\.dat: the header names no Width and Height, and events lie outside"
    ):
        read(write_dat(tmp_path / "b_td.dat", [(1, 303, 239, 1), (2, 304, 0, 1)], head))


def test_dat_events_outside_a_named_geometry_are_dropped_and_counted(tmp_path: Path) -> None:
    events, repairs = read(write_dat(tmp_path / "a_td.dat", [(1, 304, 0, 1), (2, 3, 240, 1), (3, 3, 3, 0)], HEAD))
    assert events.t.tolist() == [3]
    assert repairs == Repairs(out_of_frame=2)


@pytest.mark.parametrize(
    ("head", "mark", "message"),
    [
        ("", b"\x0c\x08", "is no DAT file of version 2"),
        ("% Version 1\n", b"\x0c\x08", "is no DAT file of version 2"),
        (HEAD, b"\x0e\x08", "event type and size after the header are 0e 08"),
        (HEAD, b"\x0c\x0c", "event type and size after the header are 0c 0c"),
    ],
)
def test_what_is_no_dat_file_of_change_events_is_named(tmp_path: Path, head: str, mark: bytes, message: str) -> None:
    with pytest.raises(RecordingError, match=rf"a_td\.dat: {message}"):
        read(write_dat(tmp_path / "a_td.dat", [(1, 0, 0, 1)], head, mark))


def test_a_dat_file_cut_within_an_event_is_named(tmp_path: Path) -> None:
    recording = write_dat(tmp_path / "a_td.dat", [(1, 0, 0, 1), (2, 0, 0, 1)], HEAD)
    recording.path.write_bytes(recording.path.read_bytes()[:-3])
    with pytest.raises(RecordingError, match=r"a_td\.dat: ends 5 bytes into an event"):
        read(recording)
    recording.path.write_bytes(HEAD.encode())
    with pytest.raises(RecordingError, match="after the header are missing"):
        read(DatRecording(recording.path, GEN1))


def test_a_dat_polarity_of_two_is_an_error_that_names_its_row(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"a_td\.dat: row 1: polarity p=2"):
        read(write_dat(tmp_path / "a_td.dat", [(1, 0, 0, 1), (2, 0, 0, 2)], HEAD))


@real
@pytest.mark.parametrize(
    ("part", "count", "first_us"), [(0, 369_396, 20_520_003), (1, 342_410, 20_760_000), (2, 306_933, 21_020_001)]
)
def test_real_gen1_events_equal_those_of_a_second_decoder(
    part: int, count: int, first_us: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data.dat, "CHUNK_EVENTS", 100_000)
    path = RECORDINGS / "gen1" / f"gen1_part{part}_td.dat"
    events, repairs = read(DatRecording(path, GEN1))
    assert (len(events), int(events.t[0]), repairs) == (count, first_us, Repairs())
    faery = pytest.importorskip("faery")
    other = np.concatenate(list(faery.events_stream_from_file(path)))
    assert np.array_equal(events.t, other["t"].astype(np.int64))
    assert np.array_equal(events.x, other["x"])
    assert np.array_equal(events.y, other["y"])
    assert np.array_equal(events.p, other["on"].astype(np.uint8))


@real
def test_real_pedro_windows_have_the_boxes_their_xml_shows_at_their_last_event() -> None:
    found = find_recordings(RECORDINGS / "pedro", None)
    assert found.label_set.classes == ("person",)
    by_name = {recording.name: recording for _, recording in found.recordings}
    assert {name: len(recording.boxes()) for name, recording in by_name.items()} == {
        "frame0000009": 1, "frame0000092": 1, "frame0001566": 1, "frame0013230": 2, "frame0017525": 4,
    }  # fmt: skip
    first = by_name["frame0000009"]
    boxes, (events, repairs) = first.boxes(), read(first)
    # Its xml names frame0000082.jpg; xmin 28, ymin 85, xmax 152, ymax 260.
    assert boxes.xywh.tolist() == [[28, 85, 124, 175]]
    assert (boxes.t.tolist(), boxes.t.dtype.name) == ([1_672_932_747_946_204], "int64")
    assert (boxes.class_id.tolist(), boxes.track_id.tolist()) == ([0], [0])
    assert (len(events), events.t.dtype.name, repairs) == (17_043, "int64", Repairs())
    assert (int(events.t[0]), int(events.t[-1])) == (1_672_932_747_906_204, 1_672_932_747_946_204)
    assert (int(events.x[0]), int(events.y[0]), int(events.p[0])) == (214, 188, 1)


XML = "<annotation><object><name>{}</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>{}</xmax><ymax>9</ymax></bndbox></object></annotation>"  # noqa: E501


def write_pedro(folder: Path, name: str, text: str | None, rows: Any = ((5, 1, 2, 1), (9, 3, 4, 0))) -> None:
    for kind in ("numpy", "xml"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    np.save(folder / "numpy" / f"{name}.npy", np.array(rows))
    if text is not None:
        (folder / "xml" / f"{name}.xml").write_text(text)


def only(folder: Path, labels: str | None = None) -> Recording:
    ((_, recording),) = find_recordings(folder, labels).recordings
    return recording


def test_a_pedro_window_without_xml_or_without_persons_has_no_boxes(tmp_path: Path) -> None:
    write_pedro(tmp_path, "a", None)
    assert len(only(tmp_path).boxes()) == 0
    write_pedro(tmp_path, "a", "<annotation></annotation>")
    assert only(tmp_path).boxes().xywh.shape == (0, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation><object>", "cannot be read as xml"),
        (XML.format("dog", 5), r"class 'dog' is not in label set 'pedro' \(person\)"),
        (XML.format("person", "wide"), "xmax='wide' of an object must be a finite number"),
        (XML.format("person", "nan"), "xmax='nan' of an object must be a finite number"),
    ],
)
def test_a_pedro_xml_that_breaks_a_rule_is_named(tmp_path: Path, text: str, message: str) -> None:
    write_pedro(tmp_path, "a", text)
    with pytest.raises(RecordingError, match=rf"a\.xml: {message}"):
        only(tmp_path).boxes()


@pytest.mark.parametrize("rows", [[[1.5, 0, 0, 1]], [[1, 2, 3]], [1, 2, 3, 4]])
def test_a_pedro_window_that_is_no_table_of_events_is_named(tmp_path: Path, rows: Any) -> None:
    write_pedro(tmp_path, "a", None, rows)
    with pytest.raises(RecordingError, match=r"a\.npy: must be a table of whole numbers with the columns t, x, y, p"):
        read(only(tmp_path))
    (tmp_path / "numpy" / "a.npy").write_bytes(b"")
    with pytest.raises(RecordingError, match=r"a\.npy: cannot be read as a numpy file"):
        read(only(tmp_path))


def test_an_etram_tree_is_found_with_splits_and_the_boxes_of_the_chosen_set(tmp_path: Path) -> None:
    places = [("train_h5_1", "train_day_0001"), ("train_h5_2", "train_night_0002"), ("val_h5_1", "val_day_0003")]
    for folder, name in [*places, ("test_h5_1", "test_day_0004")]:
        write_h5(tmp_path / "HDF5" / folder / f"{name}_td.h5")
        write_boxes(tmp_path / "HDF5" / folder / f"{name}_bbox.npy", 2)
        write_boxes(tmp_path / "HDF5" / f"eight_class_annotations_{folder.split('_')[0]}" / f"{name}_bbox.npy", 6)
    for source in (tmp_path, tmp_path / "HDF5"):
        for labels, class_name in (("etram3", "micromobility"), ("etram8", "tram")):
            found = find_recordings(source, labels)
            assert {recording.name: str(split) for split, recording in found.recordings} == {
                "train_day_0001": "train", "train_night_0002": "train", "val_day_0003": "val", "test_day_0004": "test",
            }  # fmt: skip
            for _, recording in found.recordings:
                assert [found.label_set.classes[i] for i in recording.boxes().class_id] == [class_name]


@pytest.mark.parametrize("labels", [None, "gen1", "etram"])
def test_an_etram_tree_without_its_label_set_is_an_error_that_names_both(tmp_path: Path, labels: str | None) -> None:
    write_h5(tmp_path / "HDF5" / "train_h5_1" / "a_td.h5")
    with pytest.raises(InputError, match=r"name one: --labels etram3 .* or --labels etram8"):
        find_recordings(tmp_path, labels)


def test_boxes_missing_in_the_chosen_set_but_there_in_the_other_are_an_error(tmp_path: Path) -> None:
    write_h5(tmp_path / "HDF5" / "train_h5_1" / "a_td.h5")
    assert len(only(tmp_path, "etram8").boxes()) == 0
    write_boxes(tmp_path / "HDF5" / "train_h5_1" / "a_bbox.npy", 2)
    missing = re.escape(str(Path("eight_class_annotations_train", "a_bbox.npy")))
    with pytest.raises(RecordingError, match=f"{missing}: is missing, though .* labels the recording"):
        find_recordings(tmp_path, "etram8")


def test_an_etram_recording_outside_any_split_is_named(tmp_path: Path) -> None:
    write_h5(tmp_path / "a_td.h5")
    with pytest.raises(InputError, match=r"a_td\.h5: lies in no split"):
        find_recordings(tmp_path, "etram3")


def test_dat_folders_named_for_a_split_give_it_and_others_are_for_training(tmp_path: Path) -> None:
    for folder in ("a/val", "test", "deep/train/x", "other"):
        write_dat(tmp_path / folder / f"{folder[0]}_td.dat", [(1, 0, 0, 1)], HEAD)
    write_boxes(tmp_path / "test" / "t_bbox.npy", 1)
    found = find_recordings(tmp_path, None)
    assert found.label_set.name == "gen1"
    splits = {recording.name: split for split, recording in found.recordings}
    assert splits == {"a": Split.VAL, "t": Split.TEST, "d": Split.TRAIN, "o": Split.TRAIN}
    assert {recording.name: len(recording.boxes()) for _, recording in found.recordings} == {
        "a": 0,
        "t": 1,
        "d": 0,
        "o": 0,
    }
    assert find_recordings(tmp_path / "test", None).recordings[0][0] is Split.TEST


def test_a_megapixel_dat_needs_a_named_label_set(tmp_path: Path) -> None:
    write_dat(tmp_path / "a_td.dat", [(1, 0, 0, 1)], "% Version 2\n% Width 1280\n% Height 720\n")
    with pytest.raises(InputError, match=r"a_td\.dat: no label set is shipped for recordings of 1280x720 pixels"):
        find_recordings(tmp_path, None)
    assert find_recordings(tmp_path, "etram3").label_set == ETRAM3
    with pytest.raises(ConfigError, match="label set 'mpx' is unknown"):
        find_recordings(tmp_path, "mpx")


@pytest.mark.parametrize("layout", ["{}/numpy/a.npy", "numpy/{}/a.npy"])
def test_pedro_splits_may_lie_above_or_below_numpy(tmp_path: Path, layout: str) -> None:
    for split in Split:
        window = tmp_path / layout.format(split)
        xml = tmp_path / layout.format(split).replace("numpy", "xml").replace(".npy", ".xml")
        for path in (window, xml):
            path.parent.mkdir(parents=True)
        np.save(window, np.array([[5, 1, 2, 1]]))
        xml.write_text(XML.format("person", 4))
    found = find_recordings(tmp_path, None)
    assert {split for split, _ in found.recordings} == set(Split)
    assert all(isinstance(recording, PedroRecording) for _, recording in found.recordings)
    assert [recording.boxes().xywh.tolist() for _, recording in found.recordings] == [[[1, 2, 3, 7]]] * 3


def test_a_folder_without_recordings_is_an_error_that_says_what_was_looked_for(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3))
    with pytest.raises(InputError, match=r"holds no recording; looked, at any depth, for eTraM .* GEN1 .* PEDRo"):
        find_recordings(tmp_path, None)
    for path in (tmp_path / "missing", tmp_path / "a.npy"):
        with pytest.raises(InputError, match="is no folder"):
            find_recordings(path, None)


def test_a_folder_of_several_kinds_is_an_error(tmp_path: Path) -> None:
    write_dat(tmp_path / "a_td.dat", [(1, 0, 0, 1)], HEAD)
    write_pedro(tmp_path, "b", None)
    with pytest.raises(InputError, match=r"several kinds \(DAT, PEDRo\)"):
        find_recordings(tmp_path, None)


def test_linked_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    write_dat(tmp_path / "disk" / "a_td.dat", [(1, 0, 0, 1)], HEAD)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "val").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "up").symlink_to(tmp_path / "source")
    assert [split for split, _ in find_recordings(tmp_path / "source", None).recordings] == [Split.VAL]


def test_day_and_night_are_read_from_the_name() -> None:
    names = ["train_night_0040", "val_day_0001", "day", "birthday_1", "17-04-04_11-00-13", "nightly"]
    assert [is_night(name) for name in names] == [True, False, False, None, None, None]
