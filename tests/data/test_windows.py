import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data.windows import (
    Sampling,
    Window,
    WindowConfig,
    buffered_window,
    causal_window,
    chosen_windows,
    evaluation_times,
    evenly_spaced,
    label_windows,
    stride_windows,
)


def test_a_window_ends_with_its_labels_own_microsecond() -> None:
    assert causal_window(3, 1_000_000, 50_000) == Window(3, start_us=950_001, end_us=1_000_001, label_us=1_000_000)


def test_a_window_at_five_minutes_keeps_its_last_microsecond() -> None:
    # float32 steps by 32 µs there and would lose it.
    window = causal_window(0, 300_000_001, 50_000)
    assert (window.start_us, window.end_us) == (299_950_002, 300_000_002)


def test_windows_sort_by_recording_and_then_by_time() -> None:
    windows = [causal_window(1, 5, 10), causal_window(0, 9, 10), causal_window(0, 7, 10)]
    assert [(window.recording, window.label_us) for window in sorted(windows)] == [(0, 7), (0, 9), (1, 5)]


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


@pytest.mark.parametrize(
    ("window_us", "temporal_buffer", "step_us", "steps"),
    [
        (50_000, 0.1, 1_250, 4),  # 5,000 µs either way, in steps of a fortieth of the window
        (50_000, 0.06, 1_250, 2),  # 3,000 µs hold two whole steps
        (50_000, 1.0, 1_250, 40),
        (3_000, 0.575, 75, 23),  # 0.575 * 40 is 22.999999999999996 in floats
        (3_000, 0.025, 75, 1),
        (3_000, 0.001, 75, 1),  # too small for a step counts as one
        (1_019, 0.05, 25, 2),  # a window that forty does not divide: the step is cut to whole microseconds
    ],
)
def test_a_buffered_window_reaches_both_ends_of_its_buffer_on_a_grid_and_no_further(
    window_us: int, temporal_buffer: float, step_us: int, steps: int
) -> None:
    random = np.random.default_rng(0)
    ends = {buffered_window(0, 10_000, window_us, temporal_buffer, random).end_us for _ in range(1_500)}
    assert ends == {10_001 + place * step_us for place in range(-steps, steps + 1)}


def test_every_place_within_the_buffer_is_as_likely() -> None:
    random = np.random.default_rng(1)
    met = Counter(buffered_window(0, 10_000, 1_000, 0.05, random).end_us for _ in range(5_000))
    # Five places, 1,000 draws each give or take five standard deviations of 28.
    assert len(met) == 5
    assert all(abs(count - 1_000) < 142 for count in met.values())


@given(st.integers(0, 400_000_000), st.integers(1_000, 1_000_000), st.floats(0, 1), st.integers(0, 2**32))
def test_a_buffered_window_keeps_its_length_and_its_label(
    label_us: int, window_us: int, temporal_buffer: float, seed: int
) -> None:
    window = buffered_window(0, label_us, window_us, temporal_buffer, np.random.default_rng(seed))
    assert window.end_us - window.start_us == window_us
    assert window.label_us == label_us
    step_us = window_us // 40
    reach_us = max(temporal_buffer * window_us, step_us) if temporal_buffer else 0
    assert abs(window.end_us - (label_us + 1)) <= reach_us + 1e-6
    assert (window.end_us - (label_us + 1)) % step_us == 0


def test_the_same_seed_draws_the_same_windows() -> None:
    draws = [
        [buffered_window(0, 1_000_000, 50_000, 0.5, random).end_us for _ in range(20)]
        for random in (np.random.default_rng(7), np.random.default_rng(7), np.random.default_rng(8))
    ]
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]


def test_each_label_time_has_its_causal_window() -> None:
    times = np.array([33_333, 66_667, 300_000_001], np.int64)  # 30 Hz, and a time beyond float32
    assert label_windows(2, times, WindowConfig(window_us=20_000)) == [
        Window(2, 13_334, 33_334, 33_333),
        Window(2, 46_668, 66_668, 66_667),
        Window(2, 299_980_002, 300_000_002, 300_000_001),
    ]


@pytest.mark.parametrize(
    ("overlap", "last_us", "ends"),
    [
        (0.25, 200_999, [51_000, 88_500, 126_000, 163_500, 201_000]),  # 200 ms of recording, a window each 37.5 ms
        (0.25, 200_998, [51_000, 88_500, 126_000, 163_500]),  # a microsecond short of the fifth
        (0.0, 200_999, [51_000, 101_000, 151_000, 201_000]),
        (0.5, 100_999, [51_000, 76_000, 101_000]),
        (0.9, 66_000, [51_000, 56_000, 61_000, 66_000]),
        (0.25, 50_999, [51_000]),
        (0.25, 50_998, []),  # shorter than a window
    ],
)
def test_windows_at_a_stride_by_hand(overlap: float, last_us: int, ends: list[int]) -> None:
    windows = stride_windows(4, 1_000, last_us, WindowConfig(sampling=Sampling.STRIDE, overlap=overlap))
    assert windows == [Window(4, end - 50_000, end, end - 1) for end in ends]


@given(
    window_us=st.integers(1_000, 100_000),
    overlap=st.floats(0, 0.9),
    first_us=st.integers(0, 400_000_000),
    length_us=st.integers(0, 1_000_000),
)
def test_windows_at_a_stride_fill_the_recording_and_never_leave_it(
    window_us: int, overlap: float, first_us: int, length_us: int
) -> None:
    config = WindowConfig(sampling=Sampling.STRIDE, window_us=window_us, overlap=overlap)
    windows = stride_windows(0, first_us, first_us + length_us, config)
    strides = {after.start_us - before.start_us for before, after in itertools.pairwise(windows)}
    assert all(abs(stride - window_us * (1 - overlap)) <= 0.5 for stride in strides)
    assert len(strides) <= 1
    assert bool(windows) == (length_us + 1 >= window_us)
    if windows:
        left_us = first_us + length_us + 1 - windows[-1].end_us
        assert windows[0].start_us == first_us
        assert 0 <= left_us < window_us * (1 - overlap) + 1


@pytest.mark.parametrize(
    "broken",
    [
        {"window_us": 999},
        {"window_us": 1_000_001},
        {"time_steps": 0},
        {"time_steps": 33},
        {"temporal_buffer": 1.1},
        {"overlap": 0.91},
        {"overlap": -0.1},
        {"max_windows_per_recording": 0},
        {"label_gap_us": -1},
        {"max_events_per_window": 0},
        {"sampling": "random"},
    ],
)
def test_a_window_setting_outside_its_range_is_refused(broken: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(broken))):
        WindowConfig.model_validate(broken)


def windows_each_ms(count: int) -> list[Window]:
    return [causal_window(0, 1_000 * (place + 1), 1_000) for place in range(count)]


def of_class(*held: set[int]) -> list[np.ndarray[tuple[int], np.dtype[np.int64]]]:
    return [np.array(sorted(classes), np.int64) for classes in held]


def test_all_windows_are_chosen_where_no_limit_stands_in_the_way() -> None:
    classes, annotated = of_class({0}, set(), {1}), np.array([True, False, True])
    for most in (None, 3, 4):
        chosen = chosen_windows(windows_each_ms(3), annotated, classes, most, np.random.default_rng(0))
        assert chosen.tolist() == [0, 1, 2]


def test_windows_without_labels_are_chosen_only_where_labelled_ones_run_out() -> None:
    classes = of_class(*({0} if place in (2, 5, 8) else set() for place in range(10)))
    annotated = np.array([len(held) > 0 for held in classes])
    two = chosen_windows(windows_each_ms(10), annotated, classes, 2, np.random.default_rng(0))
    five = chosen_windows(windows_each_ms(10), annotated, classes, 5, np.random.default_rng(0))
    assert len(two) == 2
    assert set(two.tolist()) < {2, 5, 8}
    assert len(five) == 5
    assert set(five.tolist()) > {2, 5, 8}


def test_a_window_known_to_hold_nothing_goes_before_one_of_which_nothing_is_known() -> None:
    annotated = np.array([False, True, False, True])
    chosen = chosen_windows(windows_each_ms(4), annotated, of_class(*[set()] * 4), 2, np.random.default_rng(3))
    assert chosen.tolist() == [1, 3]


@pytest.mark.parametrize("seed", range(20))
def test_the_one_window_of_a_rare_class_is_not_lost_among_a_thousand(seed: int) -> None:
    classes = of_class(*({0, 1} if place == 577 else {0} for place in range(1_000)))
    annotated = np.ones(1_000, bool)
    chosen = chosen_windows(windows_each_ms(1_000), annotated, classes, 5, np.random.default_rng(seed))
    assert 577 in chosen.tolist()


def test_a_draw_within_a_class_is_even() -> None:
    random = np.random.default_rng(5)
    classes, annotated = of_class(*[{2}] * 10), np.ones(10, bool)
    met = Counter(
        int(place) for _ in range(1_000) for place in chosen_windows(windows_each_ms(10), annotated, classes, 2, random)
    )
    # 2,000 picks of 10 windows: 200 each, give or take five standard deviations of 13.
    assert all(abs(met[place] - 200) < 65 for place in range(10))


@settings(max_examples=150, deadline=None)
@given(
    held=st.lists(st.sets(st.integers(0, 4), max_size=3), max_size=40),
    known=st.integers(0, 2**40 - 1),
    most=st.integers(0, 45),
    seed=st.integers(0, 2**32),
)
def test_every_class_gets_its_share_of_the_chosen_windows_or_all_it_has(
    held: list[set[int]], known: int, most: int, seed: int
) -> None:
    windows = windows_each_ms(len(held))
    annotated = np.array([known >> place & 1 for place in range(len(held))], bool)
    classes = of_class(*held)
    chosen = chosen_windows(windows, annotated, classes, most, np.random.default_rng(seed)).tolist()
    assert len(set(chosen)) == len(chosen) == min(most, len(held))
    assert [windows[place] for place in chosen] == sorted(windows[place] for place in chosen)
    assert all(annotated[chosen]) or set(np.flatnonzero(annotated)) <= set(chosen)
    shown = Counter(class_id for place in np.flatnonzero(annotated) for class_id in held[place])
    taken = Counter(class_id for place in chosen if annotated[place] for class_id in held[place])
    for class_id, count in shown.items():
        assert taken[class_id] >= min(count, most // len(shown))
    again = chosen_windows(windows, annotated, classes, most, np.random.default_rng(seed)).tolist()
    assert again == chosen


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
