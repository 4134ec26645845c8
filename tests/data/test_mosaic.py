"""Mosaics: four windows in one, each with its boxes."""

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.mosaic import mosaic
from data.representation import RepresentationConfig, RepresentationName

CONTENT = (40, 60)
HISTO = RepresentationConfig()
NONE = np.empty((0, 4), np.float32)


class Drawn(np.random.Generator):
    """A generator whose draws are given: where the centre lies between a third and two thirds of the frame."""

    def __init__(self, y: float, x: float) -> None:
        super().__init__(np.random.PCG64(0))
        self._given = np.array([y, x])

    def random(self, *_: object, **__: object) -> npt.NDArray[np.float64]:  # type: ignore[override]
        return self._given


def frames_of(value: int) -> npt.NDArray[np.uint8]:
    frames = np.zeros((1, 2, 64, 64), np.uint8)
    frames[:, 0, : CONTENT[0], : CONTENT[1]] = value
    return frames


def made(
    parts: list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]], random: np.random.Generator
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    out = np.full((1, 2, 64, 64), 99, np.uint8)
    corners, kept = mosaic(parts, random, CONTENT, HISTO, out)
    return out, corners, kept


def test_in_the_middle_each_window_is_shrunk_to_half_and_fills_its_quadrant() -> None:
    box = np.array([[10, 20, 30, 40]], np.float32)
    out, corners, kept = made([(frames_of(value), box) for value in (1, 2, 3, 4)], Drawn(0.5, 0.5))
    quadrants = [out[0, 0, y : y + 20, x : x + 30] for y in (0, 20) for x in (0, 30)]
    assert [np.unique(quadrant).tolist() for quadrant in quadrants] == [[4], [8], [12], [16]]  # four cells became one
    assert out.sum() == 20 * 30 * (4 + 8 + 12 + 16)
    assert corners.tolist() == [[5, 10, 15, 20], [35, 10, 45, 20], [5, 30, 15, 40], [35, 30, 45, 40]]
    assert kept.all()


def test_a_window_whose_quadrant_has_another_shape_is_cut_at_the_sides_away_from_the_centre() -> None:
    # The centre lies at row 20, column 40: the left windows are scaled by 2/3, to 26.7 rows of which 20 show.
    boxes = np.array([[0, 0, 60, 10], [0, 20, 30, 40]], np.float32)
    _, corners, kept = made([(frames_of(1), boxes), *[(frames_of(1), NONE)] * 3], Drawn(0.5, 1.0))
    # The first box ends at 10 * 2/3 - 6.67 = 0, so nothing of it shows; the second begins at 20 * 2/3 - 6.67 = 6.67.
    assert kept.tolist() == [False, True]
    np.testing.assert_allclose(corners, [[0, 20 / 3, 20, 20]], atol=1e-5)


def test_boxes_of_the_right_window_come_back_in_the_order_of_the_parts() -> None:
    wide, tall = np.array([[0, 30, 20, 40]], np.float32), np.array([[50, 0, 60, 20]], np.float32)
    _, corners, kept = made(
        [(frames_of(0), NONE), (frames_of(0), wide), (frames_of(0), NONE), (frames_of(0), tall)], Drawn(0.5, 0.5)
    )
    assert corners.tolist() == [[30, 15, 40, 20], [55, 20, 60, 30]]
    assert kept.tolist() == [True, True]


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_whatever_the_centre_a_full_window_leaves_no_gap_and_boxes_sit_on_their_events(seed: int) -> None:
    random = np.random.default_rng(seed)
    parts = []
    for _ in range(4):
        x, y = random.integers(0, [40, 25])
        frames = frames_of(0)
        frames[0, 0, y : y + 15, x : x + 20] = 1
        frames[0, 1, : CONTENT[0], : CONTENT[1]] = 1
        parts.append((frames, np.array([[x, y, x + 20, y + 15]], np.float32)))
    out, corners, kept = made(parts, random)
    assert (out[0, 1, : CONTENT[0], : CONTENT[1]] > 0).all()
    assert not out[..., CONTENT[0] :, :].any()
    assert not out[..., CONTENT[1] :].any()
    assert len(corners) == kept.sum() > 0
    shown = np.zeros((64, 64), bool)
    for x1, y1, x2, y2 in corners:
        area = out[0, 0, math.ceil(y1) : math.floor(y2), math.ceil(x1) : math.floor(x2)]
        assert (area > 0).all()
        shown[max(math.floor(y1) - 1, 0) : math.ceil(y2), max(math.floor(x1) - 1, 0) : math.ceil(x2)] = True
    if kept.all():
        assert not out[0, 0][~shown].any()


def test_the_same_seed_gives_the_same_mosaic() -> None:
    parts = [(frames_of(value), NONE) for value in (1, 2, 3, 4)]
    first, again, other = (made(parts, np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_the_latest_times_and_the_signs_of_differences_survive() -> None:
    for name, value, shown in ((RepresentationName.TIME_SURFACE, 200, 200), (RepresentationName.DIFF3D, 256 - 3, 244)):
        kind = RepresentationConfig(name=name)
        frames = np.zeros((1, kind.channels, 64, 64), np.uint8)
        frames[..., : CONTENT[0], : CONTENT[1]] = value
        out = np.zeros_like(frames)
        mosaic([(frames, NONE)] * 4, Drawn(0.5, 0.5), CONTENT, kind, out)
        assert np.unique(out[..., :40, :60]).tolist() == [shown]  # four cells of -3 are -12


@pytest.mark.parametrize("draw", [(0.0, 0.0), (1.0, 1.0), (0.0, 1.0)])
def test_the_centre_keeps_a_third_of_the_frame_from_every_border(draw: tuple[float, float]) -> None:
    out, _, _ = made([(frames_of(value), NONE) for value in (1, 20, 60, 100)], Drawn(*draw))
    left = int((out[0, 0, 0, :60] < 20).sum())
    top = int((out[0, 0, :40, 0] < 60).sum())
    assert left == (40 if draw[1] else 20)
    assert top in ((26, 27) if draw[0] else (13, 14))
