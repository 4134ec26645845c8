"""The street: the still background picture of the junction and the light that falls on it."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from data.events import SensorSize
from data.simulator.junction import (
    CROSSING,
    FAR_PAVEMENT,
    MAIN_ROAD,
    NEAR_PAVEMENT,
    SIDE_ROAD,
    STOP_FAR,
    STOP_NEAR,
    STOP_X,
    scale,
)

SUPERSAMPLING = 3  # pictures are drawn this much finer and averaged, so that edges are smooth
# Reflectances, 0 black to 1 white.
ASPHALT, PAVEMENT, VERGE, MARKING, KERB = 0.22, 0.42, 0.16, 0.68, 0.55
NIGHT_AMBIENT = 0.035  # what the sky gives at night, of daylight
LAMP = 0.26  # what a street lamp adds below it, of daylight
LAMPS = ((-0.75, 0.44), (0.36, 0.43), (-0.36, 0.86), (0.70, 0.84))  # ground points of the street lamps

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Street:
    """What the camera sees when nobody is there: `picture_HW` is intensity, `light_HW` the light alone; 1 is white."""

    picture_HW: npt.NDArray[np.float32]
    light_HW: npt.NDArray[np.float32]


def paint_street(size: SensorSize, night: bool, rng: np.random.Generator) -> Street:
    """A junction of its own shades, texture and buildings."""
    painter = _Painter(size)
    painter.ground(rng)
    painter.markings()
    windows = painter.buildings(rng, night)
    reflectance_HW = painter.shrink(painter.shade) * _grain(size, rng)
    light_HW = _lamplight(size, rng) if night else _daylight(size, rng)
    picture_HW = reflectance_HW * light_HW + painter.shrink(windows)
    return Street(np.clip(picture_HW, 0, None).astype(np.float32), light_HW.astype(np.float32))


class _Painter:
    def __init__(self, size: SensorSize) -> None:
        self.size = size
        self.aspect = size.width / size.height
        shape = (size.height * SUPERSAMPLING, size.width * SUPERSAMPLING)
        self.shade = np.zeros(shape, np.float32)

    def fill(self, points: Points, shade: float, canvas: npt.NDArray[np.float32] | None = None) -> None:
        """Fill a polygon of ground points."""
        x = [(self.aspect / 2 + x * float(scale(row))) for x, row in points]
        pixels = np.array([(px, row) for px, (_, row) in zip(x, points, strict=True)]) * len(self.shade)
        cv2.fillPoly(self.shade if canvas is None else canvas, [np.rint(pixels).astype(np.int32)], shade)

    def rectangle(self, x: tuple[float, float], rows: tuple[float, float], shade: float) -> None:
        self.fill([(x[0], rows[0]), (x[1], rows[0]), (x[1], rows[1]), (x[0], rows[1])], shade)

    def shrink(self, fine: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        small: npt.NDArray[np.float32] = cv2.resize(fine, tuple(self.size), interpolation=cv2.INTER_AREA)
        return small

    def ground(self, rng: np.random.Generator) -> None:
        """Verges with bushes, pavements with slabs, the two roads, kerbs."""
        wide = (-4.0, 4.0)
        self.rectangle(wide, (0.0, 1.1), VERGE)
        for _ in range(60):
            x, row = rng.uniform(-1, 1), rng.uniform(0.9, 1.05)
            angle = np.linspace(0, 2 * np.pi, 12)
            bush = [(x + 0.06 * float(np.cos(a)), row + 0.03 * float(np.sin(a))) for a in angle]
            self.fill(bush, VERGE * rng.uniform(0.5, 1.8))
        for rows in (FAR_PAVEMENT, NEAR_PAVEMENT):
            self.rectangle(wide, rows, PAVEMENT)
            for x in np.arange(-2, 2, 0.09):
                self.rectangle((x, x + 0.004), rows, PAVEMENT * 0.75)
        for side in (-1, 1):
            inner, outer = side * SIDE_ROAD, side * (SIDE_ROAD + 0.05)
            self.rectangle((min(inner, outer), max(inner, outer)), (-0.1, MAIN_ROAD[0]), PAVEMENT)
            self.rectangle((min(inner, outer), max(inner, outer)), (MAIN_ROAD[1], 1.1), PAVEMENT)
        for row in MAIN_ROAD:
            self.rectangle(wide, (row - 0.006, row + 0.006), KERB)
        self.rectangle(wide, (MAIN_ROAD[0] + 0.004, MAIN_ROAD[1] - 0.004), ASPHALT)
        self.rectangle((-SIDE_ROAD, SIDE_ROAD), (-0.1, 1.1), ASPHALT)

    def markings(self) -> None:
        """Dashed centre lines, stop lines, zebra crossings."""
        middle = (MAIN_ROAD[0] + MAIN_ROAD[1]) / 2
        for x in np.arange(STOP_X, 2.5, 0.18):
            self.rectangle((x, x + 0.1), (middle - 0.005, middle + 0.005), MARKING)
            self.rectangle((-x - 0.1, -x), (middle - 0.005, middle + 0.005), MARKING)
        for row in (*np.arange(0.02, STOP_FAR - 0.06, 0.09), *np.arange(STOP_NEAR + 0.02, 1.1, 0.1)):
            self.rectangle((-0.008, 0.008), (row, row + 0.05), MARKING)
        self.rectangle((-STOP_X, -STOP_X + 0.02), (middle, MAIN_ROAD[1] - 0.01), MARKING)
        self.rectangle((STOP_X - 0.02, STOP_X), (MAIN_ROAD[0] + 0.01, middle), MARKING)
        self.rectangle((0, SIDE_ROAD), (STOP_NEAR - 0.012, STOP_NEAR), MARKING)
        self.rectangle((-SIDE_ROAD, 0), (STOP_FAR, STOP_FAR + 0.01), MARKING)
        for row in np.arange(MAIN_ROAD[0] + 0.015, MAIN_ROAD[1] - 0.02, 0.045):
            self.rectangle((-CROSSING[1], -CROSSING[0]), (row, row + 0.02), MARKING)
            self.rectangle(CROSSING, (row, row + 0.02), MARKING)
        for x in np.arange(-SIDE_ROAD + 0.03, SIDE_ROAD - 0.03, 0.09):
            self.rectangle((x, x + 0.045), (FAR_PAVEMENT[0] + 0.015, FAR_PAVEMENT[1] - 0.025), MARKING)
            self.rectangle((x, x + 0.045), (NEAR_PAVEMENT[0] + 0.025, NEAR_PAVEMENT[1] - 0.02), MARKING)

    def buildings(self, rng: np.random.Generator, night: bool) -> npt.NDArray[np.float32]:
        """Facades behind the far pavement; returns the light of their windows, some of which are lit at night."""
        glow = np.zeros_like(self.shade)
        foot = FAR_PAVEMENT[0] - 0.05
        for side in (-1, 1):
            near, x = SIDE_ROAD + 0.09, 0.0
            while x < 2.5:
                width, wall = rng.uniform(0.35, 0.6), rng.uniform(0.22, 0.6)
                edges = sorted((side * (near + x), side * (near + x + width)))
                self._upright(edges[0], edges[1], -0.1, foot, foot, wall)
                self._windows(edges, foot, wall, glow, rng, night)
                x += width + 0.015
        return glow

    def _windows(
        self,
        edges: list[float],
        foot: float,
        wall: float,
        glow: npt.NDArray[np.float32],
        rng: np.random.Generator,
        night: bool,
    ) -> None:
        pitch = rng.uniform(0.075, 0.11)
        for top in np.arange(foot - 0.09, -0.1, -0.105):
            for left in np.arange(edges[0] + 0.03, edges[1] - 0.06, pitch):
                place = (left, left + 0.045, top, top + 0.06, foot)
                self._upright(*place, wall * rng.uniform(0.2, 0.6))
                if night and rng.random() < 0.25:
                    self._upright(*place, rng.uniform(0.1, 0.5), glow)

    def _upright(
        self,
        left: float,
        right: float,
        top: float,
        bottom: float,
        foot: float,
        shade: float,
        canvas: npt.NDArray[np.float32] | None = None,
    ) -> None:
        """A rectangle on a wall that stands on row `foot`: it keeps the wall's scale at every height."""
        shrink = float(scale(foot))
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        self.fill([(x * shrink / float(scale(row)), row) for x, row in corners], shade, canvas)


def _grain(size: SensorSize, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Surface texture: patches, stains and fine grain, 1 on average."""
    texture = np.ones((size.height, size.width), np.float32)
    for cells, strength in ((12, 0.08), (45, 0.07), (180, 0.05)):
        noise = rng.normal(0, strength, (cells, round(cells * size.width / size.height))).astype(np.float32)
        texture += cv2.resize(noise, tuple(size), interpolation=cv2.INTER_LINEAR)
    return texture


def _daylight(size: SensorSize, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Slowly varying, with the shadow of the buildings on the far side."""
    rows = np.linspace(0, 1, size.height, dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, size.width, dtype=np.float32)[None, :]
    shadow = 1 / (1 + np.exp((rows - rng.uniform(0.3, 0.5)) / 0.01))
    light: npt.NDArray[np.float32] = rng.uniform(0.8, 1.0) * (1 + rng.uniform(-0.12, 0.12) * columns) + 0 * rows
    light *= 1 - 0.4 * shadow
    return light


def _lamplight(size: SensorSize, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """The night sky and a pool of light below each street lamp."""
    aspect = size.width / size.height
    row, column = np.mgrid[0 : size.height, 0 : size.width].astype(np.float32) / size.height
    light = np.full(row.shape, NIGHT_AMBIENT, np.float32)
    for x, foot in LAMPS:
        grow = float(scale(foot))
        far = ((column - aspect / 2 - x * grow) / (0.42 * grow)) ** 2 + ((row - foot) / (0.24 * grow)) ** 2
        light += LAMP * rng.uniform(0.7, 1.2) / (1 + far) ** 1.5
    return light
