"""The rendered world: faces, occlusion and boxes."""

import numpy as np
import numpy.typing as npt
import pytest

from data.events import SensorSize
from data.simulator.bodies import body
from data.simulator.junction import Phase, Route, Traveller
from data.simulator.motion import STEP_S, Journey
from data.simulator.raster import mesh, paint
from data.simulator.scene import Actor, Scene, visible_box
from data.simulator.sprites import Face
from data.simulator.street import Street

SIZE = SensorSize(320, 180)
GREY = Street(np.full((180, 320), 0.3, np.float32), np.ones((180, 320), np.float32))


def standing(kind: Traveller, x: float, row: float, track_id: int) -> Actor:
    """A traveller that stands still for a second, looking to the right."""
    length = np.array([0.0, 1.0])
    route = Route("here", Phase.MAIN, length, np.full(2, x), np.full(2, row), np.zeros(2), stop=0.5)
    steps = round(1 / STEP_S) + 1
    journey = Journey(kind, route, np.linspace(0, 1, steps), np.zeros(steps))
    return Actor(body(kind, False, SIZE.height, np.random.default_rng(track_id)), journey, track_id)


def checker() -> npt.NDArray[np.float32]:
    texture = np.zeros((4, 4, 3), np.float32)  # 2x2 texels within their border
    texture[1:3, 1:3, 0] = [[0.2, 0.4], [0.6, 0.8]]
    texture[1:3, 1:3, 1] = 1
    return texture


@pytest.mark.parametrize(
    ("shift", "expected"),
    [
        (0.0, [[1.0, 0.2, 0.4, 1.0], [1.0, 0.6, 0.8, 1.0]]),
        # Half a pixel to the right: the means of neighbours, and half of the background at both ends.
        (0.5, [[1.0, 0.5 * 1 + 0.5 * 0.2, 0.3, 0.5 * 1 + 0.5 * 0.4], [1.0, 0.8, 0.7, 0.9]]),
    ],
)
def test_a_face_is_painted_between_pixels_as_bilinear_weights_say(shift: float, expected: list[list[float]]) -> None:
    face = Face(checker(), (0, 0, 0, 0), (0, 0, 0, 1), (0, 0, -1, 0))
    frame = np.ones((2, 4), np.float32)
    seen = np.array([[1 + shift, 0, 2, 0, 0, 2, 1.0]])  # corner, u two pixels wide, v two pixels high
    paint(frame, np.ones_like(frame), mesh((face,)), seen, False)
    np.testing.assert_allclose(frame, expected, atol=1e-6)


def test_a_face_in_half_the_light_is_half_as_bright_but_glows_the_same() -> None:
    texture = checker()
    texture[1:3, 1:3, 2] = 0.1
    face = Face(texture, (0, 0, 0, 0), (0, 0, 0, 1), (0, 0, -1, 0))
    frame = np.ones((2, 2), np.float32)
    paint(frame, np.full_like(frame, 0.5), mesh((face,)), np.array([[0, 0, 2, 0, 0, 2, 1.0]]), False)
    np.testing.assert_allclose(frame, [[0.2, 0.3], [0.4, 0.5]], atol=1e-6)


@pytest.mark.parametrize(("hidden", "box"), [(0, (5, 5, 10, 10)), (6, (5, 5, 10, 10)), (7, None), (10, None)])
def test_a_body_seen_by_less_than_35_percent_has_no_box_and_else_its_whole_extent(
    hidden: int, box: tuple[int, ...] | None
) -> None:
    covered = np.zeros((40, 40), np.bool_)
    covered[:, 5 : 5 + hidden] = True  # of ten columns
    assert visible_box(np.ones((10, 10), np.bool_), 5, 5, covered) == box
    assert covered[5:15, 5:15].all()  # the body now hides what is behind it


@pytest.mark.parametrize(
    ("left", "top", "box"),
    [(-6, 3, (0, 3, 4, 10)), (-7, 3, None), (36, 3, (36, 3, 4, 10)), (3, -6, (3, 0, 10, 4)), (50, 3, None)],
)
def test_the_frame_clips_the_box_and_hides_as_a_body_does(left: int, top: int, box: tuple[int, ...] | None) -> None:
    assert visible_box(np.ones((10, 10), np.bool_), left, top, np.zeros((40, 40), np.bool_)) == box


def test_a_pedestrian_behind_a_bus_loses_its_box_and_one_in_front_keeps_it() -> None:
    bus, behind = standing(Traveller.BUS, 0.0, 0.7, 1), standing(Traveller.PEDESTRIAN, 0.0, 0.62, 2)
    in_front = standing(Traveller.PEDESTRIAN, 0.0, 0.75, 3)
    assert Scene(SIZE, GREY, [bus, behind]).boxes(500_000)["track_id"].tolist() == [1]
    assert Scene(SIZE, GREY, [behind]).boxes(500_000)["track_id"].tolist() == [2]
    rows = Scene(SIZE, GREY, [bus, in_front]).boxes(500_000)
    assert rows["track_id"].tolist() == [1, 3]
    assert rows["class_id"].tolist() == [3, 0]  # etram8: bus, pedestrian
    alone = Scene(SIZE, GREY, [bus]).boxes(500_000)
    assert rows[0].tolist() == alone[0].tolist()  # partly hidden, the bus keeps its whole box


def test_who_stands_still_keeps_its_box_and_nobody_has_one_before_or_after_the_journey() -> None:
    scene = Scene(SIZE, GREY, [standing(Traveller.CAR, 0.1, 0.7, 1)])
    early, late = scene.boxes(100_000), scene.boxes(900_000)
    assert len(early) == 1
    assert early[["x", "y", "w", "h"]].tolist() == late[["x", "y", "w", "h"]].tolist()
    assert len(scene.boxes(1_100_000)) == 0


@pytest.mark.parametrize("kind", list(Traveller))
def test_a_box_bounds_exactly_the_pixels_in_which_the_body_differs_from_the_street(kind: Traveller) -> None:
    actor = standing(kind, 0.0, 0.7, 4)
    # Nobody's clothes are this bright, and the shadow, which is no part of the body, falls on black.
    black = Street(np.zeros((180, 320), np.float32), np.ones((180, 320), np.float32))
    scene = Scene(SIZE, black, [actor])
    x, y, w, h = (int(scene.boxes(500_000)[name][0]) for name in ("x", "y", "w", "h"))
    rows, columns = np.nonzero(scene.render(0.5) > 0.0)
    found = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    # The box ends where the body covers half a pixel, the picture where it covers any of it.
    assert np.abs(np.array(found) - (x, y, x + w, y + h)).max() <= 1


@pytest.mark.parametrize(
    ("kind", "width", "height"),
    [
        (Traveller.PEDESTRIAN, (5, 14), (18, 30)),
        (Traveller.CAR, (45, 65), (20, 34)),
        (Traveller.BICYCLE, (33, 48), (28, 40)),
        (Traveller.BUS, (93, 122), (42, 60)),
    ],
)
def test_bodies_have_the_sizes_that_tell_them_apart(
    kind: Traveller, width: tuple[int, int], height: tuple[int, int]
) -> None:
    for seed in range(5):
        rows = Scene(SIZE, GREY, [standing(kind, 0.0, 0.7, seed)]).boxes(0)
        assert width[0] <= rows["w"][0] <= width[1]
        assert height[0] <= rows["h"][0] <= height[1]
