import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.packing import PackedSlice
from data.representation import histo3d

Column = npt.NDArray[np.int64]


def packed(t: Column, x: Column, y: Column, p: Column) -> PackedSlice:
    """Pack by the layout's description: x in bits 0..10, y in 11..20, p in 21, µs within the millisecond above."""
    words = [
        (int(when) % 1000) * 2**22 + int(on) * 2**21 + int(row) * 2**11 + int(column)
        for when, column, row, on in zip(t, x, y, p, strict=True)
    ]
    first_ms = int(t[0]) // 1000
    counts = np.bincount(t // 1000 - first_ms)
    return PackedSlice(first_ms, np.concatenate([[0], np.cumsum(counts)]), np.array(words, np.uint32))


def counted(
    columns: tuple[Column, Column, Column, Column], start_us: int, end_us: int, scale: float, shape: tuple[int, ...]
) -> npt.NDArray[np.uint8]:
    """The same counts, one event after the other, in Python's own numbers."""
    frames = np.zeros(shape, np.int64)
    for t, x, y, p in np.stack(columns, axis=1).tolist():
        if start_us <= t < end_us:
            step = math.floor((t - start_us) * shape[0] / (end_us - start_us))
            frames[step, p, math.floor(y * scale), math.floor(x * scale)] += 1
    return np.minimum(frames, 255).astype(np.uint8)


def random_events(
    seed: int, count: int, first_us: int, last_us: int, width: int, height: int
) -> tuple[Column, Column, Column, Column]:
    random = np.random.default_rng(seed)
    t = np.sort(random.integers(first_us, last_us + 1, count))
    return t, random.integers(0, width, count), random.integers(0, height, count), random.integers(0, 2, count)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    scale=st.sampled_from([1.0, 0.5, 0.37]),
    steps=st.integers(1, 7),
    start_us=st.integers(300_000_000, 300_003_000),  # in the middle of milliseconds, beyond float32
    span_us=st.integers(1, 6_000),
)
def test_counts_equal_those_of_a_plain_loop(seed: int, scale: float, steps: int, start_us: int, span_us: int) -> None:
    events = random_events(seed, 400, 299_999_000, 300_010_000, 40, 24)
    shape = (steps, 2, math.ceil(24 * scale), math.ceil(40 * scale))
    frames = histo3d(packed(*events), start_us, start_us + span_us, scale, np.empty(shape, np.uint8))
    np.testing.assert_array_equal(frames, counted(events, start_us, start_us + span_us, scale, shape))


def frames_of(rows: list[tuple[int, int, int, int]], start_us: int, end_us: int, steps: int) -> npt.NDArray[np.uint8]:
    t, x, y, p = np.array(rows, np.int64).T
    return histo3d(packed(t, x, y, p), start_us, end_us, 1.0, np.empty((steps, 2, 4, 6), np.uint8))


def test_channel_0_is_off_and_channel_1_is_on() -> None:
    frames = frames_of([(10, 5, 3, 0), (11, 2, 1, 1), (12, 2, 1, 1)], 0, 1_000, 1)
    assert frames[0, 0, 3, 5] == 1
    assert frames[0, 1, 1, 2] == 2
    assert frames.sum() == 3


def test_the_first_microsecond_is_in_the_window_and_the_end_is_not() -> None:
    rows = [(1_499, 0, 0, 1), (1_500, 1, 0, 1), (2_699, 2, 0, 1), (2_700, 3, 0, 1)]
    frames = frames_of(rows, 1_500, 2_700, 1)
    assert frames[0, 1, 0].tolist() == [0, 1, 1, 0, 0, 0]


def test_bins_that_do_not_divide_the_window_begin_at_the_next_whole_microsecond() -> None:
    # 10 µs in 3 bins: [0, 3.33), [3.33, 6.67), [6.67, 10), so µs 0-3, 4-6 and 7-9.
    frames = frames_of([(100 + i, 0, 0, 1) for i in range(10)], 100, 110, 3)
    assert frames[:, 1, 0, 0].tolist() == [4, 3, 3]


@pytest.mark.parametrize(("events", "count"), [(254, 254), (255, 255), (256, 255), (401, 255)])
def test_counts_saturate_instead_of_wrapping(events: int, count: int) -> None:
    frames = frames_of([(i, 2, 2, 0) for i in range(events)], 0, 1_000, 1)
    assert frames[0, 0, 2, 2] == count
    assert np.count_nonzero(frames) == 1


def test_what_the_buffer_held_before_is_gone() -> None:
    t, x, y, p = np.array([[7, 0, 0, 1]], np.int64).T
    frames = histo3d(packed(t, x, y, p), 0, 1_000, 1.0, np.full((2, 2, 4, 6), 9, np.uint8))
    assert frames.sum() == 1


def test_a_window_before_the_first_event_of_a_recording_reaches_below_zero_unharmed() -> None:
    frames = frames_of([(0, 1, 1, 1), (999, 2, 1, 1)], -39_999, 1_000, 41)
    assert frames[39, 1, 1, 1] == 1
    assert frames[40, 1, 1, 2] == 1


def test_no_event_leaves_empty_frames() -> None:
    nothing = PackedSlice(5, np.zeros(1, np.int64), np.empty(0, np.uint32))
    assert not histo3d(nothing, 5_000, 6_000, 1.0, np.ones((2, 2, 4, 6), np.uint8)).any()


def test_padding_beyond_the_sensor_stays_empty() -> None:
    events = random_events(3, 500, 0, 5_000, 20, 10)
    frames = histo3d(packed(*events), 0, 5_001, 1.0, np.empty((2, 2, 32, 32), np.uint8))
    assert frames[:, :, :10, :20].sum() == 500
    assert frames.sum() == 500


def test_a_pixel_that_rounding_puts_past_the_frame_is_dropped_not_written() -> None:
    t, x, y, p = np.array([[1, 6, 0, 1], [2, 0, 4, 1], [3, 5, 3, 1]], np.int64).T
    frames = histo3d(packed(t, x, y, p), 0, 10, 1.0, np.empty((1, 2, 4, 6), np.uint8))
    assert frames.sum() == 1
    assert frames[0, 1, 3, 5] == 1
