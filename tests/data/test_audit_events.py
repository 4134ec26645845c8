"""Statistics of events: equal to numpy's; holes told from quiet scenes, hot pixels from scenery."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.audit.events import EventAudit, EventScan
from data.audit.gaps import Gap, Gaps
from data.boxes import Boxes
from data.events import Events, Repairs, SensorSize

SIZE = SensorSize(12, 9)


def events_at(t: npt.NDArray[np.int64], seed: int = 0, size: SensorSize = SIZE) -> Events:
    random = np.random.default_rng(seed)
    x, y = (random.integers(0, side, len(t)).astype(np.uint16) for side in size)
    return Events(np.sort(t).astype(np.int64), x, y, random.integers(0, 2, len(t)).astype(np.uint8))


def scanned(
    events: Events, cuts: list[int] | None = None, boxes: Boxes | None = None, size: SensorSize = SIZE
) -> tuple[EventAudit, EventScan]:
    scan = EventScan(size, lambda _: boxes or Boxes.empty())
    edges = [0, *sorted(cuts or []), len(events)]
    for first, end in pairwise(edges):
        scan.add(events.take(slice(first, end)), Repairs())
    return scan.finish(), scan


def poisson(rate: float, duration_us: int, seed: int) -> npt.NDArray[np.int64]:
    """Times of a Poisson process of `rate` events a second."""
    random = np.random.default_rng(seed)
    return np.sort(random.integers(0, duration_us, random.poisson(rate * duration_us / 1e6)))


times = st.lists(st.integers(0, 400_000), min_size=1, max_size=300).map(lambda rows: np.array(sorted(rows)))


@given(times, st.integers(0, 2**32), st.data())
@settings(max_examples=150, deadline=None)
def test_statistics_equal_numpys_whatever_the_chunks(t: npt.NDArray[np.int64], seed: int, data: st.DataObject) -> None:
    events = events_at(t, seed)
    cuts = data.draw(st.lists(st.integers(0, len(t)), max_size=4))
    audit, _ = scanned(events, cuts)
    bins = np.bincount(t // 10_000)
    assert (audit.events, audit.first_us, audit.last_us) == (len(t), t[0], t[-1])
    assert audit.duration_us == t[-1] - t[0] + 1
    assert audit.mean_rate == pytest.approx(len(t) * 1e6 / (t[-1] - t[0] + 1))
    assert audit.peak_rate == pytest.approx(bins.max() * 100)
    assert audit.on_share == pytest.approx(events.p.mean())


@given(times, st.integers(0, 2**32), st.lists(st.integers(0, 420_000), max_size=6), st.data())
@settings(max_examples=150, deadline=None)
def test_a_box_is_lively_exactly_if_an_event_lay_inside_in_its_window(
    t: npt.NDArray[np.int64], seed: int, label_times: list[int], data: st.DataObject
) -> None:
    random = np.random.default_rng(seed)
    count = len(label_times)
    xywh = random.integers(0, 6, (count, 4)).astype(np.float32)
    ids = np.arange(count)
    boxes = Boxes(np.array(sorted(label_times), np.int64), xywh, ids, ids)
    events = events_at(t, seed)
    cuts = data.draw(st.lists(st.integers(0, len(t)), max_size=4))
    _, scan = scanned(events, cuts, boxes)
    for i in range(count):
        x, y, w, h = xywh[i]
        inside = (events.x >= x) & (events.x < x + w) & (events.y >= y) & (events.y < y + h)
        recent = (events.t > boxes.t[i] - 50_000) & (events.t <= boxes.t[i])
        assert scan.lively[i] == bool((inside & recent).any())


def test_the_fingerprint_is_of_the_events_not_of_their_chunks_or_their_clock() -> None:
    events = events_at(poisson(5_000, 200_000, 1))
    later = Events(events.t + 77, events.x, events.y, events.p)
    other = Events(events.t, events.x[::-1], events.y, events.p)
    print_of = [scanned(one, cuts)[0].fingerprint for one, cuts in ((events, []), (events, [3, 90]), (later, [7]))]
    assert len(set(print_of)) == 1
    assert scanned(other)[0].fingerprint != print_of[0]
    assert scanned(events.take(slice(0, -1)))[0].fingerprint != print_of[0]


@given(st.integers(0, 2**32), st.lists(st.integers(1, 48), min_size=1, max_size=3, unique=True), st.data())
@settings(max_examples=40, deadline=None)
def test_every_hole_cut_into_a_steady_recording_is_found_and_measured(
    seed: int, places: list[int], data: st.DataObject
) -> None:
    t = poisson(50_000, 1_000_000, seed)
    for place in places:  # 20 ms each, 20 ms multiples: neighbours may join
        t = t[(t < place * 20_000) | (t >= (place + 1) * 20_000)]
    steps = np.diff(t)
    expected = sorted(zip(t[:-1][steps >= 10_000], steps[steps >= 10_000], strict=True), key=lambda gap: -gap[1])
    # Two holes with less than one hole between them share an edge of 20 ms, full of events: both still count.
    cuts = data.draw(st.lists(st.integers(0, len(t)), max_size=6))
    found = scanned(events_at(t, seed), cuts)[0].gaps
    inner = [(start, length) for start, length in expected if t[0] < start < t[-1]]
    assert found.count == len(inner)
    assert found.total_us == sum(length for _, length in inner)
    assert found.largest[0] == Gap(int(inner[0][0]), int(inner[0][1]))


@pytest.mark.parametrize("rate", [1, 20, 200, 1_000, 4_000, 100_000])
def test_a_steady_recording_has_no_hole_however_sparse(rate: float) -> None:
    audit, _ = scanned(events_at(poisson(rate, 4_000_000, 3)))
    assert audit.gaps == Gaps()
    assert audit.silences == Gaps()
    assert not audit.rhythm.in_frames


def test_a_scene_that_fades_and_comes_back_has_no_hole() -> None:
    """A car slows down, stands for 300 ms and drives on: its rate falls and rises with its speed."""
    random = np.random.default_rng(4)
    before = 500_000 * np.sqrt(random.random((2, 4_000)))  # a rate that rises evenly from nothing over 500 ms
    t = np.sort(np.concatenate([500_000 - before[0], 800_000 + before[1]])).astype(np.int64)
    steps = np.diff(t)
    assert steps.max() > 290_000
    audit, _ = scanned(events_at(t))
    assert audit.gaps == Gaps()


def test_flicker_is_no_hole_and_a_real_one_among_it_is_found() -> None:
    """A lamp at 50 Hz: 300 events within 2 ms, then 18 ms of nothing; one cycle in the middle of 2 s lasts 300 ms."""
    random = np.random.default_rng(5)
    t = np.sort((np.arange(100)[:, None] * 20_000 + random.integers(0, 2_000, (100, 300))).ravel())
    steady, _ = scanned(events_at(t))
    assert steady.gaps == Gaps()
    assert steady.rhythm.in_frames
    late = np.where(t < 1_000_000, t, t + 300_000)
    holed, _ = scanned(events_at(late))
    assert holed.gaps.count == 1
    assert holed.gaps.largest[0].length_us == pytest.approx(318_000, abs=1_000)


def test_a_long_silence_of_an_empty_scene_is_told_as_a_silence() -> None:
    """One pixel ticks every 4 ms for 10 s, then nothing for 20 s, then on again: no edge is dense enough for a hole."""
    tick = np.arange(0, 10_000_000, 4_000)
    audit, _ = scanned(events_at(np.concatenate([tick, tick + 30_000_000])))
    assert audit.gaps == Gaps()
    assert audit.silences == Gaps(1, 20_004_000, (Gap(9_996_000, 20_004_000),))


def pixel_events(counts: npt.NDArray[np.int64], duration_us: int) -> Events:
    height, width = counts.shape
    y, x = (
        places.repeat(counts.ravel())
        for places in (np.repeat(np.arange(height), width), np.tile(np.arange(width), height))
    )
    t = np.linspace(0, duration_us - 1, len(x)).astype(np.int64)
    order = np.random.default_rng(0).permutation(len(x))
    return Events(t, x[order].astype(np.uint16), y[order].astype(np.uint16), np.ones(len(x), np.uint8))


def test_a_lone_busy_pixel_is_hot_and_a_busy_lamp_is_not() -> None:
    random = np.random.default_rng(6)
    counts = random.poisson(2.0, (60, 80))
    counts[10:14, 20:24] = 900  # a lamp: a patch of 4 x 4 pixels
    counts[40, 50] = 800
    counts[41, 50] = 600  # its neighbour is hot too
    size = SensorSize(80, 60)
    hot = scanned(pixel_events(counts, 1_000_000), size=size)[0].hot
    assert hot.count == 2
    assert [(pixel.x, pixel.y, pixel.events) for pixel in hot.worst] == [(50, 40, 800), (50, 41, 600)]
    assert hot.share == pytest.approx(1400 / counts.sum())


def test_a_pixel_in_the_corner_may_be_hot_and_one_that_ticks_slowly_is_not() -> None:
    counts = np.zeros((60, 80), np.int64)
    counts[0, 0], counts[30, 30] = 700, 29
    size = SensorSize(80, 60)
    assert [(pixel.x, pixel.y) for pixel in scanned(pixel_events(counts, 1_000_000), size=size)[0].hot.worst] == [
        (0, 0)
    ]
    # 700 events in 100 s are 7 a second: background activity.
    assert scanned(pixel_events(counts, 100_000_000), size=size)[0].hot.count == 0


def test_a_pixel_that_is_busy_for_a_moment_is_not_hot() -> None:
    counts = np.zeros((60, 80), np.int64)
    counts[20, 20], counts[40, 40] = 900, 900
    size = SensorSize(80, 60)
    events = pixel_events(counts, 3_000_000)
    lamp = events.x == 20  # passes within the first second
    t = np.sort(np.where(lamp, events.t // 3, events.t))
    order = np.argsort(np.where(lamp, events.t // 3, events.t), kind="stable")
    passing = Events(t, events.x[order], events.y[order], events.p[order])
    assert [(pixel.x, pixel.y) for pixel in scanned(passing, size=size)[0].hot.worst] == [(40, 40)]


def test_the_busy_bins_do_not_depend_on_the_chunks_and_a_short_recording_has_no_hot_pixel() -> None:
    counts = np.zeros((60, 80), np.int64)
    counts[20, 20] = 900
    size = SensorSize(80, 60)
    events = pixel_events(counts, 2_000_000)
    assert scanned(events, [5, 100, 101, 500], size=size)[0] == scanned(events, size=size)[0]
    assert scanned(events, size=size)[0].hot.count == 1
    assert scanned(pixel_events(counts, 900_000), size=size)[0].hot.count == 0


def test_a_recording_without_events_has_statistics_too() -> None:
    audit, scan = scanned(events_at(np.empty(0, np.int64)))
    assert (audit.events, audit.duration_us, audit.gaps, audit.hot.count) == (0, 0, Gaps(), 0)
    assert len(scan.boxes) == 0
