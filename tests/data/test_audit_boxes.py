"""Statistics of boxes and of label times: counted by hand, and equal to numpy's on anything."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.audit.boxes import BoxAudit, LabelTimes, RawTable, audit_boxes, duplicates, label_times, raw_table
from data.boxes import BOX_DTYPE, Boxes
from data.events import SensorSize

SIZE = SensorSize(100, 80)
Row = tuple[int, float, float, float, float, int, int]  # t, x, y, w, h, class, track


def boxes_of(*rows: Row) -> Boxes:
    t, x, y, w, h, class_id, track_id = (np.array(column) for column in zip(*rows, strict=True))
    xywh = np.stack([x, y, w, h], axis=1).astype(np.float32)
    return Boxes(t.astype(np.int64), xywh, class_id.astype(np.int64), track_id.astype(np.int64))


def audited(*rows: Row, span_us: tuple[int, int] = (0, 999_999), lively: bool = True) -> BoxAudit:
    boxes = boxes_of(*rows)
    return audit_boxes(boxes, SIZE, 3, span_us, np.full(len(boxes), lively))


def test_boxes_that_do_not_fit_are_told_apart() -> None:
    audit = audited(
        (1, 10, 10, 20, 20, 0, 1),
        (2, 90, 10, 20, 20, 0, 1),  # cut at the right
        (3, -5, 10, 20, 20, 1, 1),  # cut at the left
        (4, 100, 10, 20, 20, 0, 1),  # begins where the frame ends
        (5, 10, 10, 0, 20, 2, 1),  # no width
        (6, 10, 10, 5, -1, 2, 1),  # less than no height
    )
    assert (audit.boxes, audit.cut, audit.outside, audit.zero_size) == (6, 2, 1, 2)
    assert audit.classes == (3, 1, 2)
    assert (audit.first_us, audit.last_us) == (1, 6)


def test_boxes_beside_the_recording_are_counted_beyond_a_window() -> None:
    rows: list[Row] = [(t, 1, 1, 5, 5, 0, 1) for t in (949_999, 950_000, 1_000_000, 2_049_999, 2_050_000, 9_000_000)]
    audit = audited(*rows, span_us=(1_000_000, 2_000_000), lively=False)
    assert (audit.early, audit.late) == (1, 2)
    assert audit.without_events == 2  # those of a time at which there were events


def test_windows_without_a_label_are_counted_from_the_first_event() -> None:
    # Windows of 50 ms from 10 ms on: [10, 60), [60, 110), [110, 160), [160, 170.001 ms).
    audit = audited((59_999, 1, 1, 5, 5, 0, 1), (60_000, 1, 1, 5, 5, 0, 1), span_us=(10_000, 170_000))
    assert (audit.windows, audit.empty_windows) == (4, 2)


def test_the_label_rate_is_that_of_the_usual_step() -> None:
    steady = np.arange(20) * 33_333
    assert label_times(steady) == LabelTimes(20, 1e6 / 33_333, 0.0, 0, 33_333, 0)
    # Two seconds without labels after the tenth, and one step 20 % too long: 2 of 19 steps are off.
    gapped = steady + np.where(np.arange(20) >= 10, 2_000_000, 0) + np.where(np.arange(20) >= 15, 6_667, 0)
    found = label_times(gapped)
    assert found.irregular_share == pytest.approx(2 / 19)
    assert (found.gaps, found.longest_gap_us, found.longest_gap_at_us) == (1, 2_033_333, 9 * 33_333)
    assert label_times(np.array([5])) == LabelTimes(1)
    assert label_times(np.array([], np.int64)) == LabelTimes(0)


def test_a_track_twice_at_one_time_is_a_duplicate_and_twice_at_two_times_is_none() -> None:
    assert (
        duplicates(boxes_of((1, 1, 1, 5, 5, 0, 7), (1, 9, 9, 5, 5, 0, 7), (2, 1, 1, 5, 5, 0, 7), (2, 1, 1, 5, 5, 0, 8)))
        == 2
    )
    # Without tracks, one number everywhere, boxes are told by their place.
    assert duplicates(boxes_of((1, 1, 1, 5, 5, 0, 0), (1, 9, 9, 5, 5, 0, 0), (1, 9, 9, 5, 5, 0, 0))) == 1
    assert duplicates(Boxes.empty()) == 0


rows = st.tuples(
    st.integers(0, 5),
    *[st.integers(0, 2).map(float)] * 2,
    *[st.integers(1, 2).map(float)] * 2,
    *[st.integers(0, 2)] * 2,
)


@given(st.lists(rows, min_size=1, max_size=30))
def test_duplicates_are_those_a_plain_loop_finds(found: list[Row]) -> None:
    found.sort(key=lambda row: row[0])
    tracked = len({row[6] for row in found}) > 1
    seen: set[tuple[float, ...]] = set()
    again = 0
    for row in found:
        keys = {(row[0], *row[1:6])} | ({(row[0], row[6])} if tracked else set())
        again += bool(keys & seen)
        seen |= keys
    assert duplicates(boxes_of(*found)) == again


@given(st.lists(st.integers(0, 10**7), min_size=2, max_size=60, unique=True).map(sorted))
def test_label_times_equal_numpys(found: list[int]) -> None:
    times = np.array(found)
    steps = np.diff(times)
    audit = label_times(times)
    assert audit.count == len(times)
    assert audit.rate == pytest.approx(1e6 / np.median(steps))
    assert audit.longest_gap_us == steps.max()
    off = [abs(step - np.median(steps)) > 0.1 * np.median(steps) for step in steps.tolist()]
    assert audit.irregular_share == pytest.approx(np.mean(off))


FIELDS = BOX_DTYPE.names or ()


@pytest.mark.parametrize("time", ["t", "ts"])
def test_a_table_s_rows_tell_falling_times_and_classes(tmp_path: Path, time: str) -> None:
    table: npt.NDArray[np.void] = np.zeros(5, [(time if name == "t" else name, BOX_DTYPE[name]) for name in FIELDS])
    table[time], table["class_id"] = [1, 5, 3, 3, 2], [0, 7, 0, 2, 7]
    np.save(tmp_path / "a_bbox.npy", table)
    assert raw_table([tmp_path / "a_td.dat", tmp_path / "a_bbox.npy"]) == RawTable(2, (0, 2, 7))


def test_what_is_no_table_is_left_to_its_reader(tmp_path: Path) -> None:
    (tmp_path / "a_bbox.npy").write_bytes(b"nonsense")
    assert raw_table([tmp_path / "a_bbox.npy"]) == RawTable()
    assert raw_table([tmp_path / "missing_bbox.npy"]) == RawTable()
    assert raw_table([tmp_path / "a.xml"]) == RawTable()
