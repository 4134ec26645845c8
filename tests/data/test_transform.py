"""Transforms: frames and boxes move together, and smaller frames are what rendering at their size shows."""

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.augment import AugmentConfig
from data.frame_size import Content, padded
from data.representation import RepresentationConfig, RepresentationName
from data.transform import (
    Corners,
    Transform,
    draw_transform,
    scaled_size,
    transform_corners,
    transform_frames,
)

Frames = npt.NDArray[np.uint8]

HISTO = RepresentationConfig()
DIFF = RepresentationConfig(name=RepresentationName.DIFF3D)
STACKED = RepresentationConfig(name=RepresentationName.STACKED_HISTOGRAM, bins=3, count_cutoff=20)
SURFACE = RepresentationConfig(name=RepresentationName.TIME_SURFACE)
ALL = pytest.mark.parametrize("kind", [HISTO, DIFF, STACKED, SURFACE], ids=lambda kind: kind.name.value)

EVERYTHING = AugmentConfig(
    flip=0.5, zoom_in=0.4, zoom_in_max=2.5, zoom_out=0.5, zoom_out_max=2.5, translate=0.3, polarity_flip=0.5
)


def random_frames(kind: RepresentationConfig, content: Content, steps: int = 2, seed: int = 0) -> Frames:
    """A third of all cells filled, with values the representation may have; the padding is 0."""
    random = np.random.default_rng(seed)
    frames = np.zeros((steps, kind.channels, *padded(content)), np.uint8)
    shape = (steps, kind.channels, *content)
    values = random.integers(1, 20, shape)
    if kind.signed:
        values *= random.choice([-1, 1], shape)
    frames[..., : content[0], : content[1]] = (values * (random.random(shape) < 1 / 3)).astype(np.int8).view(np.uint8)
    return frames


def transformed(
    frames: Frames, content: Content, transform: Transform, kind: RepresentationConfig, to: Content | None = None
) -> Frames:
    to = to or content
    out = np.full((*frames.shape[:2], *padded(to)), 99, np.uint8)  # what was there before must not shine through
    transform_frames(frames, content, transform, kind, out, to)
    return out


def moved(frames: Frames, content: Content, transform: Transform) -> Frames:
    """What a change without scaling makes of frames, by numpy's own slicing."""
    height, width = content
    inside = frames[..., :height, :width]
    if transform.mirrored:
        inside = inside[..., ::-1]
    out = np.zeros_like(frames)
    dx, dy = int(transform.shift_x), int(transform.shift_y)
    for y, x in itertools.product(range(height), range(width)):
        if 0 <= y + dy < height and 0 <= x + dx < width:
            out[..., y + dy, x + dx] = inside[..., y, x]
    return out


@ALL
def test_without_a_change_frames_and_boxes_stay_as_they_are(kind: RepresentationConfig) -> None:
    frames = random_frames(kind, (20, 45))
    corners = np.array([[0, 0, 0.5, 0.5], [3, 4, 44, 19]], np.float32)
    assert Transform().is_identity
    np.testing.assert_array_equal(transformed(frames, (20, 45), Transform(), kind), frames)
    again, kept = transform_corners(corners, Transform(), (20, 45), (20, 45))
    np.testing.assert_array_equal(again, corners)
    assert kept.all()


@pytest.mark.parametrize(
    "change",
    [{"scale": 0.9}, {"shift_x": 1.0}, {"shift_y": 1.0}, {"mirrored": True}, {"polarity_flip": True},
     {"time_flip": True}, {"event_drop": 0.1}],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_a_transform_with_any_change_is_no_identity_but_one_with_another_seed_is(change: dict[str, float]) -> None:
    assert not Transform(**change).is_identity  # type: ignore[arg-type]
    assert Transform(seed=5).is_identity


@ALL
@pytest.mark.parametrize("transform", [
    Transform(mirrored=True), Transform(shift_x=7, shift_y=-3), Transform(mirrored=True, shift_x=-5, shift_y=2)
], ids=["mirrored", "shifted", "both"])  # fmt: skip
def test_mirroring_and_shifting_move_the_picture_and_not_the_padding(
    kind: RepresentationConfig, transform: Transform
) -> None:
    frames = random_frames(kind, (20, 45))
    np.testing.assert_array_equal(transformed(frames, (20, 45), transform, kind), moved(frames, (20, 45), transform))


@ALL
def test_mirroring_twice_changes_nothing(kind: RepresentationConfig) -> None:
    frames, corners = random_frames(kind, (20, 45)), np.array([[3, 4, 10, 12]], np.float32)
    mirror = Transform(mirrored=True)
    twice = transformed(transformed(frames, (20, 45), mirror, kind), (20, 45), mirror, kind)
    np.testing.assert_array_equal(twice, frames)
    once, _ = transform_corners(corners, mirror, (20, 45), (20, 45))
    assert once.tolist() == [[35, 4, 42, 12]]
    np.testing.assert_array_equal(transform_corners(once, mirror, (20, 45), (20, 45))[0], corners)


@pytest.mark.parametrize("kind", [HISTO, DIFF, STACKED], ids=lambda kind: kind.name.value)
@pytest.mark.parametrize("name", ["time_flip", "polarity_flip"])
def test_running_backwards_twice_and_exchanging_polarities_twice_change_nothing(
    kind: RepresentationConfig, name: str
) -> None:
    frames = random_frames(kind, (8, 33), steps=3)
    change = Transform(**{name: True})
    once = transformed(frames, (8, 33), change, kind)
    assert (once != frames).any()
    np.testing.assert_array_equal(transformed(once, (8, 33), change, kind), frames)


def test_backwards_the_last_step_is_first_and_brightening_is_darkening() -> None:
    frames = random_frames(HISTO, (8, 32), steps=3)
    np.testing.assert_array_equal(transformed(frames, (8, 32), Transform(time_flip=True), HISTO), frames[::-1, ::-1])
    signed = random_frames(DIFF, (8, 32), steps=3)
    np.testing.assert_array_equal(
        transformed(signed, (8, 32), Transform(time_flip=True), DIFF).view(np.int8), -signed.view(np.int8)[::-1]
    )


def test_backwards_the_bins_of_a_stacked_histogram_turn_round_within_each_polarity() -> None:
    frames = np.zeros((2, 6, 32, 32), np.uint8)
    frames[0, 0 * 3 + 2, 5, 6] = 4  # OFF, in the last of three bins of the first step
    backwards = transformed(frames, (32, 32), Transform(time_flip=True), STACKED)
    assert np.argwhere(backwards).tolist() == [[1, 1 * 3 + 0, 5, 6]]  # ON, in the first bin of the last step


def test_exchanged_polarities_swap_channels_or_signs_and_with_time_reversed_come_back() -> None:
    for kind in (HISTO, SURFACE):
        frames = random_frames(kind, (8, 32))
        swapped = transformed(frames, (8, 32), Transform(polarity_flip=True), kind)
        np.testing.assert_array_equal(swapped, frames[:, ::-1])
    stacked = random_frames(STACKED, (8, 32))
    np.testing.assert_array_equal(
        transformed(stacked, (8, 32), Transform(polarity_flip=True), STACKED), stacked[:, [3, 4, 5, 0, 1, 2]]
    )
    signed = random_frames(DIFF, (8, 32))
    both = Transform(polarity_flip=True, time_flip=True)
    np.testing.assert_array_equal(transformed(signed, (8, 32), both, DIFF), signed[::-1])


def rendered(events_yx: npt.NDArray[np.int64], scale: float, content: Content) -> Frames:
    """Counts of events by output pixel, as the renderer is documented to place them: floor(x * scale)."""
    frames = np.zeros((1, 2, *padded(content)), np.int64)
    np.add.at(frames, (0, 0, *np.floor(events_yx * scale).astype(np.int64).T), 1)
    return np.minimum(frames, 255).astype(np.uint8)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.5, 0.25, 0.8, 0.7, 1 / 3, 0.95]))
def test_shrinking_equals_rendering_at_the_smaller_size(seed: int, scale: float) -> None:
    random = np.random.default_rng(seed)
    events = random.integers(0, [40, 70], (2000, 2))
    small = transformed(rendered(events, 1, (40, 70)), (40, 70), Transform(scale=scale), HISTO)
    np.testing.assert_array_equal(small, rendered(events, scale, (40, 70)))


def test_a_batch_of_half_the_size_shows_what_rendering_at_half_the_size_shows() -> None:
    events = np.random.default_rng(3).integers(0, [48, 96], (3000, 2))
    half = transformed(rendered(events, 1, (48, 96)), (48, 96), Transform(), HISTO, to=(24, 48))
    np.testing.assert_array_equal(half, rendered(events, 0.5, (24, 48)))


@pytest.mark.parametrize(
    ("kind", "four", "one"),
    [(HISTO, [100, 100, 50, 20], 255), (HISTO, [1, 2, 0, 4], 7), (STACKED, [9, 9, 9, 0], 20),
     (STACKED, [9, 2, 0, 0], 11), (DIFF, [5, -7, 1, 0], -1), (DIFF, [100, 100, 0, 0], 127),
     (DIFF, [-100, -100, 0, 0], -127), (SURFACE, [3, 250, 0, 7], 250)],
)  # fmt: skip
def test_of_four_cells_that_become_one(kind: RepresentationConfig, four: list[int], one: int) -> None:
    frames = np.zeros((1, kind.channels, 32, 32), np.uint8)
    frames[0, 0, :2, :2] = np.array(four).astype(np.uint8).reshape(2, 2)
    small = transformed(frames, (32, 32), Transform(scale=0.5), kind)
    assert small[0, 0, 0, 0] == one % 256
    assert np.count_nonzero(small) == 1


def test_enlarged_twice_every_cell_becomes_a_square_of_four() -> None:
    frames = random_frames(HISTO, (32, 32))
    large = transformed(frames, (32, 32), Transform(scale=2.0, shift_x=-32, shift_y=0), HISTO)
    np.testing.assert_array_equal(large, frames[..., :16, 16:].repeat(2, axis=2).repeat(2, axis=3))


@settings(deadline=None)
@given(st.floats(1.001, 3.9), st.floats(-60, 0), st.booleans())
def test_enlarged_each_place_shows_the_cell_its_middle_lies_in(scale: float, shift: float, mirrored: bool) -> None:
    frames = np.zeros((1, 2, 32, 64), np.uint8)
    frames[0, 0, :, :50] = np.arange(1, 51)
    shown = transformed(frames, (32, 50), Transform(scale=scale, shift_x=shift, mirrored=mirrored), HISTO)[0, 0, 0]
    middles = (np.arange(50) + 0.5 - shift) / scale
    clear = np.abs(middles - np.round(middles)) > 1e-6  # on an edge, either neighbour will do
    cells = np.floor(middles).astype(int)
    inside = (cells >= 0) & (cells < 50)
    expected = np.where(inside, (50 - cells) if mirrored else cells + 1, 0)
    np.testing.assert_array_equal(shown[:50][clear], expected[clear])


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 2**32), st.sampled_from([(30, 50), (24, 40), (40, 66)]), st.data())
def test_a_box_full_of_events_is_full_and_tight_after_every_transform(
    seed: int, to: Content, draw: st.DataObject
) -> None:
    content = (30, 50)
    x1 = draw.draw(st.integers(0, 49))
    y1 = draw.draw(st.integers(0, 29))
    x2, y2 = draw.draw(st.integers(x1 + 1, 50)), draw.draw(st.integers(y1 + 1, 30))
    frames = np.zeros((1, 2, 32, 64), np.uint8)
    frames[:, :, y1:y2, x1:x2] = 1
    transform = draw_transform(EVERYTHING, np.random.default_rng(seed), content)
    out = transformed(frames, content, transform, HISTO, to)
    boxes, kept = transform_corners(np.array([[x1, y1, x2, y2]], np.float32), transform, content, to)
    assert not out[..., to[0] :, :].any()
    assert not out[..., to[1] :].any()
    if kept[0]:
        filled = np.argwhere(out[0, 0])
        assert_tight(filled, boxes[0])
        assert len(filled) == np.prod(filled.max(axis=0) - filled.min(axis=0) + 1)  # no holes


def assert_tight(filled_yx: npt.NDArray[np.int64], box: Corners) -> None:
    """Filled cells lie in the box to within a cell, and reach its sides to within a cell."""
    (y1, x1), (y2, x2) = filled_yx.min(axis=0), filled_yx.max(axis=0) + 1
    np.testing.assert_allclose([x1, y1, x2, y2], box, atol=1 + 1e-4)


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_boxes_that_are_kept_lie_inside_the_frame_and_show_a_fifth(seed: int) -> None:
    random = np.random.default_rng(seed)
    start = random.uniform(0, [45, 25], (20, 2))
    corners = np.hstack([start, start + random.uniform(2, 20, (20, 2))]).astype(np.float32).clip(0, [50, 30, 50, 30])
    transform = draw_transform(EVERYTHING, random, (30, 50))
    boxes, kept = transform_corners(corners, transform, (30, 50), (30, 50))
    sides = boxes[:, 2:] - boxes[:, :2]
    assert len(boxes) == kept.sum()
    assert (boxes >= 0).all()
    assert (boxes <= [50, 30, 50, 30]).all()
    whole = np.prod(corners[kept, 2:] - corners[kept, :2], axis=1) * transform.scale**2
    assert (np.prod(sides, axis=1) >= 0.2 * whole * (1 - 1e-4)).all()


@pytest.mark.parametrize(
    ("box", "kept"),
    [([10, 10, 30, 20], True),  # shifted by 15, three quarters show
     ([0, 10, 18.8, 20], True),  # 3.8 of 18.8 columns show: 20.2 %
     ([0, 10, 18.6, 20], False),  # 3.6 of 18.6: 19.4 %
     ([0, 10, 15.9, 20], False),  # 0.9 px
     ([0, 10, 10, 20], False)],
)  # fmt: skip
def test_a_box_of_which_less_than_a_fifth_shows_is_dropped(box: list[float], kept: bool) -> None:
    shifted = transform_corners(np.array([box], np.float32), Transform(shift_x=-15), (40, 60), (40, 60))
    assert shifted[1].tolist() == [kept]


def test_a_box_that_shrinks_below_a_pixel_is_dropped_but_one_that_was_thin_is_only_moved() -> None:
    thin = np.array([[5, 5, 5.8, 20], [5, 5, 6.5, 20]], np.float32)
    assert transform_corners(thin, Transform(mirrored=True), (40, 60), (40, 60))[1].tolist() == [True, True]
    assert transform_corners(thin, Transform(scale=0.6), (40, 60), (40, 60))[1].tolist() == [False, False]


def test_no_boxes_stay_no_boxes() -> None:
    boxes, kept = transform_corners(np.empty((0, 4), np.float32), Transform(scale=2), (30, 50), (30, 50))
    assert boxes.shape == (0, 4)
    assert boxes.dtype == np.float32
    assert kept.shape == (0,)


def test_each_event_is_left_out_with_its_chance() -> None:
    frames = np.zeros((1, 2, 32, 64), np.uint8)
    frames[0, 0], frames[0, 1, :, :32] = 10, 200
    total, share = int(frames.sum()), 0.3
    kept = transformed(frames, (32, 64), Transform(event_drop=share, seed=11), HISTO)
    # Binomial: mean n(1 - q), variance nq(1 - q); five standard deviations are met once in 1.7 million seeds.
    assert abs(int(kept.sum()) - total * (1 - share)) < 5 * math.sqrt(total * share * (1 - share))
    assert (kept <= frames).all()
    spread = kept[0, 0].astype(float).var()  # of Binomial(10, 0.7): 2.1
    assert spread == pytest.approx(10 * share * (1 - share), rel=0.2)


@pytest.mark.parametrize("kind", [DIFF, SURFACE], ids=lambda kind: kind.name.value)
def test_where_events_are_not_counted_each_cell_is_left_out_whole(kind: RepresentationConfig) -> None:
    frames = random_frames(kind, (64, 96))
    kept = transformed(frames, (64, 96), Transform(event_drop=0.25, seed=1), kind)
    cells = int(np.count_nonzero(frames))
    assert ((kept == 0) | (kept == frames)).all()
    assert abs(np.count_nonzero(kept) - 0.75 * cells) < 5 * math.sqrt(cells * 0.25 * 0.75)


def test_the_same_seed_leaves_out_the_same_events_and_another_others() -> None:
    frames = random_frames(HISTO, (32, 64))
    first, again, other = (
        transformed(frames, (32, 64), Transform(event_drop=0.5, seed=seed), HISTO) for seed in (4, 4, 5)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_frames_that_are_views_of_larger_arrays_are_changed_as_others() -> None:
    frames = random_frames(HISTO, (20, 45))
    strided = np.repeat(frames, 2, axis=3)[..., ::2]
    out = np.ones((2, 2, 32, 128), np.uint8)[..., ::2]
    transform_frames(strided, (20, 45), Transform(mirrored=True), HISTO, out, (20, 45))
    np.testing.assert_array_equal(out, moved(frames, (20, 45), Transform(mirrored=True)))


def test_the_same_draws_give_the_same_transform() -> None:
    one, two = (draw_transform(EVERYTHING, np.random.default_rng(8), (30, 50)) for _ in range(2))
    assert one == two


@pytest.mark.parametrize(
    ("leaf", "moves"),
    [("flip", {"mirrored"}), ("polarity_flip", {"polarity_flip"}), ("time_flip", {"time_flip"}),
     ("event_drop", {"event_drop"}), ("translate", {"shift_x", "shift_y"}), ("mosaic", set()),
     ("multi_scale", set()), ("zoom_in", {"scale", "shift_x", "shift_y"}),
     ("zoom_out", {"scale", "shift_x", "shift_y"})],
)  # fmt: skip
def test_a_setting_changes_its_own_part_of_the_transform_only(leaf: str, moves: set[str]) -> None:
    differing = set()
    for seed in range(20):
        with_leaf = {"flip": 0.0, leaf: 0.5}
        before = draw_transform(AugmentConfig(flip=0.0), np.random.default_rng(seed), (90, 160))
        after = draw_transform(AugmentConfig(**with_leaf), np.random.default_rng(seed), (90, 160))
        differing |= {name for name in Transform.__slots__ if getattr(before, name) != getattr(after, name)}
    assert differing == moves


def test_draws_stay_within_their_settings_and_reach_near_their_ends() -> None:
    config = AugmentConfig(flip=0.25, zoom_in=0.5, zoom_in_max=1.5, zoom_out=0.5, zoom_out_max=2, event_drop=0.4)
    random = np.random.default_rng(0)
    drawn = [draw_transform(config, random, (100, 200)) for _ in range(4000)]
    scales = np.array([transform.scale for transform in drawn])
    assert 0.5 <= scales.min() < 0.51
    assert 1.49 < scales.max() <= 1.5
    # Mirrored 1 of 4, larger 1 of 2, smaller 1 of 2 of the others: within 4.5 standard deviations.
    for share, chance in ((np.mean([t.mirrored for t in drawn]), 1 / 4), ((scales > 1).mean(), 1 / 2),
                          ((scales < 1).mean(), 1 / 4)):  # fmt: skip
        assert abs(share - chance) < 4.5 * math.sqrt(chance * (1 - chance) / 4000)
    assert max(transform.event_drop for transform in drawn) == pytest.approx(0.4, abs=0.01)
    for transform in drawn:  # enlarged, the frame is full; shrunk, all of the window is in it
        ends = (transform.shift_x, transform.shift_x + transform.scale * 200 - 200)
        assert ends[0] * ends[1] <= 1e-9


def test_shifts_are_whole_pixels_up_to_the_share_and_each_as_likely() -> None:
    random = np.random.default_rng(0)
    drawn = [draw_transform(AugmentConfig(flip=0, translate=0.04), random, (50, 75)) for _ in range(5000)]
    counts_x = np.unique([transform.shift_x for transform in drawn], return_counts=True)
    assert counts_x[0].tolist() == [-3, -2, -1, 0, 1, 2, 3]
    assert {transform.shift_y for transform in drawn} == {-2, -1, 0, 1, 2}
    expected = 5000 / 7
    assert (np.abs(counts_x[1] - expected) < 5 * math.sqrt(expected * 6 / 7)).all()


def test_a_batch_keeps_its_size_or_takes_one_of_a_width_that_is_a_multiple_of_32() -> None:
    random = np.random.default_rng(0)
    sizes = {scaled_size(random, 0.25, (180, 320)) for _ in range(300)}
    assert sizes == {(144, 256), (162, 288), (180, 320), (198, 352), (216, 384)}
    assert {scaled_size(random, 0.1, (260, 346)) for _ in range(300)} == {(240, 320), (260, 346), (265, 352)}


def test_without_multi_scale_a_batch_keeps_its_size() -> None:
    assert {scaled_size(np.random.default_rng(seed), 0.0, (260, 346)) for seed in range(50)} == {(260, 346)}
