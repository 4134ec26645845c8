"""The junction: its layout, how the camera sees it, and the routes that lead through it.

Lengths are in frame heights at scale 1. A ground point is (X, row): X sideways from the middle of the side road, row
the image row it is seen at, 0 at the top and 1 at the bottom.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

HORIZON = -0.6  # image row where the side road's edges meet; far above the frame, so the perspective is mild
SCALE_ROW = 0.6  # the row at which scale is 1
# A camera on a mast that looks down by 33 degrees: what depth and height on the ground become in the image.
DEPTH, HEIGHT = math.sin(math.radians(33)), math.cos(math.radians(33))

MAIN_ROAD = (0.47, 0.79)  # rows
SIDE_ROAD = 0.32  # half width
FAR_PAVEMENT, NEAR_PAVEMENT = (0.385, 0.47), (0.79, 0.90)  # rows
CROSSING = (0.37, 0.52)  # |X| of the zebra crossings over the main road
STOP_X, STOP_FAR, STOP_NEAR = 0.58, 0.36, 0.93  # stop lines: |X| on the main road, rows on the side road
BEYOND = 0.45  # how far outside the frame a route begins and ends: more than half a bus


class Traveller(StrEnum):
    """What moves through the junction."""

    PEDESTRIAN = "pedestrian"
    CAR = "car"
    BICYCLE = "bicycle"
    BUS = "bus"


class Phase(StrEnum):
    """Which road has green."""

    MAIN = "main"
    SIDE = "side"


@dataclass(frozen=True)
class Route:
    """A smooth path of K points by its length on the ground, with one stop line."""

    lane: str  # travellers of one lane queue behind each other
    phase: Phase  # the phase that lets them pass the stop line
    length: npt.NDArray[np.float64]  # [K] from the start, rising
    x: npt.NDArray[np.float64]  # [K]
    row: npt.NDArray[np.float64]  # [K]
    heading: npt.NDArray[np.float64]  # [K] radians, 0 to the right, pi/2 towards the camera, without jumps
    stop: float  # length at which the stop line lies

    def share_seen(self, aspect: float) -> float:
        """How much of its length lies in a frame of this width per height."""
        seen = (np.abs(self.x) * scale(self.row) < aspect / 2) & (self.row > 0) & (self.row < 1)
        return float(np.gradient(self.length)[seen].sum() / self.length[-1])


def scale(row: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """How large things on this row are seen."""
    return (np.asarray(row, np.float64) - HORIZON) / (SCALE_ROW - HORIZON)


def side_reach(aspect: float, row: float) -> float:
    """|X| at which a route along this row begins: outside a frame of this width per height."""
    return aspect / 2 / float(scale(row)) + BEYOND


def routes(kind: Traveller, aspect: float, rng: np.random.Generator) -> list[Route]:
    """This kind of traveller's routes, frequent ones several times; `rng` shifts them, so that nobody is on rails."""
    if kind is Traveller.PEDESTRIAN:
        return _walks(aspect, rng)
    if kind is Traveller.BICYCLE:
        east, west, side = 0.765 + rng.uniform(-0.01, 0.01), 0.50 + rng.uniform(-0.01, 0.01), 0.26
        return _drives("bicycle", aspect, east, west, side, left_turns=False)
    shift = rng.uniform(-0.008, 0.008)
    return _drives("motor", aspect, 0.715 + shift, 0.565 + shift, 0.16 + shift, left_turns=kind is Traveller.CAR)


def _drives(kind: str, aspect: float, east: float, west: float, side: float, left_turns: bool) -> list[Route]:
    """Routes on the roads, on the right-hand side; the four lanes enter from the left, right, bottom and top."""
    reach_e, reach_w, near, far = side_reach(aspect, east), side_reach(aspect, west), 1.75, -0.3
    enter = {"east": (-reach_e, east), "west": (reach_w, west), "north": (side, near), "south": (-side, far)}
    leave = {"east": (reach_e, east), "west": (-reach_w, west), "north": (side, far), "south": (-side, near)}
    stops = {"east": (-STOP_X, east), "west": (STOP_X, west), "north": (side, STOP_NEAR), "south": (-side, STOP_FAR)}
    right = {"east": "south", "south": "west", "west": "north", "north": "east"}
    left = {turned: start for start, turned in right.items()}
    found = []
    for start in enter:
        phase = Phase.MAIN if start in ("east", "west") else Phase.SIDE
        turns = [right[start], left[start]] if left_turns else [right[start]]
        straight = [start] * (4 if phase is Phase.MAIN else 1)  # most traffic stays on the main road
        for end in straight + turns:
            (ax, arow), (bx, brow) = enter[start], leave[end]
            corner = (bx, arow) if phase is Phase.MAIN else (ax, brow)
            points = [enter[start], leave[end]] if start == end else [enter[start], corner, leave[end]]
            found.append(_route(f"{kind} {start}", phase, points, stops[start], radius=0.17))
    return found


def _walks(aspect: float, rng: np.random.Generator) -> list[Route]:
    """Along the pavements, and over the zebra crossings from one pavement to the other."""
    far, near = rng.uniform(0.405, 0.45), rng.uniform(0.82, 0.875)
    cross = rng.uniform(CROSSING[0] + 0.02, CROSSING[1] - 0.02)
    found = []
    for row in (far, near):
        reach = side_reach(aspect, row)
        for side in (-1, 1):
            points = [(side * reach, row), (-side * reach, row)]
            found.append(_route("pavement", Phase.MAIN, points, (side * (SIDE_ROAD + 0.06), row), 0.05))
    for start, end, kerb in ((far, near, MAIN_ROAD[0] - 0.015), (near, far, MAIN_ROAD[1] + 0.015)):
        for side in (-1, 1):
            x, reach = side * cross, side_reach(aspect, start)
            points = [(side * reach, start), (x, start), (x, end), (side * side_reach(aspect, end), end)]
            found += [_route("zebra", Phase.SIDE, points, (x, kerb), 0.05)] * 2
    return found


def _route(
    lane: str, phase: Phase, points: list[tuple[float, float]], stop: tuple[float, float], radius: float
) -> Route:
    path = _rounded(points, radius)
    dx, drow = np.diff(path[:, 0]), np.diff(path[:, 1])
    depth = drow / (DEPTH * scale((path[1:, 1] + path[:-1, 1]) / 2))
    length = np.concatenate([[0.0], np.cumsum(np.hypot(dx, depth))])
    heading = np.unwrap(np.arctan2(depth, dx))
    nearest = int(np.argmin(np.hypot(path[:, 0] - stop[0], path[:, 1] - stop[1])))
    return Route(
        lane, phase, length, path[:, 0], path[:, 1], np.append(heading, heading[-1]), stop=float(length[nearest])
    )


def _rounded(points: list[tuple[float, float]], radius: float) -> npt.NDArray[np.float64]:
    """The polyline with its corners replaced by quadratic Bézier curves, densely sampled."""
    corners = np.array(points)
    pieces, start = [], corners[0]
    for before, corner, after in zip(corners, corners[1:], corners[2:], strict=False):
        enter = corner + radius * _direction(before - corner)
        leave = corner + radius * _direction(after - corner)
        share = np.linspace(0, 1, 25)[:-1, None]
        pieces.append(np.linspace(start, enter, 60)[:-1])
        pieces.append((1 - share) ** 2 * enter + 2 * share * (1 - share) * corner + share**2 * leave)
        start = leave
    pieces.append(np.linspace(start, corners[-1], 60))
    return np.concatenate(pieces)


def _direction(step: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The step's direction, with rows shortened as the ground is."""
    unit: npt.NDArray[np.float64] = step / np.linalg.norm(step) * np.array([1.0, DEPTH])
    return unit
