"""The rendered world: travellers in motion over the street, nearer ones in front, and the boxes that label them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from data.boxes import BOX_DTYPE, LABEL_SETS
from data.events import SensorSize
from data.simulator.junction import BEYOND, DEPTH, HEIGHT, scale
from data.simulator.motion import STEP_S, Journey
from data.simulator.raster import Mesh, mesh, paint, project
from data.simulator.sprites import Body
from data.simulator.street import Street

# An annotator gives a traveller no box when less of it than this is seen.
LEAST_VISIBLE = 0.35


@dataclass(frozen=True)
class Actor:
    """A traveller: how it looks, how it moves, and the number its boxes carry through the recording."""

    body: Body
    journey: Journey
    track_id: int

    @cached_property
    def mesh(self) -> Mesh:
        """The body for the renderer."""
        return mesh(self.body.faces)

    @cached_property
    def _places(self) -> npt.NDArray[np.float64]:
        """[K, 4] ground X, row, heading and distance at the journey's times."""
        travelled, route = self.journey.travelled, self.journey.route
        values = [np.interp(travelled, route.length, along) for along in (route.x, route.row, route.heading)]
        return np.column_stack([*values, travelled])

    def place(self, t_s: float) -> tuple[float, float, float, float] | None:
        """Ground X, row, heading and distance travelled at this time; None before and after the journey."""
        since = (t_s - self.journey.t_s[0]) / STEP_S
        step = int(since)
        if since < 0 or step >= len(self._places) - 1:
            return None
        x, row, heading, travelled = self._places[step] + (since - step) * (self._places[step + 1] - self._places[step])
        return float(x), float(row), float(heading), float(travelled)


@dataclass(frozen=True)
class Pose:
    """An actor in the image at one time."""

    actor: Actor
    row: float  # of the ground it stands on, frame heights; larger is nearer
    camera_24: npt.NDArray[np.float64]  # takes the body's vectors to pixels
    x: float  # px, of the ground point it stands on
    y: float  # px
    phase: float  # of its legs, radians

    def faces(self, solid_only: bool = False, origin: tuple[int, int] = (0, 0)) -> npt.NDArray[np.float64]:
        """The projected faces [F, 7], as `paint` takes them, in an image whose first pixel is `origin` (x, y)."""
        x, y = self.x - origin[0], self.y - origin[1]
        faces: npt.NDArray[np.float64] = project(self.actor.mesh, self.camera_24, x, y, self.phase, solid_only)
        return faces

    def silhouette(self) -> tuple[npt.NDArray[np.bool_], int, int]:
        """The pixels the body covers, also outside the frame: a mask, and the x and y of its first pixel."""
        faces = self.faces(solid_only=True)
        corner, u, v = (faces[faces[:, 6] > 0, first : first + 2] for first in (0, 2, 4))
        points = np.concatenate([corner, corner + u, corner + v, corner + u + v])
        left, top = (int(edge) - 1 for edge in np.floor(points.min(axis=0)))
        right, bottom = (int(edge) + 1 for edge in np.ceil(points.max(axis=0)))
        cover = np.zeros((bottom - top, right - left), np.float32)
        paint(cover, np.ones_like(cover), self.actor.mesh, self.faces(True, (left, top)), True)
        return cover > 0.5, left, top


class Scene:
    """A street and its actors, rendered at any time."""

    def __init__(self, size: SensorSize, street: Street, actors: list[Actor]) -> None:
        self._size, self._street, self._actors = size, street, actors
        self._frame_HW = np.empty_like(street.picture_HW)

    def render(self, t_s: float) -> npt.NDArray[np.float32]:
        """The linear intensity [H, W] at this time, in a buffer that the next call overwrites."""
        np.copyto(self._frame_HW, self._street.picture_HW)
        for pose in self.poses(t_s):
            paint(self._frame_HW, self._street.light_HW, pose.actor.mesh, pose.faces(), False)
        return self._frame_HW

    def poses(self, t_s: float) -> list[Pose]:
        """The actors in or near the frame at this time, far to near."""
        found = [pose for actor in self._actors if (pose := self._pose(actor, t_s)) is not None]
        return sorted(found, key=lambda pose: pose.row)

    def boxes(self, t_us: int) -> npt.NDArray[np.void]:
        """The labels at this time, as rows of BOX_DTYPE with etram8's class ids.

        A box bounds the whole body, clipped to the frame: what hides behind a nearer actor still counts, as eTraM's
        annotators draw it, so that a box does not jump when somebody passes in front. Who is seen by less than
        LEAST_VISIBLE of its area, for nearer actors or the frame's edge, has none. Who stands still keeps its box.
        """
        covered_HW = np.zeros((self._size.height, self._size.width), np.bool_)
        rows = []
        for pose in reversed(self.poses(t_us * 1e-6)):
            box = visible_box(*pose.silhouette(), covered_HW)
            if box is not None:
                kind, track_id = pose.actor.body.kind, pose.actor.track_id
                rows.append((t_us, *box, LABEL_SETS["etram8"].classes.index(kind.value), track_id, 1.0))
        return np.sort(np.array(rows, BOX_DTYPE), order="track_id")

    def _pose(self, actor: Actor, t_s: float) -> Pose | None:
        place = actor.place(t_s)
        if place is None:
            return None
        x, row, heading, travelled = place
        width, height = self._size
        grow = float(scale(row))
        if abs(x) * grow > width / height / 2 + BEYOND * grow:
            return None
        cos, sin = np.cos(heading), np.sin(heading)
        camera_24 = grow * height * np.array([[cos, -sin, 0, 1], [DEPTH * sin, DEPTH * cos, -HEIGHT, 0]])
        phase = 2 * np.pi * travelled / actor.body.stride
        return Pose(actor, row, camera_24, width / 2 + x * grow * height, row * height, phase)


def visible_box(
    body: npt.NDArray[np.bool_], left: int, top: int, covered_HW: npt.NDArray[np.bool_]
) -> tuple[float, float, float, float] | None:
    """The box x, y, w, h of a body's mask whose first pixel is (left, top), clipped to the frame.

    None if too little of it is seen beside what is `covered_HW` by nearer bodies; the body then adds itself to that.
    """
    height, width = covered_HW.shape
    x, y = max(left, 0), max(top, 0)
    inside = body[y - top : max(height - top, 0), x - left : max(width - left, 0)]
    if not inside.any():
        return None
    window = covered_HW[y : y + inside.shape[0], x : x + inside.shape[1]]
    seen = np.count_nonzero(inside & ~window) / np.count_nonzero(body)
    window |= inside
    if seen < LEAST_VISIBLE:
        return None
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    return (
        float(x + columns[0]),
        float(y + rows[0]),
        float(columns[-1] - columns[0] + 1),
        float(rows[-1] - rows[0] + 1),
    )
