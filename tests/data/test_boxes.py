"""Box tables, label sets and clipping."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.boxes import BOX_DTYPE, Boxes, clip, label_set
from data.errors import ConfigError, RecordingError
from data.events import SensorSize
from data.formats.prophesee_boxes import read_boxes

ETRAM3 = label_set("etram3")
ETRAM8 = label_set("etram8")


def table(rows: list[tuple[Any, ...]], dtype: np.dtype[Any] = BOX_DTYPE) -> np.ndarray[Any, Any]:
    return np.array(rows, dtype)


def boxes_of(xywh: list[list[float]]) -> Boxes:
    ids = np.arange(len(xywh))
    return Boxes(ids, np.array(xywh, np.float32).reshape(-1, 4), ids, ids)


def test_a_box_row_is_laid_out_to_the_byte_as_etram_writes_it() -> None:
    offsets = {name: BOX_DTYPE.fields[name][1] for name in BOX_DTYPE.names or ()} if BOX_DTYPE.fields else {}
    assert offsets == {
        "t": 0, "x": 8, "y": 12, "w": 16, "h": 20, "class_id": 24, "track_id": 28, "class_confidence": 32,
    }  # fmt: skip
    assert BOX_DTYPE.itemsize == 40
    formats = {name: BOX_DTYPE[name].str for name in offsets}
    assert formats == {
        "t": "<i8", "x": "<f4", "y": "<f4", "w": "<f4", "h": "<f4", "class_id": "<u4", "track_id": "<u4",
        "class_confidence": "<f4",
    }  # fmt: skip


def test_the_same_number_means_another_class_in_each_etram_set() -> None:
    assert [ETRAM3.classes[i] for i in range(3)] == ["pedestrian", "vehicle", "micromobility"]
    assert [ETRAM8.classes[i] for i in (0, 1, 2, 7)] == ["pedestrian", "car", "bicycle", "wheelchair"]
    with pytest.raises(ConfigError, match=r"'etram' is unknown; did you mean 'etram\d'\? known: etram3, etram8"):
        label_set("etram")


def test_a_table_is_read_in_time_order_and_rows_of_one_time_keep_theirs(tmp_path: Path) -> None:
    path = tmp_path / "a_bbox.npy"
    np.save(path, table([(300_000_001, 1, 2, 3, 4, 0, 9, 1), (5, 0, 0, 1, 1, 2, 8, 1), (5, 0, 0, 2, 2, 1, 7, 1)]))
    boxes = read_boxes(path, ETRAM3)
    assert boxes.t.tolist() == [5, 5, 300_000_001]
    assert boxes.track_id.tolist() == [8, 7, 9]
    assert boxes.class_id.tolist() == [2, 1, 0]
    assert boxes.xywh.tolist() == [[0, 0, 1, 1], [0, 0, 2, 2], [1, 2, 3, 4]]
    assert boxes.times().tolist() == [5, 300_000_001]
    assert boxes.at(5).track_id.tolist() == [8, 7]
    assert len(boxes.at(6)) == 0


def test_many_rows_of_one_time_keep_their_order(tmp_path: Path) -> None:
    np.save(tmp_path / "a_bbox.npy", table([(i % 2, 0, 0, 1, 1, 0, i, 1) for i in range(2_000)]))
    assert read_boxes(tmp_path / "a_bbox.npy", ETRAM3).track_id.tolist() == [*range(0, 2_000, 2), *range(1, 2_000, 2)]


def test_old_names_packed_rows_and_any_field_order_are_read(tmp_path: Path) -> None:
    old = np.dtype(
        [("class_id", "u1"), ("ts", "<u8"), ("y", "<f4"), ("x", "<f4"), ("confidence", "<f4"), ("h", "<f4"),
         ("w", "<f4"), ("track_id", "<u4")]
    )  # fmt: skip
    path = tmp_path / "a_bbox.npy"
    np.save(path, table([(1, 77, 20, 10, 0.5, 40, 30, 6)], old))
    boxes = read_boxes(path, label_set("gen1"))
    assert boxes.t.tolist() == [77]
    assert boxes.t.dtype == np.int64
    assert boxes.xywh.tolist() == [[10, 20, 30, 40]]
    assert (boxes.class_id.tolist(), boxes.track_id.tolist()) == ([1], [6])


def test_a_table_without_tracks_gives_each_box_one_of_its_own(tmp_path: Path) -> None:
    fields = [("ts", "<i8"), ("x", "<f8"), ("y", "<i2"), ("w", "<f4"), ("h", "<f4"), ("class_id", "u1")]
    np.save(tmp_path / "a_bbox.npy", table([(9, 1, 2, 3, 4, 0), (5, 1, 2, 3, 4, 1)], np.dtype(fields)))
    boxes = read_boxes(tmp_path / "a_bbox.npy", label_set("gen1"))
    assert (boxes.t.tolist(), boxes.track_id.tolist(), boxes.class_id.tolist()) == ([5, 9], [1, 0], [1, 0])
    assert (boxes.xywh.dtype.name, boxes.xywh.tolist()) == ("float32", [[1, 2, 3, 4]] * 2)


@pytest.mark.parametrize(
    ("field", "kind", "value", "said"),
    [("t", "<i8", -5, "t=-5"), ("t", "<u8", 2**63, f"t={2**63}"), ("track_id", "<i4", -1, "track_id=-1")],
)
def test_a_time_or_track_outside_its_range_is_an_error_that_names_its_row(
    tmp_path: Path, field: str, kind: str, value: int, said: str
) -> None:
    rows = np.zeros(2, [(name, kind if name == field else BOX_DTYPE[name].str) for name in BOX_DTYPE.names or ()])
    rows[field][1] = value
    np.save(tmp_path / "a_bbox.npy", rows)
    with pytest.raises(RecordingError, match=rf"a_bbox\.npy: row 1: {said}, but must be from 0 to 2\^63 - 1"):
        read_boxes(tmp_path / "a_bbox.npy", ETRAM3)


@pytest.mark.parametrize(("class_id", "kind"), [(-1, "<i8"), (2**64 - 1, "<u8"), (3, "u1")])
def test_a_class_outside_the_set_is_an_error_whatever_its_type(tmp_path: Path, class_id: int, kind: str) -> None:
    rows = np.zeros(1, [(name, kind if name == "class_id" else BOX_DTYPE[name].str) for name in BOX_DTYPE.names or ()])
    rows["class_id"] = class_id
    np.save(tmp_path / "a_bbox.npy", rows)
    with pytest.raises(RecordingError, match=rf"a_bbox\.npy: row 0: class_id={class_id}, but label set 'etram3' has"):
        read_boxes(tmp_path / "a_bbox.npy", ETRAM3)


def test_eight_class_boxes_under_the_three_class_name_are_an_error_that_names_file_row_and_remedy(
    tmp_path: Path,
) -> None:
    path = tmp_path / "train_day_0001_bbox.npy"
    np.save(path, table([(1, 0, 0, 5, 5, 2, 1, 1), (2, 0, 0, 5, 5, 6, 1, 1)]))
    with pytest.raises(RecordingError, match=r"train_day_0001_bbox\.npy: row 1: class_id=6.*'etram3'.*--labels"):
        read_boxes(path, ETRAM3)
    assert ETRAM8.classes[read_boxes(path, ETRAM8).class_id[1]] == "tram"


def test_a_box_that_is_not_finite_is_an_error_that_names_its_row(tmp_path: Path) -> None:
    path = tmp_path / "a_bbox.npy"
    np.save(path, table([(1, 0, 0, 5, 5, 2, 1, 1), (2, 0, 0, float("nan"), 5, 0, 1, 1)]))
    with pytest.raises(RecordingError, match=r"a_bbox\.npy: row 1: x=0, y=0, w=nan, h=5"):
        read_boxes(path, ETRAM3)


def test_a_number_too_large_for_a_pixel_is_an_error_not_an_overflow(tmp_path: Path) -> None:
    rows = np.zeros(1, [(name, "<f8" if name == "x" else BOX_DTYPE[name].str) for name in BOX_DTYPE.names or ()])
    rows["x"] = 1e300
    np.save(tmp_path / "a_bbox.npy", rows)
    with pytest.raises(RecordingError, match=r"row 0: x=1e\+300, y=0, w=0, h=0, but a box needs finite numbers"):
        read_boxes(tmp_path / "a_bbox.npy", ETRAM3)


def test_what_is_no_box_table_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a_bbox.npy"
    path.write_bytes(b"not numpy")
    with pytest.raises(RecordingError, match=r"a_bbox\.npy: cannot be read as a numpy file"):
        read_boxes(path, ETRAM3)
    np.save(path, np.zeros((3, 8)))
    with pytest.raises(RecordingError, match=r"a_bbox\.npy: is no table of boxes"):
        read_boxes(path, ETRAM3)
    np.save(path, np.zeros(3, [("t", "<i8"), ("x", "<f4")]))
    with pytest.raises(RecordingError, match="has no field 'class_id'; found: t, x; needed"):
        read_boxes(path, ETRAM3)
    np.save(path, np.zeros(3, [(name, "<f4") for name in BOX_DTYPE.names or ()]))
    with pytest.raises(RecordingError, match="field 't' is float32, but must hold whole numbers"):
        read_boxes(path, ETRAM3)
    np.save(path, np.zeros(3, [(name, BOX_DTYPE[name].str, (2,)) for name in BOX_DTYPE.names or ()]))
    with pytest.raises(RecordingError, match=r"field 't' is .*, but must hold whole numbers"):
        read_boxes(path, ETRAM3)


def test_a_cut_box_table_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a_bbox.npy"
    np.save(path, table([(i, 0, 0, 5, 5, 2, 1, 1) for i in range(50)]))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(RecordingError, match=r"a_bbox\.npy: cannot be read"):
        read_boxes(path, ETRAM3)


def test_boxes_are_clipped_to_the_frame_and_counted_by_hand() -> None:
    boxes = boxes_of(
        [
            [10.3, 20.7, 30.1, 20.9],  # inside: kept to the bit
            [-5, 10, 20, 10],  # cut at the left: 0, 10, 15, 10
            [90, 40, 20, 20],  # cut at the right and bottom: 90, 40, 10, 10
            [0, 0, 100, 50],  # the whole frame: not cut
            [100, 0, 10, 10],  # beside the frame: dropped
            [-10, 0, 10, 10],  # touches the edge from outside: dropped
            [10, 10, 0, 5],  # no width: dropped
            [10, 10, -3, 5],  # negative width: dropped
        ]
    )
    kept, clipped, dropped = clip(boxes, SensorSize(100, 50))
    assert kept.xywh[0].tolist() == boxes.xywh[0].tolist()
    assert kept.xywh[1:].tolist() == [[0, 10, 15, 10], [90, 40, 10, 10], [0, 0, 100, 50]]
    assert kept.t.tolist() == [0, 1, 2, 3]
    assert (clipped, dropped) == (2, 4)
    assert kept.xywh.dtype == np.float32


def test_no_boxes_stay_no_boxes() -> None:
    kept, clipped, dropped = clip(Boxes.empty(), SensorSize(100, 50))
    assert (len(kept), clipped, dropped) == (0, 0, 0)
