import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.windows import Window, buffered_window, causal_window, evaluation_times, evenly_spaced


def test_a_window_ends_with_its_labels_own_microsecond() -> None:
    assert causal_window(3, 1_000_000, 50_000) == Window(3, start_us=950_001, end_us=1_000_001, label_us=1_000_000)


def test_a_window_at_five_minutes_keeps_its_last_microsecond() -> None:
    # float32 steps by 32 µs there and would lose it.
    window = causal_window(0, 300_000_001, 50_000)
    assert (window.start_us, window.end_us) == (299_950_002, 300_000_002)


def test_times_beyond_float32_pass_the_half_second_filter_unchanged() -> None:
    times = np.array([300_000_001, 300_000_002], np.int64)
    kept = evaluation_times(times)
    assert kept.dtype == np.int64
    assert kept.tolist() == [300_000_001, 300_000_002]


def test_labels_at_or_before_half_a_second_are_not_evaluated() -> None:
    times = np.array([0, 499_999, 500_000, 500_001, 900_000], np.int64)
    assert evaluation_times(times).tolist() == [500_001, 900_000]


def test_a_buffer_of_nothing_is_the_causal_window() -> None:
    random = np.random.default_rng(0)
    assert buffered_window(1, 700_000, 50_000, 0.0, random) == Window(1, 650_001, 700_001, 700_000)


def test_a_buffered_window_reaches_both_ends_of_its_buffer_and_no_further() -> None:
    random = np.random.default_rng(0)
    # A buffer of 0.001 of 3,000 µs moves the end by -3 to 3 µs: seven places, all met in 500 draws.
    windows = [buffered_window(0, 10_000, 3_000, 0.001, random) for _ in range(500)]
    assert {window.end_us for window in windows} == {9_998, 9_999, 10_000, 10_001, 10_002, 10_003, 10_004}


@given(st.integers(0, 400_000_000), st.integers(1_000, 1_000_000), st.floats(0, 1), st.integers(0, 2**32))
def test_a_buffered_window_keeps_its_length_and_its_label(
    label_us: int, window_us: int, temporal_buffer: float, seed: int
) -> None:
    window = buffered_window(0, label_us, window_us, temporal_buffer, np.random.default_rng(seed))
    assert window.end_us - window.start_us == window_us
    assert window.label_us == label_us
    assert abs(window.end_us - (label_us + 1)) <= temporal_buffer * window_us


def test_the_same_seed_draws_the_same_windows() -> None:
    draws = [
        [buffered_window(0, 1_000_000, 50_000, 0.5, random).end_us for _ in range(20)]
        for random in (np.random.default_rng(7), np.random.default_rng(7), np.random.default_rng(8))
    ]
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]


@pytest.mark.parametrize(
    ("count", "at_most", "positions"),
    [
        (5, None, [0, 1, 2, 3, 4]),
        (5, 5, [0, 1, 2, 3, 4]),
        (5, 9, [0, 1, 2, 3, 4]),
        (9, 3, [0, 4, 8]),
        (101, 5, [0, 25, 50, 75, 100]),
        (7, 1, [0]),
        (0, 4, []),
    ],
)
def test_positions_are_evenly_spaced_from_first_to_last(count: int, at_most: int | None, positions: list[int]) -> None:
    assert evenly_spaced(count, at_most).tolist() == positions


@given(st.integers(1, 5_000), st.integers(2, 300))
def test_spaced_positions_are_distinct_and_their_gaps_differ_by_one_at_most(count: int, at_most: int) -> None:
    positions = evenly_spaced(count, at_most)
    gaps = np.diff(positions)
    assert len(positions) == min(count, at_most)
    assert count == 1 or (gaps.min() >= 1 and gaps.max() - gaps.min() <= 1)
