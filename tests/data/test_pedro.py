"""PEDRo windows: events in numpy files, persons in VOC xml files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.boxes import label_set
from data.errors import RecordingError
from data.events import Repairs, SensorSize
from data.formats.pedro import PedroRecording

RECORDINGS = Path(__file__).parents[3] / "shared" / "recordings"
real = pytest.mark.skipif(not RECORDINGS.exists(), reason="the real recordings (../shared/recordings) are not here")
PEDRO = label_set("pedro")
XML = (
    "<annotation><object><name>{}</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>{}</xmax><ymax>9</ymax></bndbox>"
    "</object></annotation>"
)


def window(folder: Path, text: str | None, rows: Any = ((5, 1, 2, 1), (9, 3, 4, 0))) -> PedroRecording:
    np.save(folder / "a.npy", np.array(rows))
    if text is not None:
        (folder / "a.xml").write_text(text)
    return PedroRecording(folder / "a.npy", None if text is None else folder / "a.xml", PEDRO)


@real
@pytest.mark.parametrize(
    ("name", "persons"),
    [("frame0000009", 1), ("frame0000092", 1), ("frame0001566", 1), ("frame0013230", 2), ("frame0017525", 4)],
)
def test_real_windows_have_as_many_persons_as_their_xml(name: str, persons: int) -> None:
    folder = RECORDINGS / "pedro"
    recording = PedroRecording(folder / "numpy" / f"{name}.npy", folder / "xml" / f"{name}.xml", PEDRO)
    boxes = recording.boxes()
    assert len(boxes) == persons
    assert (recording.name, recording.size) == (name, SensorSize(346, 260))
    ((events, repairs),) = recording.chunks()
    assert (len(events), repairs) == (recording.row_count, Repairs())
    assert set(boxes.t.tolist()) == {int(events.t[-1])}


@real
def test_a_real_window_has_the_numbers_that_its_files_show() -> None:
    folder = RECORDINGS / "pedro"
    first = PedroRecording(folder / "numpy" / "frame0000009.npy", folder / "xml" / "frame0000009.xml", PEDRO)
    ((events, _),) = first.chunks()
    boxes = first.boxes()
    # Its xml names frame0000082.jpg; xmin 28, ymin 85, xmax 152, ymax 260.
    assert boxes.xywh.tolist() == [[28, 85, 124, 175]]
    assert (boxes.t.tolist(), boxes.t.dtype.name) == ([1_672_932_747_946_204], "int64")
    assert (boxes.class_id.tolist(), boxes.track_id.tolist()) == ([0], [0])
    assert (len(events), events.t.dtype.name, first.row_count) == (17_043, "int64", 17_043)
    assert (int(events.t[0]), int(events.t[-1])) == (1_672_932_747_906_204, 1_672_932_747_946_204)
    assert (int(events.x[0]), int(events.y[0]), int(events.p[0])) == (214, 188, 1)


def test_boxes_carry_the_time_of_the_last_event_that_is_kept(tmp_path: Path) -> None:
    # The last row lies outside the frame, and the one before it is earlier than its predecessor.
    recording = window(tmp_path, XML.format("person", 4), [[5, 1, 2, 1], [9, 3, 4, 0], [7, 3, 4, 0], [12, 346, 0, 1]])
    ((events, repairs),) = recording.chunks()
    assert (events.t.tolist(), repairs) == ([5, 9, 9], Repairs(out_of_frame=1, backward_times=1))
    boxes = recording.boxes()
    assert (boxes.t.tolist(), boxes.xywh.tolist()) == ([9], [[1, 2, 3, 7]])


def test_a_window_without_xml_or_without_persons_has_no_boxes(tmp_path: Path) -> None:
    assert len(window(tmp_path, None).boxes()) == 0
    assert window(tmp_path, "<annotation></annotation>").boxes().xywh.shape == (0, 4)


def test_an_empty_window_has_boxes_at_time_zero(tmp_path: Path) -> None:
    recording = window(tmp_path, XML.format("person", 4), np.zeros((0, 4), np.int64))
    assert (recording.row_count, recording.boxes().t.tolist()) == (0, [0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation><object>", "cannot be read as xml"),
        (XML.format("dog", 5), r"object 1: class 'dog' is not in label set 'pedro' \(person\)"),
        (XML.format("person", "wide"), "object 1: xmax='wide' must be a finite number"),
        ("<annotation><size><width>640</width><height>480</height></size></annotation>", "<size> is 640x480"),
    ],
)
def test_an_xml_that_breaks_a_rule_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecordingError, match=rf"a\.xml: {message}"):
        window(tmp_path, text).boxes()


def test_the_users_size_stands_for_that_of_pedros_sensor(tmp_path: Path) -> None:
    plain = window(tmp_path, None)
    assert plain.size == SensorSize(346, 260)
    assert PedroRecording(plain.path, None, PEDRO, SensorSize(640, 480)).size == SensorSize(640, 480)


@pytest.mark.parametrize("rows", [[[1.5, 0, 0, 1]], [[1, 2, 3]], [1, 2, 3, 4]])
def test_a_window_that_is_no_table_of_events_is_named(tmp_path: Path, rows: Any) -> None:
    recording = window(tmp_path, None, rows)
    with pytest.raises(RecordingError, match=r"a\.npy: must be a table of whole numbers with the columns t, x, y, p"):
        list(recording.chunks())
    recording.path.write_bytes(b"")
    with pytest.raises(RecordingError, match=r"a\.npy: cannot be read as a numpy file"):
        assert recording.row_count
