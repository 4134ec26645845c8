"""The bodies of the travellers: textured faces, placed in a small space of their own."""

from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from data.simulator.junction import Traveller

SUPERSAMPLING = 4  # textures are drawn this much finer and averaged
SHADE, ALPHA, GLOW = 0, 1, 2  # a texture's channels: reflectance times alpha, alpha, light of its own

Vector = tuple[float, float, float, float]  # along the heading, across it to the right, up, right in the image
STILL: Vector = (0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Face:
    """A parallelogram with a texture: columns go along `u`, rows along `v`, which may swing with the walking phase."""

    texture_HWC: npt.NDArray[np.float32]  # bordered by one transparent texel; C: SHADE, ALPHA, GLOW
    corner: Vector  # where the first column and row meet, frame heights at scale 1
    u: Vector
    v: Vector
    cosine: Vector = STILL  # added to v times the cosine of the phase
    sine: Vector = STILL
    two_sided: bool = False  # seen from behind as well
    solid: bool = True  # part of the body; shadows and beams of light are not


@dataclass
class Canvas:
    """A texture being drawn, in frame heights at scale 1, from its upper left corner."""

    width: float
    height: float
    texels: float  # texels per frame height
    shade: npt.NDArray[np.float32] = field(init=False)
    alpha: npt.NDArray[np.float32] = field(init=False)
    glow: npt.NDArray[np.float32] = field(init=False)

    def __post_init__(self) -> None:
        shape = [max(2, round(extent * self.texels)) * SUPERSAMPLING for extent in (self.height, self.width)]
        self.shade, self.alpha, self.glow = (np.zeros(shape, np.float32) for _ in range(3))

    def polygon(self, points: list[tuple[float, float]], shade: float, glow: float = 0.0, alpha: float = 1.0) -> None:
        """Fill; what was below is covered."""
        stretch = np.array(self.shade.shape[::-1]) / (self.width, self.height)
        pixels = [np.rint(np.array(points) * stretch).astype(np.int32)]
        for plane, value in ((self.shade, shade * alpha), (self.alpha, alpha), (self.glow, glow)):
            cv2.fillPoly(plane, pixels, value)

    def rectangle(self, left: float, top: float, right: float, bottom: float, shade: float, glow: float = 0.0) -> None:
        """Fill an upright rectangle."""
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], shade, glow)

    def disc(self, x: float, y: float, radius: float, shade: float, glow: float = 0.0, alpha: float = 1.0) -> None:
        """Fill a circle; alpha 0 cuts a hole."""
        angle = np.linspace(0, 2 * np.pi, 25)[:-1]
        points = np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)
        self.polygon(points.tolist(), shade, glow, alpha)

    def bar(self, start: tuple[float, float], end: tuple[float, float], thickness: float, shade: float) -> None:
        """A straight thick line."""
        (ax, ay), (bx, by) = start, end
        length = float(np.hypot(bx - ax, by - ay))
        nx, ny = -(by - ay) / length * thickness / 2, (bx - ax) / length * thickness / 2
        self.polygon([(ax + nx, ay + ny), (bx + nx, by + ny), (bx - nx, by - ny), (ax - nx, ay - ny)], shade)

    def texture(self) -> npt.NDArray[np.float32]:
        """The finished texture [H, W, 3] with its transparent border."""
        fine = np.stack([self.shade, self.alpha, self.glow], axis=-1)
        size = (fine.shape[1] // SUPERSAMPLING, fine.shape[0] // SUPERSAMPLING)
        small = cv2.resize(fine, size, interpolation=cv2.INTER_AREA)
        return np.pad(small, ((1, 1), (1, 1), (0, 0)))


def box(
    start: tuple[float, float, float],
    extent: tuple[float, float, float],
    textures: dict[str, npt.NDArray[np.float32]],
    slant: float = 0.0,
) -> list[Face]:
    """The seen faces of a box: `start` is its rear, left, lower corner, `extent` its length, width and height.

    `textures` holds side (its front to the right), front, rear and roof. The roof is shorter by `slant` at both ends,
    as a car's cabin is. No face is seen from below.
    """
    (a, c, z), (length, width, height) = start, extent
    top, front, right = z + height, a + length, c + width
    side, down = textures["side"], (0.0, 0.0, -height, 0.0)
    return [
        Face(side, (a, right, top, 0), (length, 0, 0, 0), down),
        Face(np.ascontiguousarray(side[:, ::-1]), (front, c, top, 0), (-length, 0, 0, 0), down),
        Face(textures["front"], (front - slant, right, top, 0), (0, -width, 0, 0), (slant, 0, -height, 0)),
        Face(textures["rear"], (a + slant, c, top, 0), (0, width, 0, 0), (-slant, 0, -height, 0)),
        Face(textures["roof"], (a + slant, c, top, 0), (length - 2 * slant, 0, 0, 0), (0, width, 0, 0)),
    ]


def shadow(length: float, width: float, texels: float) -> Face:
    """What the body takes from the light below it."""
    canvas = Canvas(length, width, texels)
    canvas.alpha[:] = 0.45
    texture = cv2.GaussianBlur(canvas.texture(), (0, 0), 0.04 * texels, borderType=cv2.BORDER_CONSTANT)
    return Face(texture, (-length / 2, -width / 2, 0, 0), (length, 0, 0, 0), (0, width, 0, 0), solid=False)


def beam(front: float, width: float, texels: float) -> Face:
    """The light of the headlights on the road ahead."""
    reach, spread = 0.5, 2.2 * width
    canvas = Canvas(reach, spread, texels)
    rows, columns = np.mgrid[-1 : 1 : canvas.glow.shape[0] * 1j, 0 : 1 : canvas.glow.shape[1] * 1j]
    cone = np.exp(-((rows / (0.3 + 0.5 * columns)) ** 2) * 3)
    canvas.glow[:] = 0.11 * cone * np.minimum(columns * 8, 1) * (1 - columns) ** 1.5
    corner = (front, -spread / 2, 0.0, 0.0)
    return Face(canvas.texture(), corner, (reach, 0, 0, 0), (0, spread, 0, 0), solid=False)


@dataclass(frozen=True)
class Body:
    """How a traveller looks: its faces from back to front, and the length of one swing of its legs."""

    kind: Traveller
    faces: tuple[Face, ...]
    length: float  # along the heading, frame heights at scale 1
    stride: float
