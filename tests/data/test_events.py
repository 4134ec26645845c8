"""Events are mended by hand-countable rules."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import RecordingError
from data.events import PolarityError, Repairs, SensorSize, mend, mend_chunks

EVK4 = SensorSize(1280, 720)


def ints(*values: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(values, np.int64)


def test_a_backward_time_is_raised_to_the_running_maximum() -> None:
    zeros = ints(0, 0, 0, 0, 0)
    events, repairs = mend(ints(10, 30, 20, 29, 31), zeros, zeros, zeros, EVK4)
    assert events.t.tolist() == [10, 30, 30, 30, 31]
    assert repairs == Repairs(backward_times=2)


def test_an_event_with_bit_15_of_y_flipped_is_dropped_and_counted() -> None:
    y = np.array([5, 33014, 719, 720], np.uint16)  # 33014 is what eTraM's train_day_0024_td holds
    x = np.array([1279, 3, 1280, 3], np.uint16)
    events, repairs = mend(ints(1, 2, 3, 4), x, y, np.array([1, 1, 0, 0], np.int16), EVK4)
    assert (events.t.tolist(), events.x.tolist(), events.y.tolist()) == ([1], [1279], [5])
    assert repairs == Repairs(out_of_frame=3, bit15=1)


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.uint64])
def test_bit_15_of_either_coordinate_is_counted_whatever_the_type(dtype: type) -> None:
    xy: np.ndarray[Any, np.dtype[np.integer]] = np.array(
        [[32768 + 7, 7, 2000, 7], [7, 32768 + 7, 7, 7]], np.uint16
    ).astype(dtype)
    _, repairs = mend(ints(1, 2, 3, 4), xy[0], xy[1], ints(0, 0, 0, 0), EVK4)
    assert repairs == Repairs(out_of_frame=3, bit15=2)
    assert repairs + repairs == Repairs(out_of_frame=6, bit15=4)


def test_the_time_of_a_dropped_event_raises_no_other() -> None:
    events, repairs = mend(ints(1, 900, 2), ints(0, 2000, 0), ints(0, 0, 0), ints(1, 1, 1), EVK4)
    assert events.t.tolist() == [1, 2]
    assert repairs == Repairs(out_of_frame=1)


def test_polarity_of_minus_one_and_one_becomes_zero_and_one() -> None:
    zeros = ints(0, 0, 0)
    events, repairs = mend(ints(1, 2, 3), zeros, zeros, np.array([-1, 1, -1], np.int16), EVK4)
    assert events.p.tolist() == [0, 1, 0]
    assert repairs == Repairs(signed_polarity=True)


def test_columns_have_the_types_of_events_whatever_they_came_as() -> None:
    events, _ = mend(np.array([7], np.uint32), np.array([1], np.int32), np.array([2], np.int8), np.array([True]), EVK4)
    assert [c.dtype for c in (events.t, events.x, events.y, events.p)] == [np.int64, np.uint16, np.uint16, np.uint8]
    assert events.p.tolist() == [1]


def test_values_too_large_for_int64_do_not_turn_negative() -> None:
    top = np.array([2**64 - 1], np.uint64)
    events, repairs = mend(top, np.array([1], np.uint16), np.array([1], np.uint16), ints(0), EVK4)
    assert events.t.tolist() == [2**63 - 1]
    assert repairs == Repairs()
    with pytest.raises(PolarityError, match="row 0: polarity p=18446744073709551615"):
        mend(ints(0), ints(0), ints(0), top, EVK4)


def test_columns_of_a_table_need_not_lie_side_by_side() -> None:
    table = np.array([[1, 2, 3, 1], [5, 6, 7, 0]])
    events, _ = mend(table[:, 0], table[:, 1], table[:, 2], table[:, 3], EVK4)
    assert [c.tolist() for c in (events.t, events.x, events.y, events.p)] == [[1, 5], [2, 6], [3, 7], [1, 0]]


@pytest.mark.parametrize(("dtype", "value"), [(np.int16, 2), (np.int16, -2), (np.int32, 65537), (np.uint8, 255)])
def test_a_polarity_that_is_none_of_the_three_is_an_error_that_names_its_row(dtype: type, value: int) -> None:
    zeros = ints(0, 0, 0)
    with pytest.raises(PolarityError, match=f"row 2: polarity p={value} is none") as caught:
        mend(zeros, zeros, zeros, np.array([0, 1, value], dtype), EVK4)
    assert caught.value.row == 2


def test_the_running_maximum_and_the_row_number_go_on_across_chunks() -> None:
    zeros, ones = ints(0, 0), ints(1, 1)
    chunks = [
        (ints(5, 9), zeros, zeros, ones),
        (ints(7, 10), zeros, zeros, ones),
        (ints(11, 12), zeros, zeros, ints(1, 7)),
    ]
    mended = mend_chunks(chunks, EVK4, "a.h5")
    assert next(mended)[0].t.tolist() == [5, 9]
    events, repairs = next(mended)
    assert events.t.tolist() == [9, 10]
    assert repairs == Repairs(backward_times=1)
    with pytest.raises(RecordingError, match=r"a\.h5: row 5: polarity p=7"):
        next(mended)


@given(
    st.lists(st.tuples(st.integers(-5, 50), st.integers(-2, 5), st.integers(-2, 4), st.sampled_from([-1, 0, 1]))),
    st.integers(1, 7),
)
def test_mending_chunk_by_chunk_equals_a_plain_loop(rows: list[tuple[int, int, int, int]], step: int) -> None:
    expected: list[tuple[int, int, int, int]] = []
    wanted = {"out": 0, "back": 0}
    for t, x, y, p in rows:
        if not (0 <= x < 4 and 0 <= y < 3):
            wanted["out"] += 1
            continue
        latest = expected[-1][0] if expected else t
        wanted["back"] += t < latest
        expected.append((max(t, latest), x, y, 1 if p == 1 else 0))
    table = np.array(rows, np.int64).reshape(-1, 4)
    parts = [table[i : i + step] for i in range(0, len(table), step)]
    mended = list(mend_chunks(((c[:, 0], c[:, 1], c[:, 2], c[:, 3]) for c in parts), SensorSize(4, 3), "a"))
    got = [row for e, _ in mended for row in zip(e.t.tolist(), e.x.tolist(), e.y.tolist(), e.p.tolist(), strict=True)]
    total = sum((repairs for _, repairs in mended), Repairs())
    assert got == expected
    assert (total.out_of_frame, total.backward_times) == (wanted["out"], wanted["back"])
