"""The four kinds of bodies, drawn at random: cars, buses, pedestrians, cyclists. Frame heights at scale 1."""

import numpy as np
import numpy.typing as npt

from data.simulator.junction import Traveller
from data.simulator.sprites import Body, Canvas, Face, beam, box, shadow

GLASS, TYRE, HUB, SKIN = 0.07, 0.04, 0.35, 0.45
SLANT = 0.17  # of a car's cabin: its roof is shorter by this share of its length at both ends
HEADLIGHT, TAILLIGHT = 1.2, 0.35  # light of their own at night; 1 is white in daylight

Texture = npt.NDArray[np.float32]


def body(kind: Traveller, night: bool, frame_height: int, rng: np.random.Generator) -> Body:
    """A body of this kind, of its own size, shades and build."""
    texels = 1.25 * frame_height  # as fine as it is ever seen
    makers = {
        Traveller.CAR: _car,
        Traveller.BUS: _bus,
        Traveller.PEDESTRIAN: _pedestrian,
        Traveller.BICYCLE: _cyclist,
    }
    return makers[kind](night, texels, rng)


def _paint(rng: np.random.Generator) -> float:
    """A lacquer or cloth that stands out from asphalt, brighter or darker."""
    return float(rng.uniform(0.45, 0.95) if rng.random() < 0.7 else rng.uniform(0.03, 0.09))


def _car(night: bool, texels: float, rng: np.random.Generator) -> Body:
    length, width, height = rng.uniform(0.24, 0.31), rng.uniform(0.115, 0.135), rng.uniform(0.095, 0.115)
    paint, waist = _paint(rng), 0.58 * height
    lower = box(
        (-length / 2, -width / 2, 0), (length, width, waist), _lower_car(length, width, waist, paint, night, texels)
    )
    rear, cabin = (0.08, 0.62) if rng.random() < 0.5 else (0.02, 0.78)  # a saloon or an estate
    start = (-length / 2 + rear * length, -0.44 * width, waist)
    extent = (cabin * length, 0.88 * width, height - waist)
    upper = box(start, extent, _cabin(extent, paint, texels), SLANT * extent[0])
    ground = [shadow(1.15 * length, 1.3 * width, texels)]
    if night:
        ground.append(beam(length / 2, width, texels))
    return Body(Traveller.CAR, (*ground, *lower, *upper), length, stride=1.0)


def _lower_car(
    length: float, width: float, height: float, paint: float, night: bool, texels: float
) -> dict[str, Texture]:
    lamp, tail = (HEADLIGHT, TAILLIGHT) if night else (0.0, 0.0)
    sill, wheel = 0.8 * height, 0.3 * height + 0.012
    side = Canvas(length, height, texels)
    side.rectangle(0, 0, length, sill, paint)
    side.rectangle(0, 0.62 * height, length, sill, 0.6 * paint)
    side.rectangle(0.495 * length, 0, 0.505 * length, sill, 0.5 * paint)
    side.rectangle(0, 0.12 * height, 0.03 * length, 0.35 * height, 0.3, tail)
    side.rectangle(0.96 * length, 0.2 * height, length, 0.45 * height, 0.8, lamp)
    for x in (0.19 * length, 0.81 * length):
        side.disc(x, height - wheel, wheel, TYRE)
        side.disc(x, height - wheel, 0.5 * wheel, HUB)
    front, rear = Canvas(width, height, texels), Canvas(width, height, texels)
    for canvas, shade, glow, top in ((front, 0.85, lamp, 0.2), (rear, 0.25, tail, 0.12)):
        canvas.rectangle(0, 0, width, sill, paint)
        canvas.rectangle(0, 0.6 * height, width, sill, 0.5 * paint)
        canvas.rectangle(0.32 * width, 0.5 * height, 0.68 * width, 0.7 * height, 0.8 if canvas is rear else TYRE)
        for left in (0.04, 0.76):
            canvas.rectangle(left * width, top * height, (left + 0.2) * width, 0.5 * height, shade, glow)
            canvas.rectangle(left * width, sill, (left + 0.16) * width, height, TYRE)
    roof = Canvas(length, width, texels)
    roof.rectangle(0, 0, length, width, paint)
    roof.rectangle(0.75 * length, 0.1 * width, 0.76 * length, 0.9 * width, 0.7 * paint)
    return {"side": side.texture(), "front": front.texture(), "rear": rear.texture(), "roof": roof.texture()}


def _cabin(extent: tuple[float, float, float], paint: float, texels: float) -> dict[str, Texture]:
    length, width, height = extent
    slant = SLANT * length
    side, end = Canvas(length, height, texels), Canvas(width, height, texels)
    side.polygon([(slant, 0), (length - slant, 0), (length, height), (0, height)], paint)
    above, below = 0.2 * height, 0.95 * height
    side.polygon(
        [(1.2 * slant, above), (length - 1.2 * slant, above), (length - 0.5 * slant, below), (0.5 * slant, below)],
        GLASS,
    )
    side.rectangle(0.48 * length, 0, 0.52 * length, height, paint)
    end.rectangle(0, 0, width, height, paint)
    end.rectangle(0.1 * width, 0.12 * height, 0.9 * width, height, GLASS)
    roof = Canvas(length - 2 * slant, width, texels)
    roof.rectangle(0, 0, length, width, 0.92 * paint)
    return {"side": side.texture(), "front": end.texture(), "rear": end.texture(), "roof": roof.texture()}


def _bus(night: bool, texels: float, rng: np.random.Generator) -> Body:
    length, width, height = rng.uniform(0.5, 0.6), rng.uniform(0.15, 0.165), rng.uniform(0.2, 0.225)
    paint, stripe = float(rng.uniform(0.4, 0.9)), _paint(rng)
    lamp, tail, inside = (HEADLIGHT, TAILLIGHT, 0.35) if night else (0.0, 0.0, 0.0)
    side = Canvas(length, height, texels)
    side.rectangle(0, 0, length, 0.9 * height, paint)
    side.rectangle(0, 0.58 * height, length, 0.66 * height, stripe)
    for left in np.linspace(0.03, 0.83, 7):
        side.rectangle(left * length, 0.14 * height, (left + 0.1) * length, 0.5 * height, GLASS, inside)
    side.rectangle(0.9 * length, 0.14 * height, 0.98 * length, 0.86 * height, GLASS, inside)
    for x in (0.2 * length, 0.76 * length):
        side.disc(x, 0.88 * height, 0.12 * height, TYRE)
        side.disc(x, 0.88 * height, 0.055 * height, HUB)
    front, rear = Canvas(width, height, texels), Canvas(width, height, texels)
    for canvas, bottom, shade, glow in ((front, 0.6, 0.85, lamp), (rear, 0.4, 0.25, tail)):
        canvas.rectangle(0, 0, width, 0.9 * height, paint)
        canvas.rectangle(0.06 * width, 0.14 * height, 0.94 * width, bottom * height, GLASS, 0.6 * inside)
        for left in (0.05, 0.8):
            canvas.rectangle(left * width, 0.7 * height, (left + 0.15) * width, 0.79 * height, shade, glow)
            canvas.rectangle(left * width, 0.9 * height, (left + 0.13) * width, height, TYRE)
    roof = Canvas(length, width, texels)
    roof.rectangle(0, 0, length, width, 0.85 * paint)
    for left in (0.2, 0.6):
        roof.rectangle(left * length, 0.3 * width, (left + 0.12) * length, 0.7 * width, 0.4 * paint)
    textures = {"side": side.texture(), "front": front.texture(), "rear": rear.texture(), "roof": roof.texture()}
    ground = [shadow(1.08 * length, 1.3 * width, texels)]
    if night:
        ground.append(beam(length / 2, width, texels))
    faces = box((-length / 2, -width / 2, 0), (length, width, height), textures)
    return Body(Traveller.BUS, (*ground, *faces), length, stride=1.0)


def _limb(shade: float, thickness: float, reach: float, texels: float) -> Texture:
    canvas = Canvas(thickness, reach, texels)
    canvas.rectangle(0, 0, thickness, reach, shade)
    return canvas.texture()


def _pedestrian(_night: bool, texels: float, rng: np.random.Generator) -> Body:
    height = float(rng.uniform(0.135, 0.17))
    width, thick = 0.3 * height, 0.1 * height
    coat, trousers, hair = _paint(rng), _paint(rng), float(rng.uniform(0.03, 0.5))
    torso = Canvas(width, 0.56 * height, texels)
    torso.polygon(
        [
            (0.1 * width, 0.18 * height),
            (0.9 * width, 0.18 * height),
            (0.78 * width, 0.56 * height),
            (0.22 * width, 0.56 * height),
        ],
        coat,
    )
    torso.disc(0.5 * width, 0.085 * height, 0.085 * height, SKIN)
    torso.polygon(
        [(0.25 * width, 0.07 * height), (0.75 * width, 0.07 * height), (0.65 * width, 0), (0.35 * width, 0)], hair
    )
    leg, arm = _limb(trousers, thick, 0.48 * height, texels), _limb(0.7 * coat, 0.8 * thick, 0.38 * height, texels)
    swing = 0.13 * height

    def hanging(texture: Texture, x: float, top: float, reach: float, thickness: float, along: float) -> Face:
        corner, u = (0.0, 0.0, top, x - thickness / 2), (0.0, 0.0, 0.0, thickness)
        return Face(texture, corner, u, (0, 0, -reach, 0), sine=(along, 0, 0, 0), two_sided=True)

    faces = (
        shadow(0.3 * height, 0.3 * height, texels),
        hanging(arm, -0.38 * width, 0.8 * height, 0.38 * height, 0.8 * thick, swing),
        hanging(leg, 0.15 * width, 0.48 * height, 0.48 * height, thick, swing),
        hanging(leg, -0.15 * width, 0.48 * height, 0.48 * height, thick, -swing),
        Face(torso.texture(), (0, 0, height, -width / 2), (0, 0, 0, width), (0, 0, -0.56 * height, 0), two_sided=True),
        hanging(arm, 0.38 * width, 0.8 * height, 0.38 * height, 0.8 * thick, -swing),
    )
    return Body(Traveller.PEDESTRIAN, faces, length=0.3 * height, stride=0.75 * height)


def _cyclist(night: bool, texels: float, rng: np.random.Generator) -> Body:
    length, height = float(rng.uniform(0.19, 0.225)), float(rng.uniform(0.18, 0.2))
    coat, trousers, frame = _paint(rng), _paint(rng), float(rng.uniform(0.03, 0.9))
    wheel = 0.24 * length
    axle, hip = height - wheel, (0.4 * length, 0.47 * height)
    side = Canvas(length, height, texels)
    for x in (wheel, length - wheel):
        side.disc(x, axle, wheel, TYRE)
        side.disc(x, axle, 0.72 * wheel, 0, alpha=0)
        side.bar((x - wheel, axle), (x + wheel, axle), 0.005, HUB)
        side.bar((x, axle - wheel), (x, axle + wheel), 0.005, HUB)
    crank, bars = (0.47 * length, axle), (0.72 * length, 0.45 * height)
    for start, end in (
        ((wheel, axle), crank),
        (hip, crank),
        (hip, bars),
        (crank, bars),
        (bars, (length - wheel, axle)),
    ):
        side.bar(start, end, 0.009, frame)
    shoulder = (0.56 * length, 0.2 * height)
    side.bar(hip, shoulder, 0.045, coat)
    side.bar(shoulder, bars, 0.017, 0.7 * coat)
    side.disc(0.62 * length, 0.09 * height, 0.085 * height, SKIN)
    if night:
        side.disc(0.78 * length, 0.5 * height, 0.012, 0.8, 0.6 * HEADLIGHT)
    width = 0.07
    rider = Canvas(width, height, texels)
    rider.rectangle(0.42 * width, height - 2 * wheel, 0.58 * width, height, TYRE)
    rider.polygon(
        [(0, 0.2 * height), (width, 0.2 * height), (0.8 * width, 0.55 * height), (0.2 * width, 0.55 * height)], coat
    )
    rider.disc(0.5 * width, 0.09 * height, 0.085 * height, SKIN)
    up, radius, thick = height - hip[1], 0.028, 0.02
    leg = _limb(trousers, thick, up, texels)

    def pedalling(x: float, sign: float) -> Face:
        corner = (hip[0] - length / 2, 0.0, up, x - thick / 2)
        v = (crank[0] - hip[0], 0.0, height - axle - up, 0.0)
        turn = (sign * radius, 0.0, 0.0, 0.0), (0.0, 0.0, -sign * radius, 0.0)
        return Face(leg, corner, (0, 0, 0, thick), v, cosine=turn[0], sine=turn[1], two_sided=True)

    plane = Face(side.texture(), (-length / 2, 0, height, 0), (length, 0, 0, 0), (0, 0, -height, 0), two_sided=True)
    upright = Face(rider.texture(), (0, -width / 2, height, 0), (0, width, 0, 0), (0, 0, -height, 0), two_sided=True)
    faces = (shadow(length, 0.08, texels), pedalling(-0.012, -1), upright, plane, pedalling(0.012, 1))
    return Body(Traveller.BICYCLE, faces, length, stride=0.35)
