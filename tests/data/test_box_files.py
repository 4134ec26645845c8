"""Box files: VOC xml, YOLO text, MOTChallenge text; what lies beside a recording; what damage is called."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path, PurePosixPath
from xml.sax.saxutils import escape

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.boxes import BOX_DTYPE, Boxes, LabelSet
from data.errors import RecordingError
from data.events import SensorSize
from data.formats.box_files import BoxFiles, BoxIndex, BoxKind
from data.formats.motchallenge import read_mot
from data.formats.voc import read_voc
from data.formats.yolo import read_yolo

LABELS = LabelSet("road", ("car", "two wheeler", "a<b & c"))
SIZE = SensorSize(200, 100)
SEQINFO = "[Sequence]\nname=a\nframeRate=30\nseqLength=600\nimWidth=200\nimHeight=100\n"

Row = tuple[int, tuple[float, float, float, float], int, int | None]  # frame or µs, xywh, class, track


def seen(boxes: Boxes) -> list[tuple[int, list[float], int, int]]:
    return list(
        zip(boxes.t.tolist(), boxes.xywh.tolist(), boxes.class_id.tolist(), boxes.track_id.tolist(), strict=True)
    )


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def voc_object(name: str = "car", edges: tuple[object, ...] = (1, 2, 3, 4), more: str = "") -> str:
    tags = "".join(f"<{t}>{v}</{t}>" for t, v in zip(("xmin", "ymin", "xmax", "ymax"), edges, strict=True))
    return f"<object><name>{escape(name)}</name>{more}<bndbox>{tags}</bndbox></object>"


def voc(objects: str, head: str = "") -> str:
    return f"<annotation>{head}{objects}</annotation>"


def test_voc_boxes_carry_the_time_their_file_is_named_for(tmp_path: Path) -> None:
    late = written(tmp_path / "000123456.xml", voc(voc_object("two wheeler", (10, 20.5, 40, 60), "<id> 7 </id>")))
    early = written(
        tmp_path / "99.xml",
        voc(voc_object("car", (-3, 0, 5, 9), "<track_id>4</track_id>") + voc_object("a<b & c", (1, 1, 1, 1))),
    )
    assert seen(read_voc([late, early], LABELS, SIZE)) == [
        (99, [-3, 0, 8, 9], 0, 4),
        (99, [1, 1, 0, 0], 2, 9),  # no track of its own: a number above 7, the largest given
        (123_456, [10, 20.5, 30, 39.5], 1, 7),
    ]


def test_voc_boxes_without_tracks_are_each_a_track_of_their_own(tmp_path: Path) -> None:
    files = [written(tmp_path / f"{time}.xml", voc(voc_object() * 2)) for time in (5, 6)]
    assert read_voc(files, LABELS, SIZE).track_id.tolist() == [0, 1, 2, 3]


def test_a_voc_file_without_objects_has_no_boxes(tmp_path: Path) -> None:
    assert len(read_voc([written(tmp_path / "1.xml", voc(""))], LABELS, SIZE)) == 0


@pytest.mark.parametrize(
    "head", ["", "<size><width>200</width><height>100</height></size>", "<size><width>0</width></size>"]
)
def test_a_voc_size_may_be_missing_unknown_or_that_of_the_sensor(tmp_path: Path, head: str) -> None:
    assert len(read_voc([written(tmp_path / "1.xml", voc(voc_object(), head))], LABELS, SIZE)) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation><object>", ": cannot be read as xml"),
        ("<?xml version='1.0' encoding='klingon'?><annotation/>", ": cannot be read as xml"),
        ("<svg/>", ": is no VOC file: its root is <svg>"),
        (voc("", "<size><width>640</width><height>480</height></size>"), ": <size> is 640x480, but the sensor has"),
        (voc(voc_object() + voc_object("dog")), r": object 2: class 'dog' is not in label set 'road' \(car, two"),
        (voc("<object><bndbox/></object>"), ": object 1: class '' is not in label set"),
        (voc("<object><name>car</name></object>"), ": object 1: xmin='' must be a finite number of pixels"),
        (voc(voc_object(edges=(1, 2, "wide", 4))), ": object 1: xmax='wide' must be a finite number of pixels"),
        (voc(voc_object(edges=(1, 2, 3, "nan"))), ": object 1: ymax='nan' must be a finite number"),
        (voc(voc_object(edges=("1e999", 2, 3, 4))), ": object 1: xmin='1e999' must be a finite number"),
        (voc(voc_object(edges=(4, 2, 3, 4))), ": object 1: xmax is less than xmin"),
        (voc(voc_object(edges=(1, 5, 3, 4))), ": object 1: ymax is less than ymin"),
        (voc(voc_object(more="<track_id>a</track_id>")), ": object 1: track_id='a' must be a whole number of at"),
        (voc(voc_object(more="<id>-1</id>")), ": object 1: id='-1' must be a whole number of at least 0"),
        (voc(voc_object(more="<id>3</id>") * 2), r": object 2: track 3 has a box at 17 µs already \(.*object 1\)"),
    ],
)  # fmt: skip
def test_a_voc_file_that_breaks_a_rule_is_named_with_object_and_field(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecordingError, match=rf"17\.xml{message}"):
        read_voc([written(tmp_path / "17.xml", text)], LABELS, SIZE)


@pytest.mark.parametrize(("ending", "text"), [("xml", voc("")), ("txt", "")])
def test_a_file_that_is_named_for_no_time_or_one_taken_is_named(tmp_path: Path, ending: str, text: str) -> None:
    read: Callable[[list[Path]], Boxes] = {
        "xml": lambda files: read_voc(files, LABELS, SIZE), "txt": lambda files: read_yolo(files, LABELS, SIZE),
    }[ending]  # fmt: skip
    for name in ("frame1", "1.5", "-4", "١"):
        with pytest.raises(RecordingError, match=rf"{name}\.{ending}: must be named for its label time in µs"):
            read([written(tmp_path / f"{name}.{ending}", text)])
    twins = [written(tmp_path / f"{name}.{ending}", text) for name in ("0007", "7")]
    with pytest.raises(RecordingError, match=rf"7\.{ending}: 0007\.{ending} is for the same time, 7 µs"):
        read(twins)


def test_yolo_shares_become_pixels_of_the_sensor(tmp_path: Path) -> None:
    # 200x100 pixels: centre 0.5, 0.5 and sides 0.25, 0.5 are 100, 50 and 50, 50; its corner is 75, 25.
    late = written(tmp_path / "000500.txt", "1 0.5 0.5 0.25 0.5\n\n  0\t0 1 0.1 0.2 12\n")
    early = written(tmp_path / "499.txt", "﻿2 .5 5e-1 1. 1\r\n")
    names = written(tmp_path / "classes.txt", "car\ntwo wheeler\na<b & c\n\n")
    boxes = read_yolo([late, early, names], LABELS, SIZE)
    assert (boxes.t.tolist(), boxes.class_id.tolist()) == ([499, 500, 500], [2, 1, 0])
    assert boxes.track_id.tolist() == [13, 14, 12]
    np.testing.assert_allclose(boxes.xywh, [[0, 0, 200, 100], [75, 25, 50, 50], [-10, 90, 20, 20]], rtol=1e-6)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.1", "has 4 fields, but a line is `class cx cy w h`"),
        ("0 0.5 0.5 0.1 0.1 1 2", "has 7 fields"),
        ("0.0 0.5 0.5 0.1 0.1", "class='0.0' must be a whole number of at least 0"),
        ("3 0.5 0.5 0.1 0.1", "class=3, but label set 'road' has the classes 0 to 2"),
        ("-1 0.5 0.5 0.1 0.1", "class='-1' must be a whole number"),
        ("0 120 0.5 0.1 0.1", "cx=120 must lie from 0 to 1, a share of the frame's side"),
        ("0 0.5 -0.1 0.1 0.1", "cy=-0.1 must lie from 0 to 1"),
        ("0 0.5 0.5 1.01 0.1", "w=1.01 must lie from 0 to 1"),
        ("0 0.5 0.5 0.1 inf", "h='inf' must be a finite number"),
        ("0 0.5 0.5 0.1 1_0", "h='1_0' must be a finite number"),
        ("0 0.5 0.5 0.1 0.1 0.93", "track='0.93' must be a whole number of at least 0"),
        ("0 0.5 0.5 0.1 0.1 3\n1 0.2 0.2 0.1 0.1 3", None),
    ],
)
def test_a_yolo_line_that_breaks_a_rule_is_named_with_its_field(tmp_path: Path, line: str, message: str | None) -> None:
    path = written(tmp_path / "5.txt", f"0 0.5 0.5 0.1 0.1\n{line}\n")
    expected = rf"5\.txt:2: {message}" if message else r"5\.txt:3: track 3 has a box at 5 µs already \(.*5\.txt:2\)"
    with pytest.raises(RecordingError, match=expected):
        read_yolo([path], LABELS, SIZE)


def test_class_names_that_are_not_the_label_sets_are_an_error(tmp_path: Path) -> None:
    names = written(tmp_path / "classes.txt", "two wheeler\ncar\na<b & c\n")
    with pytest.raises(
        RecordingError, match=r"classes\.txt: names the classes two wheeler, car, .*'road' has car, two"
    ):
        read_yolo([names], LABELS, SIZE)


def mot(folder: Path, truth: str, info: str = SEQINFO, names: str | None = None, first_us: int = 1_000_000) -> Boxes:
    return read_mot(
        written(folder / "gt.txt", truth),
        written(folder / "seqinfo.ini", info),
        None if names is None else written(folder / "labels.txt", names),
        LABELS,
        SIZE,
        first_us,
    )


def test_mot_frames_boxes_and_classes_count_from_one(tmp_path: Path) -> None:
    truth = "4,2,11,21,30,40,1,2,0.5\n1, 2, 1, 1, 5, 6, 1, 2, 1\n\n2,-1,0.5,1,5,6,0.7,1,-1\n2,9,1,1,5,6,0,12,1\n"
    assert seen(mot(tmp_path, truth, names="car\ntwo wheeler\na<b & c\n")) == [
        (1_000_000, [0, 0, 5, 6], 1, 2),
        (1_033_333, [-0.5, 0, 5, 6], 0, 5),  # id -1: no track; the row with conf 0 is left out, whatever its class
        (1_100_000, [10, 20, 30, 40], 1, 2),
    ]


@pytest.mark.parametrize(
    ("rate", "frame", "after_us"),
    [
        ("30", 2, 33_333),
        ("30", 3, 66_667),
        ("29.97", 101, 3_336_670),
        ("1e3", 1_000_001, 1_000_000_000),
        ("0.5", 2, 2_000_000),
    ],
)
def test_a_mot_frame_is_at_its_place_in_the_frame_rate(tmp_path: Path, rate: str, frame: int, after_us: int) -> None:
    boxes = mot(tmp_path, f"{frame},1,1,1,5,6,1,1,1", f"[Sequence]\nframeRate={rate}\n", first_us=7)
    assert boxes.t.tolist() == [7 + after_us]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,1,1,1,5,6,1,-1,-1,-1", "has 10 fields, but a line of ground truth has 9"),
        ("1 1 1 1 5 6 1 1 1", "has 1 fields"),
        ("0,1,1,1,5,6,1,1,1", "frame='0' must be a whole number of at least 1"),
        ("1.0,1,1,1,5,6,1,1,1", "frame='1.0' must be a whole number"),
        ("601,1,1,1,5,6,1,1,1", "frame=601, but the sequence has 600 frames"),
        ("1,-2,1,1,5,6,1,1,1", "id='-2' must be a whole number of at least -1"),
        ("1,1,x,1,5,6,1,1,1", "bb_left='x' must be a finite number of pixels"),
        ("1,1,1,,5,6,1,1,1", "bb_top='' must be a finite number of pixels"),
        ("1,1,1,1,-5,6,1,1,1", "bb_width=-5 must be at least 0"),
        ("1,1,1,1,5,-1e-3,1,1,1", "bb_height=-1e-3 must be at least 0"),
        ("1,1,1,1,5,6,yes,1,1", "conf='yes' must be a finite number"),
        ("1,1,1,1,5,6,1,0,1", "class=0, but label set 'road' has the classes 1 to 3"),
        ("1,1,1,1,5,6,1,4,1", "class=4, but label set 'road' has the classes 1 to 3"),
        ("1,1,1,1,5,6,1,1,", "visibility='' must be a finite number"),
        ("2,5,9,9,5,6,1,1,1", r"track 5 has a box at 1033333 µs already \(.*gt\.txt:1\)"),
    ],
)
def test_a_mot_line_that_breaks_a_rule_is_named_with_its_field(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(RecordingError, match=rf"gt\.txt:2: {message}"):
        mot(tmp_path, f"2,5,1,1,5,6,1,1,1\n{line}\n")


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ("frameRate=30\n", "is no ini file"),
        ("[Sequence]\nframeRate=30\nframeRate=30\n", "is no ini file"),
        ("[sequence]\nframeRate=30\n", r"has no section \[Sequence\]"),
        ("[Sequence]\nname=a\n", "has no frameRate"),
        ("[Sequence]\nframeRate=fast\n", "frameRate='fast' must be a finite number"),
        ("[Sequence]\nframeRate=0\n", "frameRate=0 must lie from 0.001 to 1000000"),
        ("[Sequence]\nframeRate=-30\n", "frameRate=-30 must lie from"),
        ("[Sequence]\nframeRate=30\nseqLength=many\n", "seqLength='many' must be a whole number"),
        ("[Sequence]\nframeRate=30\nimWidth=1920\n", "imWidth=1920, but the sensor has 200x100"),
        ("[Sequence]\nframeRate=30\nimHeight=99\n", "imHeight=99, but the sensor has 200x100"),
    ],
)
def test_a_seqinfo_that_breaks_a_rule_is_named_with_its_key(tmp_path: Path, info: str, message: str) -> None:
    with pytest.raises(RecordingError, match=rf"seqinfo\.ini: {message}"):
        mot(tmp_path, "", info)


def test_the_largest_mot_frame_still_has_a_time(tmp_path: Path) -> None:
    slowest = "[Sequence]\nframeRate=0.001\n"
    boxes = mot(tmp_path, "1000000000,1,1,1,5,6,1,1,1", slowest, first_us=0)
    assert boxes.t.tolist() == [(10**9 - 1) * 10**9]
    with pytest.raises(RecordingError, match="frame=1000000001, but the sequence has 1000000000 frames"):
        mot(tmp_path, "1000000001,1,1,1,5,6,1,1,1", slowest)


def test_a_text_file_that_is_missing_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"5\.txt: cannot be read as text"):
        read_yolo([tmp_path / "5.txt"], LABELS, SIZE)
    (tmp_path / "6.txt").write_bytes(b"\x80\x81")
    with pytest.raises(RecordingError, match=r"6\.txt: cannot be read as text"):
        read_yolo([tmp_path / "6.txt"], LABELS, SIZE)


sides = st.floats(0, 300, width=32)
corners = st.floats(-300, 300, width=32)
rows_of_boxes: st.SearchStrategy[list[Row]] = st.lists(
    st.tuples(
        st.integers(1, 500),
        st.tuples(corners, corners, sides, sides),
        st.integers(0, 2),
        st.none() | st.integers(0, 99),
    ),
    max_size=12,
    unique_by=lambda row: (row[0], row[3] if row[3] is not None else object()),
)
round_trip = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def check(boxes: Boxes, rows: list[Row], times: dict[int, int], atol: float = 1e-3) -> None:
    """The boxes are the rows in time order; rows without a track are alone in theirs."""
    expected = sorted(rows, key=lambda row: times[row[0]])
    assert boxes.t.tolist() == [times[row[0]] for row in expected]
    np.testing.assert_allclose(boxes.xywh, np.array([row[1] for row in expected]).reshape(-1, 4), atol=atol, rtol=1e-6)
    assert boxes.class_id.tolist() == [row[2] for row in expected]
    tracks = boxes.track_id.tolist()
    assert [track for track, row in zip(tracks, expected, strict=True) if row[3] is not None] == [
        row[3] for row in expected if row[3] is not None
    ]
    alone = [track for track, row in zip(tracks, expected, strict=True) if row[3] is None]
    assert len(set(alone)) == len(alone)
    assert not set(alone) & {row[3] for row in rows}


def by_time(rows: list[Row]) -> dict[int, list[Row]]:
    return {time: [row for row in rows if row[0] == time] for time in dict.fromkeys(row[0] for row in rows)}


@round_trip
@given(rows=rows_of_boxes)
def test_what_is_written_as_voc_comes_back(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> None:
    folder = tmp_path_factory.mktemp("voc")
    files = []
    for time, group in by_time(rows).items():
        objects = [
            voc_object(
                LABELS.classes[class_id], (repr(x), repr(y), repr(x + w), repr(y + h)),
                "" if track is None else f"<track_id>{track}</track_id>",
            )
            for _, (x, y, w, h), class_id, track in group
        ]  # fmt: skip
        files.append(written(folder / f"{time:09d}.xml", voc("".join(objects))))
    check(read_voc(files, LABELS, SIZE), rows, {time: time for time in range(501)})


@round_trip
@given(rows=rows_of_boxes)
def test_what_is_written_as_yolo_comes_back(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> None:
    folder = tmp_path_factory.mktemp("yolo")
    shares = [
        (time, (abs(x) / 300, abs(y) / 300, w / 300, h / 300), class_id, track)
        for time, (x, y, w, h), class_id, track in rows
    ]
    files = [
        written(
            folder / f"{time}.txt",
            "\n".join(" ".join(map(repr, (c, *s, *(() if k is None else (k,))))) for _, s, c, k in group),
        )
        for time, group in by_time(shares).items()
    ]
    pixels: list[Row] = [
        (time, ((cx - w / 2) * 200, (cy - h / 2) * 100, w * 200, h * 100), class_id, track)
        for time, (cx, cy, w, h), class_id, track in shares
    ]
    check(read_yolo(files, LABELS, SIZE), pixels, {time: time for time in range(501)})


@round_trip
@given(rows=rows_of_boxes, rate=st.sampled_from(["30", "60", "29.97", "7.3"]), first_us=st.integers(0, 10**15))
def test_what_is_written_as_mot_comes_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], rate: str, first_us: int
) -> None:
    lines = [
        f"{frame},{-1 if track is None else track},{x + 1!r},{y + 1!r},{w!r},{h!r},1,{class_id + 1},1"
        for frame, (x, y, w, h), class_id, track in rows
    ]
    boxes = mot(tmp_path_factory.mktemp("mot"), "\n".join(lines), f"[Sequence]\nframeRate = {rate}\n", None, first_us)
    times = {frame: first_us + round(Fraction(frame - 1) * 10**6 / Fraction(rate)) for frame in range(1, 501)}
    check(boxes, rows, times)


def index(*names: str) -> BoxIndex:
    return BoxIndex([PurePosixPath(name) for name in names], "src")


def paths(*names: str) -> tuple[PurePosixPath, ...]:
    return tuple(PurePosixPath(name) for name in names)


@pytest.mark.parametrize(
    ("names", "kind", "place", "read"),
    [
        (["d/a_bbox.npy"], BoxKind.TABLE, "d/a_bbox.npy", ["d/a_bbox.npy"]),
        (
            ["d/a_voc/2.xml", "d/a_voc/1.xml", "d/a_voc/1.jpg"],
            BoxKind.VOC,
            "d/a_voc",
            ["d/a_voc/1.xml", "d/a_voc/2.xml"],
        ),
        (
            ["d/a_yolo/1.txt", "d/a_yolo/classes.txt"],
            BoxKind.YOLO,
            "d/a_yolo",
            ["d/a_yolo/1.txt", "d/a_yolo/classes.txt"],
        ),
        (
            ["d/a_mot/seqinfo.ini", "d/a_mot/gt/gt.txt", "d/a_mot/det/det.txt"],
            BoxKind.MOT,
            "d/a_mot",
            ["d/a_mot/gt/gt.txt", "d/a_mot/seqinfo.ini"],
        ),
        (
            ["d/a_mot/seqinfo.ini", "d/a_mot/gt/labels.txt", "d/a_mot/gt/gt.txt"],
            BoxKind.MOT,
            "d/a_mot",
            ["d/a_mot/gt/gt.txt", "d/a_mot/seqinfo.ini", "d/a_mot/gt/labels.txt"],
        ),
        (["d/a_mot.txt", "d/a_seqinfo.ini"], BoxKind.MOT, "d/a_mot.txt", ["d/a_mot.txt", "d/a_seqinfo.ini"]),
    ],
)
def test_the_boxes_beside_a_recording_are_found_by_its_name(
    names: list[str], kind: BoxKind, place: str, read: list[str]
) -> None:
    others = ["d/ab_bbox.npy", "a_bbox.npy", "d/b_voc/1.xml"]
    assert index(*others, *names).beside(PurePosixPath("d/a")) == BoxFiles(kind, PurePosixPath(place), paths(*read))


@pytest.mark.parametrize(
    "names", [[], ["d/a_voc/deep/1.xml"], ["d/a_yolo/classes.txt"], ["d/a_mot/seqinfo.ini"], ["d/a.b_bbox.npy"]]
)
def test_a_recording_without_boxes_beside_it_has_none(names: list[str]) -> None:
    assert index(*names).beside(PurePosixPath("d/a")) is None


def test_a_dot_in_a_name_is_part_of_it() -> None:
    found = index("a.b_mot/gt/gt.txt", "a.b_mot/seqinfo.ini").beside(PurePosixPath("a.b"))
    assert found is not None
    assert found.files == paths("a.b_mot/gt/gt.txt", "a.b_mot/seqinfo.ini")


def test_boxes_of_two_kinds_are_an_error_that_names_both() -> None:
    with pytest.raises(
        RecordingError, match=r"src/d/a: .*two kinds, a_bbox\.npy \(box table\) and a_voc \(VOC\); keep one"
    ):
        index("d/a_bbox.npy", "d/a_voc/1.xml").beside(PurePosixPath("d/a"))
    with pytest.raises(RecordingError, match=r"two kinds, a_mot \(MOTChallenge\) and a_mot\.txt \(MOTChallenge\)"):
        index("a_mot.txt", "a_seqinfo.ini", "a_mot/gt/gt.txt", "a_mot/seqinfo.ini").beside(PurePosixPath("a"))


@pytest.mark.parametrize(("truth", "info"), [("a_mot.txt", "a_seqinfo.ini"), ("a_mot/gt/gt.txt", "a_mot/seqinfo.ini")])
def test_mot_boxes_without_seqinfo_are_an_error_that_names_it(truth: str, info: str) -> None:
    with pytest.raises(RecordingError, match=rf"src/{truth}: has no seqinfo\.ini.*write {info}"):
        index(truth).beside(PurePosixPath("a"))


def test_labels_of_no_recording_and_folders_without_a_label_are_told() -> None:
    found = index("a_bbox.npy", "b_bbox.npy", "a_voc/deep/1.xml", "d_yolo/3.txt", "my_voc/train/c.dat", "x.txt")
    assert found.unread(paths("a", "my_voc/train/c")) == list(paths("a_voc", "b_bbox.npy", "d_yolo"))


def test_each_kind_is_read_below_the_root(tmp_path: Path) -> None:
    np.save(tmp_path / "a_bbox.npy", np.array([(5, 1, 2, 3, 4, 1, 9, 1)], BOX_DTYPE))
    written(tmp_path / "b_voc" / "5.xml", voc(voc_object("two wheeler", (1, 2, 4, 6), "<id>9</id>")))
    written(tmp_path / "c_yolo" / "5.txt", "1 0.0125 0.04 0.015 0.04 9")
    written(tmp_path / "d_mot" / "gt" / "gt.txt", "1,9,2,3,3,4,1,2,1")
    written(tmp_path / "d_mot" / "seqinfo.ini", SEQINFO)
    files = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    everything = BoxIndex([PurePosixPath(path) for path in files], "src")
    for name in "abcd":
        found = everything.beside(PurePosixPath(name))
        assert found is not None
        boxes = found.read(tmp_path, LABELS, SIZE, first_us=5)
        assert (boxes.t.tolist(), boxes.class_id.tolist(), boxes.track_id.tolist()) == ([5], [1], [9])
        np.testing.assert_allclose(boxes.xywh, [[1, 2, 3, 4]], rtol=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # numpy's, for type names that damage may spell
@pytest.mark.parametrize("name", ["a_bbox.npy", "a_voc/5.xml", "a_yolo/5.txt", "a_mot.txt", "a_seqinfo.ini"])
@round_trip
@given(data=st.data())
def test_damage_is_read_as_boxes_or_is_an_error_that_names_the_file(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damage")
    if name.endswith("npy"):
        np.save(folder / name, np.array([(5, 1, 2, 3, 4, 1, 9, 1)] * 3, BOX_DTYPE))
    written(folder / "a_voc" / "5.xml", voc(voc_object()))
    written(folder / "a_yolo" / "5.txt", "1 0.5 0.5 0.25 0.5 3\n")
    written(folder / "a_mot.txt", "2,5,1,1,5,6,1,1,1\n")
    written(folder / "a_seqinfo.ini", SEQINFO)
    content = bytearray((folder / name).read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    (folder / name).write_bytes(content[: data.draw(st.integers(0, len(content)))])
    kept = {"a_seqinfo.ini", "a_mot.txt"} if name in ("a_seqinfo.ini", "a_mot.txt") else {name}
    found = BoxIndex([PurePosixPath(file) for file in kept], "src").beside(PurePosixPath("a"))
    assert found is not None
    try:
        boxes = found.read(folder, LABELS, SIZE, first_us=5)
    except RecordingError as error:
        assert any(Path(file).name in str(error) for file in kept)  # noqa: PT017 - both ends are right
    else:
        assert np.isfinite(boxes.xywh).all()
        assert ((boxes.class_id >= 0) & (boxes.class_id < 3)).all()
