"""Formats: what a source holds, told by names; splits, label sets, and the boxes that go with a recording."""

import pickle
from pathlib import Path, PurePosixPath
from typing import Any, cast

import h5py
import numpy as np
import pytest

from data.boxes import BOX_DTYPE, LABEL_SETS, Boxes, LabelSet, label_set
from data.errors import InputError, RecordingError
from data.events import SensorSize
from data.formats.dat import DatRecording
from data.formats.discovery import find_recordings, is_night, read_size
from data.formats.etram import EtramRecording
from data.formats.event_files import EventFormat
from data.formats.faery_recording import FaeryRecording
from data.formats.finding import Finding, Source
from data.formats.label_scheme import LabelScheme, read_labels
from data.formats.pedro import PedroRecording
from data.formats.rvt import RvtRecording
from data.formats.splits import read_split
from data.manifest import Split
from data.storage import SourceFile, open_storage

RECORDINGS = Path(__file__).parents[3] / "shared" / "recordings"
real = pytest.mark.skipif(not RECORDINGS.exists(), reason="the real recordings (../shared/recordings) are not here")
OWN = LabelScheme.unmerged(LabelSet("own", ("lorry", "tractor")))
ALL_ENDINGS = ("a.h5", "b.hdf5", "c_td.dat", "d.raw", "e.aedat4", "f.es")
SEQUENCE = (
    "labels_v2/labels.npz",
    "labels_v2/timestamps_us.npy",
    "event_representations_v2/stacked_histogram_dt=50_nbins=10/event_representations_ds2_nearest.h5",
    "event_representations_v2/stacked_histogram_dt=50_nbins=10/objframe_idx_2_repr_idx.npy",
    "event_representations_v2/stacked_histogram_dt=50_nbins=10/timestamps_us.npy",
)


def find(*names: str, labels: str | LabelScheme | None = None, where: str = "src", **more: Any) -> Source:
    """What a source of these files holds; the bytes of each are its place in the list, from 1."""
    files = [SourceFile(PurePosixPath(name), place) for place, name in enumerate(names, start=1)]
    return find_recordings(files, where, read_labels(labels) if isinstance(labels, str) else labels, **more)


def found(source: Source) -> dict[str, tuple[str, str | None]]:
    """The split and the place of the boxes of each recording by its name."""
    return {
        one.name: (one.split.value, None if one.box_source is None else str(one.box_source)) for one in source.findings
    }


def only(source: Source) -> Finding:
    (finding,) = source.findings
    return finding


def paths(*names: str) -> tuple[PurePosixPath, ...]:
    return tuple(PurePosixPath(name) for name in names)


ETRAM_NAMES = {
    "train_h5_1": "train_day_0001",
    "train_h5_2": "train_night_0002",
    "val_h5_1": "v",
    "test_h5_1": "t",
}
ETRAM_TREE = [f"HDF5/{folder}/{name}{end}" for folder, name in ETRAM_NAMES.items() for end in ("_td.h5", "_bbox.npy")]
ETRAM_TREE += [
    f"HDF5/eight_class_annotations_{folder.split('_')[0]}/{name}_bbox.npy" for folder, name in ETRAM_NAMES.items()
]


@pytest.mark.parametrize("above", ["HDF5/", ""])
def test_an_etram_tree_is_found_with_splits_and_the_boxes_of_the_chosen_set(above: str) -> None:
    tree = [name.replace("HDF5/", above, 1) for name in ETRAM_TREE]
    three = find(*tree, labels="etram3")
    assert found(three) == {
        "train_day_0001": ("train", f"{above}train_h5_1/train_day_0001_bbox.npy"),
        "train_night_0002": ("train", f"{above}train_h5_2/train_night_0002_bbox.npy"),
        "v": ("val", f"{above}val_h5_1/v_bbox.npy"),
        "t": ("test", f"{above}test_h5_1/t_bbox.npy"),
    }
    eight = find(*tree, labels="etram8")
    assert found(eight) == {
        "train_day_0001": ("train", f"{above}eight_class_annotations_train/train_day_0001_bbox.npy"),
        "train_night_0002": ("train", f"{above}eight_class_annotations_train/train_night_0002_bbox.npy"),
        "v": ("val", f"{above}eight_class_annotations_val/v_bbox.npy"),
        "t": ("test", f"{above}eight_class_annotations_test/t_bbox.npy"),
    }
    for source, name in ((three, "etram3"), (eight, "etram8")):
        assert (source.scheme.target.name, source.expected_size, source.notes) == (name, None, ())
        assert {finding.format for finding in source.findings} == {EventFormat.ETRAM}


def test_a_merged_scheme_takes_the_boxes_of_its_source_set(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: road\nclasses: etram8\nmerge: {vehicle: [car, bus]}\n")
    source = find(*ETRAM_TREE, labels=str(tmp_path / "mine.yaml"))
    assert found(source)["v"] == ("val", "HDF5/eight_class_annotations_val/v_bbox.npy")
    assert (source.scheme.target.name, source.findings[0].labels) == ("road", label_set("etram8"))


@pytest.mark.parametrize("labels", [None, "gen1", "1mpx3"])
def test_an_etram_tree_without_its_label_set_is_an_error_that_names_both(labels: str | None) -> None:
    with pytest.raises(InputError, match=r"src: .*name one: --labels etram3 .* or --labels etram8"):
        find("HDF5/train_h5_1/a_td.h5", labels=labels)


def test_classes_of_ones_own_are_taken_for_etrams_file_names_where_no_eight_classes_lie() -> None:
    tree = ("train_h5_1/a_td.h5", "train_h5_1/a_bbox.npy", "b.h5")
    assert found(find(*tree, labels=OWN)) == {"a": ("train", "train_h5_1/a_bbox.npy"), "b": ("train", None)}
    with pytest.raises(InputError, match=r"name one: --labels etram3 .*, not own"):
        find("train_h5_1/a_td.h5", "eight_class_annotations_train/a_bbox.npy", labels=OWN)


def test_boxes_missing_in_the_chosen_set_but_there_in_the_other_are_an_error() -> None:
    assert found(find("HDF5/train_h5_1/a_td.h5", labels="etram8")) == {"a": ("train", None)}
    three = "HDF5/train_h5_1/a_bbox.npy"
    eight = "HDF5/eight_class_annotations_train/a_bbox.npy"
    with pytest.raises(RecordingError, match=f"src/{eight}: is missing, though src/{three} labels .*name etram3"):
        find("HDF5/train_h5_1/a_td.h5", three, labels="etram8")
    with pytest.raises(RecordingError, match=f"src/{three}: is missing, though src/{eight} labels .*name etram8"):
        find("HDF5/train_h5_1/a_td.h5", eight, labels="etram3")


def test_the_folder_of_one_etram_split_is_that_split_and_too_little_for_eight_classes() -> None:
    assert found(find("a_td.h5", "a_bbox.npy", labels="etram3", where="/d/HDF5/val_h5_1")) == {
        "a": ("val", "a_bbox.npy")
    }
    with pytest.raises(InputError, match=r"val_h5_1: is the folder of a split, .* give the folder that holds both"):
        find("a_td.h5", "a_bbox.npy", labels="etram8", where="/d/HDF5/val_h5_1")


def test_an_etram_recording_outside_any_split_needs_a_rule() -> None:
    tree = ("x/a_td.h5", "eight_class_annotations_test/a_bbox.npy")
    with pytest.raises(InputError, match=r"src/x/a_td\.h5: lies in no split; .*--split"):
        find(*tree, labels="etram8")
    source = find(*tree, labels="etram8", split=read_split("val"))
    assert found(source) == {"a": ("val", "eight_class_annotations_test/a_bbox.npy")}


def test_formats_with_boxes_beside_them_may_mix_and_need_a_label_set() -> None:
    with pytest.raises(
        InputError,
        match=r"src: nothing tells what .*AEDAT4, DAT, ES, HDF5, RAW .*--labels: one of etram3, .*1mpx3, pedro",
    ):
        find(*ALL_ENDINGS)
    source = find(
        *ALL_ENDINGS, "a_bbox.npy", "b_voc/1.xml", "c_yolo/1.txt", "d_mot.txt", "d_seqinfo.ini", labels="gen1"
    )
    assert found(source) == {
        "a": ("train", "a_bbox.npy"), "b": ("train", "b_voc"), "c": ("train", "c_yolo"), "d": ("train", "d_mot.txt"),
        "e": ("train", None), "f": ("train", None),
    }  # fmt: skip
    assert [finding.format.value for finding in source.findings] == ["HDF5", "HDF5", "DAT", "RAW", "AEDAT4", "ES"]
    assert source.findings[3].files == paths("d.raw", "d_mot.txt", "d_seqinfo.ini")
    assert source.findings[3].bytes == 4 + 10 + 11
    assert source.expected_size is None


def test_prophesees_own_layout_is_gen1_with_its_sensor_unless_labels_are_named() -> None:
    tree = ("a/val/a_td.dat", "test/t_td.dat", "test/t_bbox.npy", "deep/train/x/d_td.dat", "other/o_td.dat")
    source = find(*tree)
    assert found(source) == {
        "a": ("val", None), "d": ("train", None), "o": ("train", None), "t": ("test", "test/t_bbox.npy"),
    }  # fmt: skip
    assert source.scheme == read_labels("gen1")
    assert source.expected_size == SensorSize(304, 240)
    assert only(find("a_td.dat", where="/data/gen1/test")).split is Split.TEST
    assert only(find("a_td.dat", where="s3://bucket/gen1/val/")).split is Split.VAL
    megapixel = find("moorea_2019-06-14_000_61500000_121500000_td.dat", labels="1mpx3")
    assert megapixel.expected_size is None
    assert megapixel.scheme.source == label_set("1mpx")
    assert only(megapixel).name == "moorea_2019-06-14_000_61500000_121500000"


def test_rvt_sequences_bring_their_labels_and_the_representation_that_is_read() -> None:
    tree = [f"gen4/val/moorea_1/{name}" for name in SEQUENCE]
    full = tree[2].replace("_ds2_nearest", "")
    finding = only(find(*tree, labels="1mpx3"))
    assert (finding.name, finding.split, finding.format) == ("moorea_1", Split.VAL, EventFormat.RVT)
    assert finding.events == PurePosixPath(tree[2])
    assert set(finding.files) == set(paths(*tree))
    assert finding.files[0] == finding.events
    assert finding.bytes == 1 + 2 + 3 + 4 + 5
    assert str(finding.box_source) == "gen4/val/moorea_1/labels_v2"
    assert only(find(*tree, full, labels="1mpx3")).events == PurePosixPath(full)
    with pytest.raises(InputError, match="nothing tells what the numbers in the boxes of RVT recordings mean"):
        find(*tree)
    with pytest.raises(InputError, match="--size 640x360: RVT sequences tell their size"):
        find(*tree, labels="1mpx3", size=SensorSize(640, 360))
    with pytest.raises(RecordingError, match=r"dt=50_nbins=10/.*h5: the sequence has another representation, .*dt=25"):
        find(*tree, tree[2].replace("dt=50", "dt=25"), labels="1mpx3")


@pytest.mark.parametrize("missing", ["labels_v2", "event_representations_v2"])
def test_an_rvt_sequence_that_lacks_a_folder_is_noted(missing: str) -> None:
    broken = [f"train/b/{name}" for name in SEQUENCE if missing not in name]
    source = find(*[f"train/a/{name}" for name in SEQUENCE], *broken, labels="gen1")
    assert list(found(source)) == ["a"]
    assert source.notes == (
        "ignored, no whole RVT sequence, which has labels_v2/ and "
        "event_representations_v2/stacked_histogram_dt=.../: train/b",
    )
    with pytest.raises(InputError, match=r"holds no recording; .*no whole RVT sequence.*: train/b"):
        find(*broken, labels="gen1")


@pytest.mark.parametrize("layout", ["{}/numpy/a.npy", "numpy/{}/a.npy"])
def test_pedro_splits_may_lie_above_or_below_numpy(layout: str) -> None:
    windows = [layout.format(split) for split in Split]
    xmls = [name.replace("numpy", "xml").replace(".npy", ".xml") for name in windows]
    source = find(*windows, *xmls)
    assert {(str(one.events), one.split, str(one.box_source)) for one in source.findings} == set(
        zip(windows, Split, xmls, strict=True)
    )
    assert (source.scheme, source.expected_size, source.notes) == (read_labels("pedro"), None, ())


def test_a_pedro_window_without_xml_and_an_xml_without_window_are_noted() -> None:
    source = find("numpy/train/a.npy", "numpy/train/b.npy", "xml/train/a.xml", "xml/train/c.xml")
    assert found(source) == {"a": ("train", "xml/train/a.xml"), "b": ("train", None)}
    assert source.notes == (
        "1 of 2 recordings without boxes: b",
        "ignored, labels of no recording: xml/train/c.xml",
    )


def test_recordings_in_no_split_folder_are_divided_and_official_splits_are_kept() -> None:
    loose = [f"r{i}.raw" for i in range(10)]
    source = find(*loose, "test/t.raw", labels=OWN, split=read_split("8:1:1"))
    splits = {name: split for name, (split, _) in found(source).items()}
    assert splits.pop("t") == "test"
    assert sorted(splits.values()) == ["test"] + ["train"] * 8 + ["val"]
    assert source.notes[0] == "10 recordings in no split folder: 8 train, 1 val, 1 test"
    assert find("a.raw", labels=OWN).notes == (
        "1 recording in no split folder: 1 train; --split 8:1:1 divides them, --split val names another",
        "1 of 1 recording without boxes: a",
    )


def test_what_is_ignored_is_noted() -> None:
    source = find(
        "train/a.raw", "train/a_bbox.npy", "train/b_bbox.npy", "train/a_voc/sub/1.xml", "train/c_yolo/4.txt",
        "train/x.aedat", "train/y.bag", "train/z.bag", "train/zz.bag", "train/notes.txt", labels=OWN,
    )  # fmt: skip
    assert source.notes == (
        "ignored, labels of no recording: train/a_voc, train/b_bbox.npy, train/c_yolo",
        "ignored, a format that is not read (docs/formats.md): train/x.aedat, train/y.bag, train/z.bag and 1 more",
    )


@pytest.mark.parametrize(
    ("names", "second", "first"),
    [
        (("x/train/a.raw", "y/train/a.raw"), "y/train/a.raw", "x/train/a.raw"),
        (("train/a.raw", "train/a_td.dat"), "train/a_td.dat", "train/a.raw"),
        (("a.raw", "train/a.es"), "train/a.es", "a.raw"),
    ],
)
def test_two_recordings_of_one_name_in_a_split_are_an_error(names: tuple[str, ...], second: str, first: str) -> None:
    with pytest.raises(RecordingError, match=f"src/{second}: split 'train' has a recording .* src/{first}; rename one"):
        find(*names, labels=OWN)
    assert len(find("train/a.raw", "val/a.raw", labels=OWN).findings) == 2


def test_boxes_of_two_kinds_beside_a_recording_are_an_error() -> None:
    with pytest.raises(RecordingError, match=r"src/train/a: has boxes of two kinds, a_bbox\.npy .* and a_voc"):
        find("train/a.raw", "train/a_bbox.npy", "train/a_voc/1.xml", labels=OWN)


@pytest.mark.parametrize(
    ("names", "kinds"),
    [
        (("a_td.dat", "numpy/b.npy", "xml/b.xml"), "DAT, PEDRo"),
        (("train/a_td.h5", "train/b.h5", "train/c.raw"), "eTraM, HDF5, RAW"),
        (("a.raw", *(f"s/{name}" for name in SEQUENCE)), "RAW, RVT"),
    ],
)
def test_a_source_of_several_kinds_is_an_error(names: tuple[str, ...], kinds: str) -> None:
    with pytest.raises(
        InputError, match=rf"src: holds recordings of several kinds \({kinds}\); give the folder of one"
    ):
        find(*names, labels="etram3")


@pytest.mark.parametrize("names", [(), ("a.npy", "numpy/b.npy", "a_bbox.npy", "c.txt", "d.raw.tmp_index")])
def test_a_source_without_recordings_is_an_error_that_says_what_was_looked_for(names: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=r"src: holds no recording; looked, at any depth, for eTraM .* GEN1 .* PEDRo"):
        find(*names)


def test_every_shipped_set_is_named_where_one_is_missing() -> None:
    with pytest.raises(InputError) as raised:
        find("a.raw")
    assert all(name in str(raised.value) for name in LABEL_SETS)


def test_each_finding_opens_as_its_kind_below_the_root(tmp_path: Path) -> None:
    size = SensorSize(320, 240)
    opened = {one.name: one.open(tmp_path) for one in find(*ALL_ENDINGS, labels=OWN, size=size).findings}
    assert opened == {
        "a": EtramRecording(tmp_path / "a.h5", size),
        "b": EtramRecording(tmp_path / "b.hdf5", size),
        "c": DatRecording(tmp_path / "c_td.dat", size),
        "d": FaeryRecording(tmp_path / "d.raw", size),
        "e": FaeryRecording(tmp_path / "e.aedat4", size),
        "f": FaeryRecording(tmp_path / "f.es", size),
    }
    assert {recording.name for recording in opened.values()} == set(opened)
    etram = only(find("train/a_td.h5", labels="etram3"))
    assert etram.open(tmp_path) == EtramRecording(tmp_path / "train/a_td.h5", None)
    window, empty = find("numpy/a.npy", "numpy/b.npy", "xml/a.xml", size=size).findings
    pedro = label_set("pedro")
    assert window.open(tmp_path) == PedroRecording(tmp_path / "numpy/a.npy", tmp_path / "xml/a.xml", pedro, size)
    assert empty.open(tmp_path) == PedroRecording(tmp_path / "numpy/b.npy", None, pedro, size)
    sequence = only(find(*(f"val/s/{name}" for name in SEQUENCE), labels="1mpx3"))
    assert sequence.open(tmp_path) == RvtRecording(tmp_path / "val/s", label_set("1mpx"))


def write_h5(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for key, values in {"t": [2_000_000, 5_000_000], "x": [1, 2], "y": [3, 4], "p": [0, 1]}.items():
            file[f"events/{key}"] = np.array(values)


def boxes_of(folder: Path, labels: str | LabelScheme, first_us: int = 2_000_000, last_us: int = 5_000_000) -> Boxes:
    storage = open_storage(folder)
    scheme = read_labels(labels) if isinstance(labels, str) else labels
    finding = only(find_recordings(storage.files(), storage.location, scheme))
    finding = cast(Finding, pickle.loads(pickle.dumps(finding)))  # as it goes to a worker
    return finding.boxes(folder, finding.open(folder), first_us, last_us)


def test_a_finding_reads_the_box_table_in_the_numbering_of_the_files(tmp_path: Path) -> None:
    write_h5(tmp_path / "train_h5_1" / "a_td.h5")
    rows = [(3_000_000, 1, 2, 3, 4, 6, 7, 1), (2_500_000, -9, 2, 3, 4, 0, 8, 1)]
    (tmp_path / "eight_class_annotations_train").mkdir()
    np.save(tmp_path / "eight_class_annotations_train" / "a_bbox.npy", np.array(rows, BOX_DTYPE))
    boxes = boxes_of(tmp_path, "etram8")
    assert (boxes.t.tolist(), boxes.class_id.tolist(), boxes.xywh[0, 0]) == ([2_500_000, 3_000_000], [0, 6], -9)


def test_mot_boxes_count_from_the_first_event(tmp_path: Path) -> None:
    write_h5(tmp_path / "train" / "a.h5")
    (tmp_path / "train" / "a_mot.txt").write_text("31,1,1,1,5,5,1,2,1\n")
    (tmp_path / "train" / "a_seqinfo.ini").write_text("[Sequence]\nframeRate=30\n")
    boxes = boxes_of(tmp_path, OWN)
    assert (boxes.t.tolist(), boxes.class_id.tolist()) == ([3_000_000], [1])


def test_a_recording_without_box_files_has_no_boxes(tmp_path: Path) -> None:
    write_h5(tmp_path / "train" / "a.h5")
    assert len(boxes_of(tmp_path, OWN)) == 0


@pytest.mark.parametrize(
    ("time_us", "fits"), [(999_999, False), (1_000_000, True), (6_000_000, True), (6_000_001, False)]
)
def test_boxes_more_than_a_second_off_the_events_are_an_error_that_names_both_clocks(
    tmp_path: Path, time_us: int, fits: bool
) -> None:
    write_h5(tmp_path / "train" / "a.h5")
    np.save(tmp_path / "train" / "a_bbox.npy", np.array([(time_us, 1, 2, 3, 4, 1, 7, 1)], BOX_DTYPE))
    if fits:
        assert boxes_of(tmp_path, OWN).t.tolist() == [time_us]
    else:
        message = rf"a_bbox\.npy: its boxes are of {time_us} to {time_us} µs, but the events of 2000000 to 5000000 µs"
        with pytest.raises(RecordingError, match=message):
            boxes_of(tmp_path, OWN)


@real
def test_the_real_recordings_are_found() -> None:
    storage = open_storage(RECORDINGS / "raw")
    source = find_recordings(storage.files(), storage.location, OWN, None, SensorSize(640, 480))
    assert {(one.name, one.format.value) for one in source.findings} == {
        ("codecs_evt3_trigger", "RAW"), ("davis", "AEDAT4"), ("evt2", "RAW"),
    }  # fmt: skip
    pedro = open_storage(RECORDINGS / "pedro")
    windows = find_recordings(pedro.files(), pedro.location)
    persons = {
        one.name: len(one.boxes(RECORDINGS / "pedro", one.open(RECORDINGS / "pedro"), 0, 0)) for one in windows.findings
    }
    assert persons == {
        "frame0000009": 1, "frame0000092": 1, "frame0001566": 1, "frame0013230": 2, "frame0017525": 4,
    }  # fmt: skip


@pytest.mark.parametrize(
    "text", ["1280", "1280x", "x720", "1280X720", "0x720", "65537x1", "-1x5", "1e3x5", "1280x720x3"]
)
def test_what_is_no_size_is_an_error_that_says_what_is(text: str) -> None:
    with pytest.raises(
        InputError, match=f"--size {text}: must be WIDTHxHEIGHT in pixels, 1 to 65536 each, as 1280x720"
    ):
        read_size(text)


def test_a_size_is_width_by_height() -> None:
    assert read_size("1280x720") == SensorSize(width=1280, height=720)
    assert read_size("1x65536") == SensorSize(1, 65536)


def test_day_and_night_are_read_from_the_name() -> None:
    names = ["train_night_0040", "val_day_0001", "day", "birthday_1", "17-04-04_11-00-13", "nightly"]
    assert [is_night(name) for name in names] == [True, False, False, None, None, None]
