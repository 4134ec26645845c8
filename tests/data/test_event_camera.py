"""The pixel model against crossings worked out by hand."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.events import Events, SensorSize
from data.simulator.event_camera import DARK_CURRENT, REFERENCE_INTENSITY, CameraConfig, EventCamera, cross

QUIET = {"mismatch": 0.0, "shot_noise_hz": 0.0, "hot_pixel_share": 0.0, "refractory_us": 0}


class Pixels:
    """A row of ideal pixels, driven through the kernel by hand-made frames of log intensity."""

    def __init__(self, log_W: list[float], threshold: float, refractory_us: int = 0, room: int = 100) -> None:
        self.before = np.array([log_W], np.float32)
        self.memory = self.before.copy()
        self.last = np.full(self.before.shape, -refractory_us, np.int64)
        self.threshold = np.full(self.before.shape, threshold, np.float32)
        self.refractory_us = refractory_us
        self.out = tuple(np.zeros(room, dtype) for dtype in (np.uint16, np.uint16, np.uint16, np.uint8))

    def see(self, log_W: list[float], start_us: int, end_us: int) -> list[tuple[int, int, int]]:
        """Events as (time, x, p), and how often the kernel had to be called in `calls`."""
        after = np.array([log_W], np.float32)
        times = (start_us, end_us, self.refractory_us)
        found: list[tuple[int, int, int]] = []
        row = self.calls = 0
        while row < 1:
            state = (self.before, after, self.memory, self.last, self.threshold, self.threshold)
            row, count = cross(*state, times, row, self.out)
            self.calls += 1
            offset, x, _, p = (column[:count].tolist() for column in self.out)
            found += [(start_us + t, column, polarity) for t, column, polarity in zip(offset, x, p, strict=True)]
        self.before = after
        return found


def test_a_bright_edge_makes_one_on_event_per_threshold_at_interpolated_times() -> None:
    # floor(1.0 / 0.3) = 3 crossings, at 0.3, 0.6 and 0.9 of the 1000 µs.
    assert Pixels([0.0], 0.3).see([1.0], 5000, 6000) == [(5300, 0, 1), (5600, 0, 1), (5900, 0, 1)]


def test_a_dark_edge_makes_off_events_at_the_mirrored_levels() -> None:
    assert Pixels([2.0], 0.3).see([1.0], 0, 1000) == [(300, 0, 0), (600, 0, 0), (900, 0, 0)]


def test_the_memory_goes_on_from_the_last_crossing_not_from_the_last_frame() -> None:
    pixel = Pixels([0.0], 0.3)
    assert pixel.see([0.5], 0, 1000) == [(600, 0, 1)]
    # Level 0.6 lies a fifth of the way from 0.5 to 1.0, level 0.9 four fifths.
    assert pixel.see([1.0], 1000, 2000) == [(1200, 0, 1), (1800, 0, 1)]


def test_a_change_below_the_threshold_makes_no_event_until_it_has_added_up() -> None:
    pixel = Pixels([0.0], 0.3)
    assert pixel.see([0.2], 0, 1000) == []
    assert pixel.see([0.4], 1000, 2000) == [(1500, 0, 1)]
    assert pixel.see([0.1], 2000, 3000) == []  # 0.2 below the memory of 0.3
    # From 0.1 to -0.1 the level 0.0 lies in the middle.
    assert pixel.see([-0.1], 3000, 4000) == [(3500, 0, 0)]


def test_the_refractory_period_swallows_crossings_but_not_the_memory() -> None:
    pixel = Pixels([0.0], 0.125, refractory_us=300)
    # Crossings every 125 µs; after 125 the next at 425 or later is 500, then 875.
    assert [t for t, _, _ in pixel.see([1.0], 0, 1000)] == [125, 500, 875]
    assert pixel.see([1.0], 1000, 2000) == []


def test_the_refractory_period_reaches_into_the_next_frame() -> None:
    pixel = Pixels([0.0], 0.5, refractory_us=400)
    assert [t for t, _, _ in pixel.see([0.625], 0, 1000)] == [800]
    # Level 1.0 is crossed at 1000 + 375 / 1.0 = 1375, 575 µs later; level 1.5 at 1875.
    assert [t for t, _, _ in pixel.see([1.625], 1000, 2000)] == [1375, 1875]
    late = Pixels([0.0], 0.5, refractory_us=600)
    late.see([0.625], 0, 1000)
    assert [t for t, _, _ in late.see([1.625], 1000, 2000)] == [1875]


def test_a_frame_with_more_events_than_the_buffers_hold_loses_none() -> None:
    small, large = Pixels([0.0] * 3, 0.3, room=4), Pixels([0.0] * 3, 0.3)
    expected = [(t, x, 1) for x in range(3) for t in (300, 600, 900)]
    assert small.see([1.0] * 3, 0, 1000) == expected == large.see([1.0] * 3, 0, 1000)
    assert (small.calls, large.calls) == (3, 1)


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.floats(0, 1, width=32), min_size=2, max_size=8))
def test_on_minus_off_events_follow_the_log_intensity_to_within_one_threshold(intensities: list[float]) -> None:
    events, _ = _film([np.full((1, 1), value, np.float32) for value in intensities], CameraConfig(**QUIET))
    reached = np.log(intensities[0] + DARK_CURRENT) + 0.22 * (2 * events.p.astype(int) - 1).sum()
    assert abs(np.log(intensities[-1] + DARK_CURRENT) - reached) < 0.22 + 1e-4


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_events_of_a_frame_are_sorted_and_lie_within_its_time(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames = [rng.random((6, 9), np.float32) for _ in range(3)]
    events, ends = _film(frames, CameraConfig(shot_noise_hz=50, hot_pixel_share=0.05), seed)
    assert (np.diff(events.t) >= 0).all()
    assert events.t.min() >= 0
    assert events.t.max() <= ends[-1]
    assert events.x.max() < 9
    assert events.y.max() < 6
    for pixel in set(zip(events.x.tolist(), events.y.tolist(), strict=True)):
        mine = events.t[(events.x == pixel[0]) & (events.y == pixel[1])]
        assert (np.diff(mine) >= 500).all()


def test_pixels_without_mismatch_agree_and_pixels_with_it_do_not() -> None:
    frames = [np.full((40, 40), value, np.float32) for value in (0.05, 0.9)]
    ideal, _ = _film(frames, CameraConfig(**QUIET))
    # floor(log(0.92 / 0.07) / 0.22) = floor(2.576 / 0.22) = 11 events a pixel.
    assert len(ideal) == 11 * 1600
    real, _ = _film(frames, CameraConfig(**(QUIET | {"mismatch": 0.03})))
    per_pixel = np.bincount(real.y.astype(int) * 40 + real.x, minlength=1600)
    # The thresholds spread by 14 %, so the counts do as well; mean 1/C rises by 1 + 0.14^2.
    assert 1.2 < per_pixel.std() < 2.5
    assert abs(per_pixel.mean() - (2.576 / 0.22 * 1.02 - 0.5)) < 0.3


def test_shot_noise_has_the_configured_rate_at_the_reference_and_more_in_the_dark() -> None:
    config = CameraConfig(**(QUIET | {"shot_noise_hz": 5.0}))
    grey = np.full((100, 100), REFERENCE_INTENSITY - DARK_CURRENT, np.float32)
    bright, ends = _film([grey] * 101, config)
    expected = 5.0 * 10_000 * ends[-1] * 1e-6
    assert abs(len(bright) - expected) < 5 * np.sqrt(expected)
    dark, _ = _film([np.zeros_like(grey)] * 101, config)
    assert abs(len(dark) - 5 * expected) < 5 * np.sqrt(5 * expected)  # sqrt(0.5 / 0.02) = 5
    assert abs(dark.p.mean() - 0.5) < 0.05


def test_hot_pixels_fire_alone() -> None:
    still = np.full((50, 50), 0.5, np.float32)
    events, _ = _film([still] * 201, CameraConfig(**(QUIET | {"hot_pixel_share": 0.02})))
    pixels, counts = np.unique(events.y.astype(int) * 50 + events.x, return_counts=True)
    assert 20 <= len(pixels) <= 85  # 50 expected
    assert abs(counts.mean() - 60 * 0.4) < 5  # 60 Hz over 0.4 s
    assert events.p.all()


def test_a_still_scene_before_ideal_pixels_makes_no_events() -> None:
    still = np.random.default_rng(0).random((20, 20), np.float32)
    assert len(_film([still] * 5, CameraConfig(**QUIET))[0]) == 0


@pytest.mark.parametrize("share", [{}, QUIET])
def test_the_same_seed_gives_the_same_events(share: dict[str, float]) -> None:
    frames = [np.random.default_rng(n).random((20, 20), np.float32) for n in range(4)]
    first, second = (_film(frames, CameraConfig(**share), 7)[0] for _ in range(2))
    assert all(
        np.array_equal(a, b)
        for a, b in ((first.t, second.t), (first.x, second.x), (first.y, second.y), (first.p, second.p))
    )


def _film(frames: list[npt.NDArray[np.float32]], config: CameraConfig, seed: int = 0) -> tuple[Events, list[int]]:
    """What a camera makes of the frames, 2 ms apart, as one run of events; and the frames' times."""
    height, width = frames[0].shape
    camera = EventCamera(SensorSize(width, height), config, np.random.default_rng(seed), frames[0])
    ends = [2000 * number for number in range(1, len(frames))]
    parts = [camera.expose(frame, end - 2000, end) for frame, end in zip(frames[1:], ends, strict=True)]
    t, x, y, p = (np.concatenate([getattr(part, name) for part in parts]) for name in ("t", "x", "y", "p"))
    return Events(t, x, y, p), ends
