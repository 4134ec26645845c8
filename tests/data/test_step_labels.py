import pickle
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.boxes import Boxes
from data.step_labels import StepBoxes, TrackIndex, step_times
from data.windows import Window, causal_window

GAP_US = 200_000


class Label(NamedTuple):
    t: int
    track: int
    x: float = 0.0
    class_id: int = 0


def boxes_of(labels: list[Label]) -> Boxes:
    """Boxes 10 px wide and 20 px high, whose y is half their x."""
    xywh = [[label.x, label.x / 2, 10, 20] for label in labels]
    return Boxes(
        np.array([label.t for label in labels], np.int64),
        np.array(xywh, np.float32).reshape(-1, 4),
        np.array([label.class_id for label in labels], np.int64),
        np.array([label.track for label in labels], np.int64),
    )


def at(labels: list[Label], times: list[int], gap_us: int = GAP_US, tolerance_us: int = 0) -> StepBoxes:
    return TrackIndex(boxes_of(labels)).at(np.array(times, np.int64), gap_us, tolerance_us)


def tracks_by_step(found: StepBoxes) -> list[list[int]]:
    return [found.boxes.track_id[found.step == step].tolist() for step in range(len(found.labelled))]


@pytest.mark.parametrize(
    ("start_us", "end_us", "time_steps", "ends"),
    [
        (50_001, 100_001, 4, [62_500, 75_000, 87_500, 100_000]),
        (0, 50_000, 1, [49_999]),
        (100, 110, 3, [103, 106, 109]),  # µs 0-3, 4-6 and 7-9 of the window
        (-30_000, 20_000, 2, [-5_001, 19_999]),  # a label close to the recording's start
        (300_000_002, 300_050_002, 2, [300_025_001, 300_050_001]),  # beyond float32
    ],
)
def test_a_step_is_asked_for_at_its_last_microsecond(
    start_us: int, end_us: int, time_steps: int, ends: list[int]
) -> None:
    times = step_times(Window(0, start_us, end_us, end_us - 1), time_steps)
    assert times.dtype == np.int64
    assert times.tolist() == ends


@given(st.integers(-1_000_000, 400_000_000), st.integers(1_000, 1_000_000), st.integers(1, 32))
def test_an_event_at_a_steps_time_is_that_steps_and_the_next_microsecond_is_the_next_ones(
    start_us: int, span_us: int, time_steps: int
) -> None:
    times = step_times(Window(0, start_us, start_us + span_us, start_us + span_us - 1), time_steps)
    for step, time_us in enumerate(times.tolist()):
        since_us = time_us - start_us
        assert since_us * time_steps // span_us == step
        assert (since_us + 1) * time_steps // span_us == step + 1


@pytest.mark.parametrize(
    "label_times",
    [
        pytest.param([round(k * 1e6 / 30) for k in range(31)], id="30 Hz"),
        pytest.param([round(k * 1e6 / 60) for k in range(61)], id="60 Hz"),
        pytest.param([k * 100_000 for k in range(11)], id="10 Hz"),
        pytest.param([0, 1_000, 5_003, 90_001, 200_000, 399_999, 400_000, 590_000, 700_123, 900_123], id="irregular"),
    ],
)
def test_a_track_that_moves_steadily_is_found_on_its_way_at_any_label_rate(label_times: list[int]) -> None:
    labels = [Label(t, 7, x=t / 5_000) for t in label_times]  # 200 px a second
    window = causal_window(0, 611_111, 50_000)
    found = at(labels, times := step_times(window, 4).tolist())
    assert found.labelled.all()
    assert found.step.tolist() == [0, 1, 2, 3]
    assert found.boxes.t.tolist() == times == [573_611, 586_111, 598_611, 611_111]
    np.testing.assert_allclose(found.boxes.xywh[:, 0], [114.7222, 117.2222, 119.7222, 122.2222], rtol=1e-6)
    np.testing.assert_allclose(found.boxes.xywh[:, 1], [57.3611, 58.6111, 59.8611, 61.1111], rtol=1e-6)
    assert found.boxes.xywh[:, 2:].tolist() == [[10, 20]] * 4


def test_labels_four_a_second_are_not_joined() -> None:
    labels = [Label(k * 250_000, 1) for k in range(4)]  # GEN1's rate
    found = at(labels, [499_999, 500_000, 500_001, 625_000])
    assert found.labelled.tolist() == [False, True, False, False]
    assert tracks_by_step(found) == [[], [1], [], []]


def test_a_box_between_two_labels_by_hand() -> None:
    boxes = Boxes(
        np.array([1_000, 1_100]),
        np.array([[0, 0, 10, 20], [50, 100, 30, 40]], np.float32),
        np.array([2, 2]),
        np.array([9, 9]),
    )
    found = TrackIndex(boxes).at(np.array([1_025]), 100, 0)
    assert found.boxes.xywh.dtype == np.float32
    assert found.boxes.xywh.tolist() == [[12.5, 25, 15, 25]]
    assert (found.boxes.class_id.tolist(), found.boxes.track_id.tolist()) == ([2], [9])


def test_the_class_is_that_of_the_nearer_label_and_of_the_earlier_where_both_are_as_near() -> None:
    labels = [Label(0, 1, class_id=3), Label(100, 1, class_id=5)]
    assert at(labels, [0, 49, 50, 51, 100]).boxes.class_id.tolist() == [3, 3, 3, 5, 5]


def test_labels_exactly_the_gap_apart_are_joined_and_those_a_microsecond_further_are_not() -> None:
    labels = [Label(0, 1), Label(200_000, 1), Label(400_001, 1)]
    found = at(labels, [100_000, 300_000])
    assert found.labelled.tolist() == [True, False]
    assert tracks_by_step(found) == [[1], []]


def test_a_label_at_the_asked_time_gives_its_own_numbers_to_the_bit() -> None:
    ugly = np.array([[0.1, 1e-7, 33.333332, 7.0000005], [1e6 / 3, 0.3, 2.2, 1.1], [1, 2, 3, 4]], np.float32)
    boxes = Boxes(np.array([0, 33_333, 66_667]), ugly, np.array([0, 1, 2]), np.array([4, 4, 4]))
    found = TrackIndex(boxes).at(boxes.t, GAP_US, 0)
    assert found.boxes.xywh.tobytes() == ugly.tobytes()
    assert found.boxes.class_id.tolist() == [0, 1, 2]


def test_a_track_appears_with_its_first_label_and_vanishes_with_its_last() -> None:
    frame = [Label(t, 1) for t in range(0, 300_001, 50_000)]  # a track that is always there
    labels = sorted([*frame, Label(100_000, 2), Label(150_000, 2), Label(200_000, 2)])
    found = at(labels, [99_999, 100_000, 130_000, 200_000, 200_001])
    assert found.labelled.all()
    assert tracks_by_step(found) == [[1], [1, 2], [1, 2], [1, 2], [1]]


def test_a_track_with_a_hole_is_absent_in_it_where_others_are_labelled() -> None:
    labels = sorted([*(Label(t, 1) for t in range(0, 600_001, 50_000)), Label(100_000, 2), Label(400_000, 2)])
    found = at(labels, [100_000, 250_000, 400_000])
    assert found.labelled.all()
    assert tracks_by_step(found) == [[1, 2], [1], [1, 2]]


def test_within_the_tolerance_the_nearest_label_counts_as_it_is_the_earlier_of_two_as_near() -> None:
    labels = [Label(0, 1, x=4), Label(300_000, 1, x=8)]
    asked = [-100_001, -100_000, 100_000, 100_001, 199_999, 200_000, 400_000, 400_001]
    found = at(labels, asked, tolerance_us=100_000)
    assert found.labelled.tolist() == [False, True, True, False, False, True, True, False]
    assert found.boxes.t.tolist() == [-100_000, 100_000, 200_000, 400_000]
    assert found.boxes.xywh[:, 0].tolist() == [4, 4, 8, 8]
    assert at(labels, [150_000, 149_999, 150_001], tolerance_us=250_000).boxes.xywh[:, 0].tolist() == [4, 4, 8]


def test_boxes_without_tracks_are_those_of_the_nearest_label_time_and_never_of_two() -> None:
    labels = [Label(0, 1, x=4), Label(0, 2, x=50), Label(33_000, 3, x=6), Label(66_000, 4, x=8), Label(66_000, 5, x=60)]
    found = at(labels, [0, 16_000, 17_000, 50_000, 66_000], tolerance_us=50_000)
    assert tracks_by_step(found) == [[1, 2], [1, 2], [3], [4, 5], [4, 5]]


def test_a_track_is_absent_where_the_nearest_labels_leave_it_out() -> None:
    labels = [Label(0, 1), Label(33_000, 1), Label(33_000, 2), Label(66_000, 1), Label(66_000, 2)]
    # Track 2 appears at 33 ms: at 10 ms the nearest labels, those of 0 ms, know nothing of it.
    assert tracks_by_step(at(labels, [10_000, 20_000], tolerance_us=50_000)) == [[1], [1, 2]]


def test_a_line_goes_before_a_nearer_label() -> None:
    labels = [Label(0, 1, x=0), Label(100_000, 1, x=10)]
    assert at(labels, [90_000], tolerance_us=50_000).boxes.xywh[0, 0] == 9


def test_a_time_is_labelled_between_near_label_times_or_close_to_one() -> None:
    labels = [Label(1_000_000, 1), Label(1_150_000, 2), Label(1_400_000, 3)]  # tracks that each live for one label
    asked = [999_999, 1_000_000, 1_075_000, 1_150_000, 1_150_001, 1_400_000, 1_400_001]
    assert at(labels, asked).labelled.tolist() == [False, True, True, True, False, True, False]
    assert at(labels, asked, tolerance_us=1).labelled.tolist() == [True] * 7
    assert tracks_by_step(at(labels, asked)) == [[], [1], [], [2], [], [3], []]


def test_of_a_track_labelled_twice_at_one_time_the_first_counts() -> None:
    labels = [Label(0, 1, x=2), Label(0, 5, x=1), Label(0, 1, x=90), Label(100, 1, x=4), Label(100, 1, x=90)]
    found = at(labels, [0, 50, 100])
    assert tracks_by_step(found) == [[1, 5], [1], [1]]
    assert found.boxes.xywh[:, 0].tolist() == [2, 1, 3, 4]


def test_a_recording_without_labels_knows_nothing() -> None:
    found = at([], [0, 5], tolerance_us=1_000_000)
    assert len(found.boxes) == 0
    assert found.boxes.xywh.shape == (0, 4)
    assert found.labelled.tolist() == [False, False]


def test_asking_for_no_time_finds_nothing() -> None:
    found = at([Label(0, 1)], [])
    assert (len(found.boxes), len(found.step), len(found.labelled)) == (0, 0, 0)


def test_an_index_sent_to_another_process_answers_the_same() -> None:
    index = TrackIndex(boxes_of([Label(t, t // 100 % 2, x=t) for t in range(0, 2_000, 100)]))
    times = np.arange(0, 2_000, 37)
    here, there = index.at(times, 300, 50), pickle.loads(pickle.dumps(index)).at(times, 300, 50)
    assert here.boxes.xywh.tobytes() == there.boxes.xywh.tobytes()
    assert here.step.tolist() == there.step.tolist()
    assert here.labelled.tolist() == there.labelled.tolist()


def slowly(labels: list[Label], time_us: int, gap_us: int, tolerance_us: int) -> dict[int, tuple[Fraction, int]]:
    """Each track's exact x and class at a time, track by track from the words of the rule."""
    found = {}
    nearest_of_all = min((label.t for label in labels), key=lambda t: (abs(t - time_us), t), default=None)
    for track in {label.track for label in labels}:
        own: dict[int, Label] = {}
        for label in labels:
            if label.track == track:
                own.setdefault(label.t, label)
        before, after = (
            max((t for t in own if t <= time_us), default=None),
            min((t for t in own if t > time_us), default=None),
        )
        nearest = min(own, key=lambda t: (abs(t - time_us), t))
        if time_us in own:
            found[track] = Fraction(own[time_us].x), own[time_us].class_id
        elif before is not None and after is not None and after - before <= gap_us:
            share = Fraction(time_us - before, after - before)
            x = Fraction(own[before].x) * (1 - share) + Fraction(own[after].x) * share
            found[track] = x, own[nearest].class_id
        elif abs(nearest - time_us) <= tolerance_us and nearest == nearest_of_all:
            found[track] = Fraction(own[nearest].x), own[nearest].class_id
    return found


def known(labels: list[Label], time_us: int, gap_us: int, tolerance_us: int) -> bool:
    times = {label.t for label in labels}
    near = any(abs(t - time_us) <= tolerance_us for t in times)
    return near or any(a <= time_us <= b and b - a <= gap_us for a in times for b in times)


LABELS = st.lists(
    st.builds(Label, st.integers(0, 60), st.integers(0, 3), st.integers(0, 200).map(float), st.integers(0, 2)),
    max_size=25,
)


@settings(max_examples=300, deadline=None)
@given(
    labels=LABELS,
    times=st.lists(st.integers(-20, 80), max_size=6),
    gap_us=st.integers(0, 40),
    tolerance_us=st.integers(0, 30),
)
def test_any_labels_at_any_times_are_those_of_the_rule_applied_track_by_track(
    labels: list[Label], times: list[int], gap_us: int, tolerance_us: int
) -> None:
    labels = sorted(labels, key=lambda label: label.t)
    found = at(labels, times, gap_us, tolerance_us)
    assert found.labelled.tolist() == [known(labels, time_us, gap_us, tolerance_us) for time_us in times]
    assert found.step.tolist() == sorted(found.step.tolist())
    assert found.boxes.t.tolist() == [times[step] for step in found.step]
    for step, time_us in enumerate(times):
        expected = slowly(labels, time_us, gap_us, tolerance_us)
        rows = np.flatnonzero(found.step == step)
        assert sorted(found.boxes.track_id[rows].tolist()) == sorted(expected)
        assert found.labelled[step] or not len(rows)
        for row in rows:
            x, class_id = expected[int(found.boxes.track_id[row])]
            assert found.boxes.xywh[row, 0] == pytest.approx(float(x), rel=1e-6, abs=1e-6)
            assert found.boxes.class_id[row] == class_id


SIDES = st.tuples(*[st.floats(0, 1_280, width=32)] * 4)


@given(SIDES, SIDES, st.integers(1, 200_000), st.data())
def test_a_box_between_two_labels_has_its_corners_between_theirs(
    first: tuple[float, ...], second: tuple[float, ...], apart_us: int, data: st.DataObject
) -> None:
    xywh = np.array([first, second], np.float32)
    boxes = Boxes(np.array([0, apart_us]), xywh, np.zeros(2, np.int64), np.zeros(2, np.int64))
    found = TrackIndex(boxes).at(np.array([data.draw(st.integers(0, apart_us))]), GAP_US, 0)

    def corners(sides: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        wide = sides.astype(np.float64)
        return np.hstack([wide[:, :2], wide[:, :2] + wide[:, 2:]])

    ends, between = corners(xywh), corners(found.boxes.xywh)
    rounding = 1e-3  # px: float32 near 2,560 steps by 0.0002
    assert (between >= ends.min(axis=0) - rounding).all()
    assert (between <= ends.max(axis=0) + rounding).all()
