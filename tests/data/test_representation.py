import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import ConfigError
from data.packing import PackedSlice
from data.representation import RepresentationConfig, RepresentationName, render

RECORDINGS = Path(__file__).parents[3] / "shared" / "recordings"
real = pytest.mark.skipif(not RECORDINGS.exists(), reason="the real recordings (../shared/recordings) are not here")

HISTO3D = RepresentationConfig()
DIFF3D = RepresentationConfig(name=RepresentationName.DIFF3D)
STACKED = RepresentationConfig(name=RepresentationName.STACKED_HISTOGRAM)
SURFACE = RepresentationConfig(name=RepresentationName.TIME_SURFACE)
ALL = (HISTO3D, DIFF3D, STACKED, SURFACE)

Column = npt.NDArray[np.int64]
Frames = npt.NDArray[np.uint8]


class Columns(NamedTuple):
    t: Column
    x: Column
    y: Column
    p: Column


def packed(events: Columns, wide: bool = False) -> PackedSlice:
    """Pack by the layout's description: 4 bytes of 11, 10, 1 and 10 bits, or 8 bytes of 16, 16, 1 and 10."""
    x_bits, y_bits = (16, 16) if wide else (11, 10)
    words = [
        ((t % 1000) << x_bits + y_bits + 1) + (p << x_bits + y_bits) + (y << x_bits) + x
        for t, x, y, p in np.stack(events, axis=1).tolist()
    ]
    first_ms = int(events.t[0]) // 1000
    counts = np.bincount(events.t // 1000 - first_ms)
    column = np.array(words, np.uint64) if wide else np.array(words, np.uint32)
    column.flags.writeable = False  # as those of a mapped shard are
    return PackedSlice(first_ms, np.concatenate([[0], np.cumsum(counts)]), column)


def random_events(seed: int, count: int, first_us: int, last_us: int, width: int, height: int) -> Columns:
    random = np.random.default_rng(seed)
    t = np.sort(random.integers(first_us, last_us + 1, count))
    return Columns(t, random.integers(0, width, count), random.integers(0, height, count), random.integers(0, 2, count))


def events_of(rows: list[tuple[int, int, int, int]]) -> Columns:
    return Columns(*np.array(rows, np.int64).T)


def drawn(
    config: RepresentationConfig, rows: list[tuple[int, int, int, int]], start_us: int, end_us: int, steps: int = 1
) -> Frames:
    """Frames of 4 x 6 pixels from rows of t, x, y, p."""
    frames = np.empty((steps, config.channels, 4, 6), np.uint8)
    return render(config, packed(events_of(rows)), start_us, end_us, 1.0, frames)


def stacked_bins(t: Column, bins: int) -> Column:
    """The bin of each event of a step, by RVT's own arithmetic in torch."""
    time = torch.from_numpy(t)
    share = (time - time[0]) / (time[-1] - time[0]).clamp(min=1)
    return np.asarray((share * bins).floor().clamp(max=bins - 1).long().numpy())


def slowly(
    config: RepresentationConfig, events: Columns, start_us: int, end_us: int, scale: float, shape: tuple[int, ...]
) -> Frames:
    """The same frames by the words of their definition: one step after the other, wide numbers, cut at the end."""
    T, _, H, W = shape
    wide = np.zeros(shape, np.int64)
    latest = np.full((2, H, W), -1, np.int64)
    t, p = events.t, events.p
    y, x = np.floor(events.y * scale).astype(int), np.floor(events.x * scale).astype(int)
    step_of = (t - start_us) * T // (end_us - start_us)
    for step in range(T):
        rows = np.flatnonzero((t >= start_us) & (t < end_us) & (step_of == step))
        match config.name:
            case RepresentationName.HISTO3D:
                np.add.at(wide[step], (p[rows], y[rows], x[rows]), 1)
            case RepresentationName.DIFF3D:
                np.add.at(wide[step, 0], (y[rows], x[rows]), 2 * p[rows] - 1)
            case RepresentationName.STACKED_HISTOGRAM if len(rows):
                channel = p[rows] * config.bins + stacked_bins(t[rows], config.bins)
                np.add.at(wide[step], (channel, y[rows], x[rows]), 1)
            case RepresentationName.TIME_SURFACE:
                last_us = max(
                    us for us in range(start_us, end_us) if (us - start_us) * T // (end_us - start_us) <= step
                )
                for row in rows:
                    latest[p[row], y[row], x[row]] = t[row]
                for place in np.argwhere(latest >= 0):
                    age_us = last_us - int(latest[tuple(place)])
                    wide[(step, *place)] = math.floor(255 * math.exp(-age_us / config.tau_us) + 0.5)
    if config.signed:
        return np.clip(wide, -127, 127).astype(np.int8).view(np.uint8)
    most = config.count_cutoff if config.name is RepresentationName.STACKED_HISTOGRAM else 255
    return np.minimum(wide, most).astype(np.uint8)


CONFIGS = st.one_of(
    st.sampled_from([HISTO3D, DIFF3D]),
    st.builds(
        lambda bins, cutoff: RepresentationConfig(name=STACKED.name, bins=bins, count_cutoff=cutoff),
        st.integers(1, 12),
        st.integers(1, 12),
    ),
    st.builds(lambda tau_us: RepresentationConfig(name=SURFACE.name, tau_us=tau_us), st.integers(100, 20_000)),
)


@settings(max_examples=250, deadline=None)
@given(
    config=CONFIGS,
    seed=st.integers(0, 2**32),
    scale=st.sampled_from([1.0, 0.5, 0.37]),
    steps=st.integers(1, 7),
    start_us=st.integers(300_000_000, 300_003_000),  # in the middle of milliseconds, beyond float32
    span_us=st.integers(7, 6_000),
    wide=st.booleans(),
)
def test_frames_equal_those_of_a_plain_loop(
    config: RepresentationConfig, seed: int, scale: float, steps: int, start_us: int, span_us: int, wide: bool
) -> None:
    events = random_events(seed, 400, 299_999_000, 300_010_000, 12, 8)
    shape = (steps, config.channels, math.ceil(8 * scale), math.ceil(12 * scale))
    frames = render(config, packed(events, wide), start_us, start_us + span_us, scale, np.empty(shape, np.uint8))
    np.testing.assert_array_equal(frames, slowly(config, events, start_us, start_us + span_us, scale, shape))


@settings(max_examples=60, deadline=None)
@given(config=CONFIGS, seed=st.integers(0, 2**32), most=st.integers(1, 320), steps=st.integers(1, 5))
def test_of_too_many_events_only_the_latest_of_the_window_are_drawn(
    config: RepresentationConfig, seed: int, most: int, steps: int
) -> None:
    events = random_events(seed, 300, 10_000, 14_000, 12, 8)
    shape = (steps, config.channels, 8, 12)
    start_us, end_us = 10_700, 13_300
    frames = render(config, packed(events), start_us, end_us, 1.0, np.empty(shape, np.uint8), max_events=most)
    inside = np.flatnonzero((events.t >= start_us) & (events.t < end_us))[-most:]
    latest = Columns(*(column[inside] for column in events))
    np.testing.assert_array_equal(frames, slowly(config, latest, start_us, end_us, 1.0, shape))


@settings(max_examples=40, deadline=None)
@given(config=CONFIGS, seed=st.integers(0, 2**32), wide=st.booleans(), scale=st.sampled_from([1.0, 0.3]))
def test_whatever_the_words_hold_nothing_is_written_beyond_the_frames(
    config: RepresentationConfig, seed: int, wide: bool, scale: float
) -> None:
    random = np.random.default_rng(seed)
    kind = np.uint64 if wide else np.uint32
    words = random.integers(0, np.iinfo(kind).max, 3_000, kind, endpoint=True)
    events = PackedSlice(-1, np.sort(np.concatenate([[0, 3_000], random.integers(0, 3_001, 8)])), words)
    shape = (3, config.channels, 5, 7)
    around = np.full(math.prod(shape) + 20_000, 77, np.uint8)
    frames = around[10_000:-10_000].reshape(shape)
    render(config, events, -700, 6_500, scale, frames)
    assert (around[:10_000] == 77).all()
    assert (around[-10_000:] == 77).all()


def test_channel_0_is_off_and_channel_1_is_on() -> None:
    rows = [(10, 5, 3, 0), (11, 2, 1, 1), (12, 2, 1, 1)]
    counts = drawn(HISTO3D, rows, 0, 1_000)
    assert [counts[0, 0, 3, 5], counts[0, 1, 1, 2], counts.sum()] == [1, 2, 3]
    surface = drawn(SURFACE, rows, 0, 13)
    assert [surface[0, 0, 3, 5], surface[0, 1, 1, 2], np.count_nonzero(surface)] == [255, 255, 2]


def test_the_first_microsecond_is_in_the_window_and_the_end_is_not() -> None:
    rows = [(1_499, 0, 0, 1), (1_500, 1, 0, 1), (2_699, 2, 0, 1), (2_700, 3, 0, 1)]
    for config in ALL:
        frames = drawn(config, rows, 1_500, 2_700)
        assert frames.any(axis=(0, 1, 2)).tolist() == [False, True, True, False, False, False]


def test_steps_that_do_not_divide_the_window_begin_at_the_next_whole_microsecond() -> None:
    # 10 µs in 3 steps: [0, 3.33), [3.33, 6.67), [6.67, 10), so µs 0-3, 4-6 and 7-9.
    frames = drawn(HISTO3D, [(100 + i, 0, 0, 1) for i in range(10)], 100, 110, 3)
    assert frames[:, 1, 0, 0].tolist() == [4, 3, 3]


@pytest.mark.parametrize(("events", "count"), [(254, 254), (255, 255), (256, 255), (401, 255)])
def test_counts_saturate_instead_of_wrapping(events: int, count: int) -> None:
    frames = drawn(HISTO3D, [(i, 2, 2, 0) for i in range(events)], 0, 1_000)
    assert frames[0, 0, 2, 2] == count
    assert np.count_nonzero(frames) == 1


@pytest.mark.parametrize(
    ("on", "off", "value"),
    [(5, 2, 3), (2, 5, -3), (4, 4, 0), (127, 0, 127), (128, 0, 127), (0, 127, -127), (0, 300, -127)],
)
def test_a_difference_is_on_minus_off_and_saturates_to_both_sides(on: int, off: int, value: int) -> None:
    rows = [(i, 3, 1, int(i < on)) for i in range(on + off)]
    frames = drawn(DIFF3D, rows, 0, 1_000).view(np.int8)
    assert frames[0, 0, 1, 3] == value
    assert np.count_nonzero(frames) == (value != 0)


def test_a_difference_that_left_the_byte_and_came_back_is_exact() -> None:
    rows = [(i, 3, 1, int(i < 200)) for i in range(310)]  # 200 ON, then 110 OFF
    assert drawn(DIFF3D, rows, 0, 1_000).view(np.int8)[0, 0, 1, 3] == 90


def test_a_stacked_histogram_by_hand() -> None:
    config = RepresentationConfig(name=RepresentationName.STACKED_HISTOGRAM, bins=4, count_cutoff=2)
    # First event at 100, last at 140: bins of 10 µs from the first event, the last one with its end.
    times = [(100, 0), (109, 0), (110, 1), (125, 1), (131, 0), (140, 0)]
    frames = drawn(config, [(t, 2, 1, p) for t, p in times], 0, 1_000)
    assert frames[0, :, 1, 2].tolist() == [2, 0, 0, 2, 0, 1, 1, 0]
    # The cut-off leaves 2 of the 3 events of one cell.
    cut = drawn(config, [(t, 2, 1, 1) for t in (0, 1, 2, 100)], 0, 1_000)
    assert cut[0, :, 1, 2].tolist() == [0, 0, 0, 0, 2, 0, 0, 1]


def test_the_bins_of_each_step_lie_between_that_steps_own_first_and_last_event() -> None:
    config = RepresentationConfig(name=RepresentationName.STACKED_HISTOGRAM, bins=2)
    frames = drawn(config, [(t, 0, 0, 0) for t in (0, 3, 4, 500, 899, 900)], 0, 1_000, 2)
    assert frames[:, :2, 0, 0].tolist() == [[1, 2], [1, 2]]


def test_one_event_in_a_step_falls_into_the_first_bin_and_none_leaves_it_empty() -> None:
    frames = drawn(STACKED, [(700, 4, 2, 1)], 0, 1_000, 2)
    assert not frames[0].any()
    assert frames[1, :, 2, 4].tolist() == [0] * 10 + [1] + [0] * 9


def test_counts_far_beyond_a_byte_are_cut_not_wrapped() -> None:
    # With fastmode on, RVT's own counts wrap: 256 events of a cell are 0.
    config = RepresentationConfig(name=RepresentationName.STACKED_HISTOGRAM, bins=1)
    assert drawn(config, [(i, 0, 0, 0) for i in range(256)], 0, 1_000)[0, 0, 0, 0] == 10


def test_a_surface_by_hand() -> None:
    config = RepresentationConfig(name=RepresentationName.TIME_SURFACE, tau_us=1_000)
    # Ages at µs 999: 999, 99, 0; at µs 1,999: the earlier events stay, 1,000 µs older, but for the pixel seen again.
    frames = drawn(config, [(0, 0, 0, 0), (900, 1, 0, 0), (999, 2, 0, 0), (1_500, 0, 0, 0)], 0, 2_000, 2)
    # 255 / e**0.999 = 93.9, 255 / e**0.099 = 230.96; 255 / e**0.499 = 154.8, 255 / e**1.099 = 84.97, 255 / e = 93.8
    assert frames[:, 0, 0, :3].tolist() == [[94, 231, 255], [155, 85, 94]]
    assert np.count_nonzero(frames) == 6


def test_a_surface_forgets_an_event_after_more_than_six_time_constants() -> None:
    config = RepresentationConfig(name=RepresentationName.TIME_SURFACE, tau_us=100)
    # 255 * exp(-a / 100) is 0.5 at a = 100 * ln(510) = 623.4
    frames = drawn(config, [(376, 0, 0, 0), (375, 1, 0, 0), (0, 2, 0, 0)][::-1], 0, 1_000)
    assert frames[0, 0, 0, :3].tolist() == [1, 0, 0]


@pytest.mark.parametrize("config", ALL, ids=lambda config: config.name.value)
class TestEveryRepresentation:
    def test_what_the_buffer_held_before_is_gone(self, config: RepresentationConfig) -> None:
        events = packed(events_of([(7, 0, 0, 1)]))
        frames = render(config, events, 0, 1_000, 1.0, np.full((2, config.channels, 4, 6), 9, np.uint8))
        assert np.count_nonzero(frames[0]) == 1
        assert np.count_nonzero(frames[1]) == (1 if config is SURFACE else 0)

    def test_no_event_leaves_empty_frames(self, config: RepresentationConfig) -> None:
        nothing = PackedSlice(5, np.zeros(1, np.int64), np.empty(0, np.uint32))
        frames = render(config, nothing, 5_000, 6_000, 1.0, np.ones((2, config.channels, 4, 6), np.uint8))
        assert not frames.any()

    def test_padding_beyond_the_sensor_stays_empty(self, config: RepresentationConfig) -> None:
        events = packed(random_events(3, 500, 0, 5_000, 20, 10))
        frames = render(config, events, 0, 5_001, 1.0, np.empty((2, config.channels, 32, 32), np.uint8))
        assert frames[:, :, :10, :20].any()
        assert not frames[:, :, 10:].any()
        assert not frames[:, :, :, 20:].any()

    def test_a_pixel_that_rounding_puts_past_the_frame_is_dropped_not_written(
        self, config: RepresentationConfig
    ) -> None:
        frames = drawn(config, [(1, 6, 0, 1), (2, 0, 4, 1), (3, 5, 3, 1)], 0, 10)
        assert np.count_nonzero(frames) == 1
        assert frames[0, :, 3, 5].any()

    def test_a_window_before_the_first_event_of_a_recording_reaches_below_zero_unharmed(
        self, config: RepresentationConfig
    ) -> None:
        frames = drawn(config, [(0, 1, 1, 1), (999, 2, 1, 1)], -39_999, 1_000, 41)
        assert not frames[:39].any()
        assert frames[39, :, 1, 1].any()
        assert frames[40, :, 1, 2].any()

    def test_a_frame_stays_the_same_when_the_slice_holds_more_than_the_window(
        self, config: RepresentationConfig
    ) -> None:
        events = random_events(9, 900, 0, 9_000, 6, 4)
        inside = np.flatnonzero((events.t >= 3_500) & (events.t < 6_250))
        tight = packed(Columns(*(column[inside] for column in events)))
        shape = (4, config.channels, 4, 6)
        loose_frames, tight_frames = (
            render(config, source, 3_500, 6_250, 1.0, np.empty(shape, np.uint8)) for source in (packed(events), tight)
        )
        np.testing.assert_array_equal(loose_frames, tight_frames)


@given(st.integers(0, 2**32), st.integers(1, 9))
def test_every_event_of_the_window_is_counted_once(seed: int, steps: int) -> None:
    events = random_events(seed, 300, 0, 9_000, 40, 30)
    inside = int(np.count_nonzero((events.t >= 1_234) & (events.t < 7_891)))
    stacked = RepresentationConfig(name=RepresentationName.STACKED_HISTOGRAM, count_cutoff=255)
    for config in (HISTO3D, stacked):
        shape = (steps, config.channels, 30, 40)
        assert render(config, packed(events), 1_234, 7_891, 1.0, np.empty(shape, np.uint8)).sum() == inside


def test_a_pixel_beyond_narrow_words_is_drawn_from_wide_ones() -> None:
    events = packed(Columns(*np.array([[5, 40_000, 65_000, 1], [6, 40_001, 65_000, 0]], np.int64).T), wide=True)
    frames = render(HISTO3D, events, 0, 10, 1 / 1_000, np.empty((1, 2, 66, 41), np.uint8))
    assert frames[0, :, 65, 40].tolist() == [1, 1]


def gen1_events() -> Columns:
    """One of Prophesee's own recordings: 8 bytes an event, after lines that begin with % and two bytes."""
    content = (RECORDINGS / "gen1" / "gen1_part0_td.dat").read_bytes()
    start = 0
    while content[start : start + 1] == b"%":
        start = content.index(b"\n", start) + 1
    rows = np.frombuffer(content, "<u4", offset=start + 2).reshape(-1, 2).astype(np.int64)
    data = rows[:, 1]
    return Columns(rows[:, 0], data & 0x3FFF, data >> 14 & 0x3FFF, data >> 28 & 1)


@real
@pytest.mark.parametrize("config", [HISTO3D, DIFF3D, STACKED], ids=lambda config: config.name.value)
def test_a_real_recording_at_its_own_size_looks_as_torch_counts_it(config: RepresentationConfig) -> None:
    events = gen1_events()
    kept = slice(int(np.searchsorted(events.t, 20_600_123)), int(np.searchsorted(events.t, 20_650_123)))
    part = Columns(*(column[kept] for column in events))
    assert len(part.t) > 10_000
    shape = (3, config.channels, 240, 304)
    frames = render(config, packed(part), 20_600_123, 20_650_123, 1.0, np.empty(shape, np.uint8))
    np.testing.assert_array_equal(frames, slowly(config, part, 20_600_123, 20_650_123, 1.0, shape))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bins": 5}, "bins=5 is not read by histo3d; leave it out, or set name=stacked_histogram"),
        ({"name": "time_surface", "count_cutoff": 9}, "count_cutoff=9 is not read by time_surface"),
        ({"name": "stacked_histogram", "tau_us": 9_000}, "tau_us=9000 is not read by stacked_histogram"),
        ({"name": "diff3d", "bins": 1}, "bins=1 is not read by diff3d"),
        ({"name": "stacked_histogram", "count_cutoff": 256}, "count_cutoff: .* less than or equal to 255"),
        ({"name": "stacked_histogram", "bins": 0}, "bins: .* greater than or equal to 1"),
        ({"name": "voxel"}, "name: .*histo3d"),
    ],
)
def test_a_setting_that_is_not_read_or_out_of_range_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RepresentationConfig.parse(settings, "representation")


def test_channels_and_sign_follow_from_the_representation() -> None:
    assert [config.channels for config in ALL] == [2, 1, 20, 2]
    assert RepresentationConfig(name=RepresentationName.STACKED_HISTOGRAM, bins=3).channels == 6
    assert [config.signed for config in ALL] == [False, True, False, False]


def test_a_frame_of_more_cells_than_can_be_rendered_is_refused() -> None:
    nothing = PackedSlice(0, np.zeros(2, np.int64), np.empty(0, np.uint64))
    vast = np.broadcast_to(np.zeros(1, np.uint8), (0, 20, 65_535, 65_535))  # no memory behind it
    with pytest.raises(ConfigError, match=r"20 x 65535 x 65535 has more than 2\*\*30 cells.*lower scale"):
        render(STACKED, nothing, 0, 1_000, 1.0, vast)
