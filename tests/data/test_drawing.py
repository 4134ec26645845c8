"""Drawing: pixels of events, boxes and captions, and files that are whole or not there."""

import colorsys
import itertools
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.drawing import (
    CAPTION,
    OFF,
    ON,
    WHITE,
    Image,
    captioned,
    draw_box,
    events_image,
    magnification,
    track_colour,
    write_clip,
    write_image,
)
from data.errors import InputError
from data.events import Events, SensorSize


def events(*rows: tuple[int, int, int]) -> Events:
    """Events x, y, p, one a microsecond."""
    table = np.array(rows).reshape(-1, 3)
    t = np.arange(len(table), dtype=np.int64)
    return Events(t, table[:, 0].astype(np.uint16), table[:, 1].astype(np.uint16), table[:, 2].astype(np.uint8))


def white(height: int, width: int) -> Image:
    return np.full((height, width, 3), 255, np.uint8)


def moving_square(count: int, height: int = 46, width: int = 60) -> Iterator[Image]:
    for number in range(count):
        image = white(height, width)
        image[10:20, number * 5 : number * 5 + 10] = OFF
        yield image


def test_events_are_enlarged_on_blue_off_red_and_the_latest_of_a_pixel_is_seen() -> None:
    image = events_image(events((1, 0, 1), (2, 1, 0), (0, 1, 0), (0, 1, 1)), SensorSize(3, 2), 2)
    expected = white(2, 3)
    expected[0, 1], expected[1, 2], expected[1, 0] = ON, OFF, ON
    np.testing.assert_array_equal(image, expected.repeat(2, axis=0).repeat(2, axis=1))
    assert ON[0] > ON[2]  # blue comes first
    assert OFF[2] > OFF[0]


@pytest.mark.parametrize(("width", "factor"), [(346, 3), (800, 1), (801, 1), (799, 2), (1280, 1), (100, 8)])
def test_a_picture_is_enlarged_by_the_smallest_whole_factor_that_makes_it_wide_enough(width: int, factor: int) -> None:
    assert magnification(SensorSize(width, 100), 800) == factor


def test_a_box_is_outlined_on_its_sides_and_left_open_inside() -> None:
    image = white(120, 160)
    draw_box(image, np.array([40.2, 60.4, 99.6, 100.0]), "car", (1, 2, 3), thickness=1)
    coloured = (image == (1, 2, 3)).all(axis=2)
    for side in (coloured[60, 40:101], coloured[100, 40:101], coloured[60:101, 40], coloured[60:101, 100]):
        assert side.all()
    assert (image[61:100, 41:100] == 255).all()
    assert coloured[:60].any()  # the plate of the text stands above
    assert not coloured[101:].any()


@pytest.mark.parametrize(("y1", "below"), [(60, True), (3, False)])
def test_the_text_stands_below_where_that_is_asked_or_there_is_no_room_above(y1: int, below: bool) -> None:
    image = white(120, 160)
    draw_box(image, np.array([40.0, y1, 100.0, 90.0]), "car", (1, 2, 3), 1, below=below)
    coloured = (image == (1, 2, 3)).all(axis=2)
    assert coloured[91:].any()
    assert not coloured[:y1].any()


@pytest.mark.parametrize("corners", [[150, 100, 159, 119], [0, 0, 159, 119], [-20, -20, 5, 5], [155, 0, 170, 119]])
def test_texts_of_boxes_at_a_border_stay_inside(corners: list[float]) -> None:
    image, inner = white(120, 160), white(120, 160)
    draw_box(image, np.array(corners, float), "wheelchair 12", (1, 2, 3), 1)
    draw_box(inner, np.array([20, 50, 140, 100], float), "wheelchair 12", (1, 2, 3), 1)
    # White letters on the plate are anti-aliased: shades that are neither white nor the colour. All are there.
    letters = [int(((picture != 255) & (picture > 5)).all(axis=2).sum()) for picture in (image, inner)]
    assert letters[0] == pytest.approx(letters[1], rel=0.1)


def test_a_caption_is_a_strip_above_the_picture() -> None:
    image = events_image(events((5, 5, 1)), SensorSize(80, 40), 2)
    whole = captioned(image, "val_day_0001  2.267 s")
    np.testing.assert_array_equal(whole[CAPTION:], image)
    assert (whole[:CAPTION] < 100).any()


@given(st.integers(0, 2**40))
def test_a_track_has_one_colour_that_is_no_events_red_or_blue_and_dark_enough_on_white(track: int) -> None:
    blue, green, red = colour = track_colour(track)
    assert colour == track_colour(track)
    hue, saturation, value = colorsys.rgb_to_hsv(red / 255, green / 255, blue / 255)
    assert not 200 < hue * 360 < 250
    assert 20 < hue * 360 < 345
    assert saturation > 0.9
    assert value < 0.8


def test_the_tracks_of_one_picture_have_colours_that_can_be_told_apart() -> None:
    for first in range(0, 500, 8):
        colours = [np.array(track_colour(first + track), float) for track in range(8)]
        nearest = min(np.abs(one - other).max() for one, other in itertools.combinations(colours, 2))
        assert nearest >= 20


def test_a_picture_is_written_as_it_is(tmp_path: Path) -> None:
    image = events_image(events((5, 5, 1), (6, 5, 0)), SensorSize(30, 20), 1)
    write_image(image, tmp_path / "new" / "picture.png")
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "new" / "picture.png")), image)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["picture.png"]


def test_an_mp4_plays_its_images_in_order_at_its_rate(tmp_path: Path) -> None:
    write_clip(moving_square(8), tmp_path / "clip.mp4", 25)
    capture = cv2.VideoCapture(str(tmp_path / "clip.mp4"))
    assert capture.get(cv2.CAP_PROP_FPS) == 25
    frames = [capture.read()[1] for _ in range(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))]
    assert_shows_the_moving_square([frame[..., ::-1] for frame in frames])


def test_a_gif_plays_its_images_in_order_at_its_rate_and_begins_anew(tmp_path: Path) -> None:
    write_clip(moving_square(8), tmp_path / "clip.gif", 25)
    with PIL.Image.open(tmp_path / "clip.gif") as clip:
        assert (clip.info["duration"], clip.info["loop"]) == (40, 0)
        frames = []
        for number in range(8):
            clip.seek(number)
            frames.append(np.array(clip.convert("RGB")))
    assert_shows_the_moving_square(frames)


def assert_shows_the_moving_square(frames: list[Image]) -> None:
    assert len(frames) == 8
    for number, frame in enumerate(frames):
        assert frame.shape == (46, 60, 3)
        columns = np.flatnonzero(frame[12:18, :, 2].mean(axis=0) < 160)  # blue is missing where the square is
        assert abs(columns.min() - number * 5) <= 1
        assert abs(columns.max() + 1 - number * 5 - 10) <= 1


def test_a_clip_of_one_image_and_of_odd_size_can_be_written(tmp_path: Path) -> None:
    for name in ("one.mp4", "one.gif"):
        write_clip(moving_square(1, 45, 61), tmp_path / name, 25)
        assert (tmp_path / name).stat().st_size > 100


@pytest.mark.parametrize("name", ["clip.mp4", "clip.gif"])
def test_a_clip_that_breaks_off_leaves_nothing_and_what_was_there_stays(tmp_path: Path, name: str) -> None:
    def breaking_off() -> Iterator[Image]:
        yield from moving_square(3)
        raise InputError("the shard is damaged")

    (tmp_path / name).write_bytes(b"before")
    with pytest.raises(InputError, match="the shard is damaged"):
        write_clip(breaking_off(), tmp_path / name, 25)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(name, b"before")]


def test_without_an_encoder_a_clip_says_what_else_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Mock(isOpened=Mock(return_value=False))
    monkeypatch.setattr(cv2, "VideoWriter", Mock(return_value=writer))
    with pytest.raises(InputError, match=r"no encoder for \.mp4 \(mp4v\); ask for a \.gif instead"):
        write_clip(moving_square(2), tmp_path / "clip.mp4", 25)
    assert list(tmp_path.iterdir()) == []
    writer.release.assert_called_once_with()


def test_white_is_where_nothing_happened() -> None:
    assert (events_image(events(), SensorSize(4, 3), 1) == WHITE).all()
