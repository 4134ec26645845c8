import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from data.augment import flip_horizontally


def test_the_first_column_becomes_the_last_of_the_picture_not_of_the_padding() -> None:
    frames = np.zeros((1, 1, 1, 8), np.uint8)
    frames[0, 0, 0, :5] = [1, 2, 3, 4, 5]
    flip_horizontally(frames, np.empty((0, 4), np.float32), width=5)
    assert frames[0, 0, 0].tolist() == [5, 4, 3, 2, 1, 0, 0, 0]


def test_a_box_is_mirrored_and_its_left_stays_left_of_its_right() -> None:
    corners = np.array([[10, 20, 30, 50]], np.float32)
    flip_horizontally(np.zeros((1, 2, 64, 128), np.uint8), corners, width=100)
    assert corners.tolist() == [[70, 20, 90, 50]]


def test_rows_polarities_and_steps_stay_where_they_were() -> None:
    frames = np.zeros((3, 2, 4, 6), np.uint8)
    frames[2, 1, 3, 0] = 7
    flip_horizontally(frames, np.empty((0, 4), np.float32), width=6)
    assert frames[2, 1, 3, 5] == 7
    assert frames.sum() == 7


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(0, 5), st.data())
def test_a_pixel_filled_box_still_encloses_exactly_its_pixels(width: int, padding: int, draw: st.DataObject) -> None:
    left = draw.draw(st.integers(0, width - 1))
    right = draw.draw(st.integers(left + 1, width))
    frames = np.zeros((1, 1, 1, width + padding), np.uint8)
    frames[..., left:right] = 1
    corners = np.array([[left, 0, right, 1]], np.float32)
    flip_horizontally(frames, corners, width)
    filled = np.flatnonzero(frames[0, 0, 0])
    assert (filled.min(), filled.max() + 1) == (corners[0, 0], corners[0, 2])


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_flipping_twice_changes_nothing(seed: int) -> None:
    random = np.random.default_rng(seed)
    frames = random.integers(0, 256, (2, 2, 3, 9), np.uint8)
    corners = random.integers(0, 8, (4, 4)).astype(np.float32)
    again_frames, again_corners = frames.copy(), corners.copy()
    for _ in range(2):
        flip_horizontally(again_frames, again_corners, width=8)
    np.testing.assert_array_equal(again_frames, frames)
    np.testing.assert_array_equal(again_corners, corners)
