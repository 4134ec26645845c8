"""Drawing: events, boxes and captions as images, written as .png, .mp4 or .gif."""

import colorsys
import math
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image

from data.errors import InputError
from data.events import Events, SensorSize
from data.storage import whole_file, whole_path

Image = npt.NDArray[np.uint8]  # [H, W, 3] blue, green, red
Colour = tuple[int, int, int]  # blue, green, red

WHITE, BLACK, GREY = (255, 255, 255), (0, 0, 0), (120, 120, 120)
ON, OFF = (200, 90, 30), (60, 60, 220)  # blue, red
GREEN = (60, 160, 0)  # true boxes, where found ones stand beside them
CAPTION = 22  # px of the strip below a picture
_TEXT = 0.42  # scale of letters
GIF_COLOURS = 64  # few things are drawn; more only make the file larger
_GOLDEN = 0.618033988749895  # each next hue falls into the largest gap that the ones before have left
_HUES = ((25, 195), (255, 340))  # degrees, apart from the red and the blue of events


def magnification(size: SensorSize, least_width: int) -> int:
    """The whole factor that makes a sensor's picture at least so wide."""
    return math.ceil(least_width / size.width)


def events_image(events: Events, size: SensorSize, zoom: int) -> Image:
    """Events on white, ON blue and OFF red; where a pixel has several, the latest is seen."""
    image = np.full((size.height, size.width, 3), WHITE, np.uint8)
    image[events.y, events.x] = np.array([OFF, ON], np.uint8)[events.p]
    enlarged: Image = cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_NEAREST)
    return enlarged


def track_colour(track_id: int) -> Colour:
    """The colour of a track: the same in every picture, and far from those of the tracks numbered next to it."""
    first, second = _HUES
    degrees = (track_id * _GOLDEN % 1) * (first[1] - first[0] + second[1] - second[0])
    degrees += first[0] if degrees < first[1] - first[0] else second[0] - (first[1] - first[0])
    red, green, blue = colorsys.hsv_to_rgb(degrees / 360, 1.0, (0.72, 0.5)[track_id // 2 % 2])
    return round(blue * 255), round(green * 255), round(red * 255)


def draw_box(
    image: Image, corners: npt.NDArray[np.floating], text: str, colour: Colour, thickness: int, below: bool = False
) -> None:
    """Draw the outline x1, y1, x2, y2 of a box, in pixels of the image, and its text, if any, on a plate above it.

    `below`, or where there is no room above, the plate stands below the box.
    """
    x1, y1, x2, y2 = (int(side) for side in corners.round())
    cv2.rectangle(image, (x1, y1), (x2, y2), colour, thickness)
    if not text:
        return
    (width, height), deep = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, _TEXT, 1)
    plate = (width + 4, height + deep + 3)
    x = max(min(x1, image.shape[1] - plate[0]), 0)  # the plates of boxes at a border stay inside
    y = y2 + 1 if below or y1 < plate[1] else y1 - plate[1]
    y = min(y, image.shape[0] - plate[1])
    cv2.rectangle(image, (x, y), (x + plate[0] - 1, y + plate[1] - 1), colour, cv2.FILLED)
    write_text(image, text, (x + 2, y + height + 2), WHITE)


def write_text(image: Image, text: str, place: tuple[int, int], colour: Colour) -> None:
    """Write text whose base line begins at x, y."""
    cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, _TEXT, colour, 1, cv2.LINE_AA)


def captioned(image: Image, caption: str) -> Image:
    """The image above a line of text."""
    strip = np.full((CAPTION, image.shape[1], 3), WHITE, np.uint8)
    write_text(strip, caption, (4, CAPTION - 7), BLACK)
    return np.concatenate([strip, image])


def framed(image: Image) -> Image:
    """The image with a grey border."""
    bordered: Image = cv2.copyMakeBorder(image, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=GREY)
    return bordered


def write_image(image: Image, path: Path) -> None:
    """Write a .png, replacing what was there at the end."""
    with whole_file(path) as file:
        file.write(cv2.imencode(".png", image)[1].tobytes())


def write_clip(images: Iterable[Image], path: Path, frames_a_second: int) -> None:
    """Write images of one size as an .mp4 or an endless .gif, as its name ends, replacing what was there at the end.

    Raises:
        InputError: OpenCV has no encoder for .mp4.
    """
    with whole_path(path, path.suffix) as partial:
        if path.suffix.lower() == ".gif":
            _write_gif(images, partial, frames_a_second)
        else:
            _write_mp4(images, partial, frames_a_second)


def _write_gif(images: Iterable[Image], path: Path, frames_a_second: int) -> None:
    pictures = (
        PIL.Image.fromarray(np.ascontiguousarray(image[..., ::-1])).quantize(GIF_COLOURS, dither=PIL.Image.Dither.NONE)
        for image in images
    )
    next(pictures).save(
        path, format="GIF", save_all=True, append_images=pictures, duration=round(1000 / frames_a_second), loop=0
    )


def _write_mp4(images: Iterable[Image], path: Path, frames_a_second: int) -> None:
    writer = None
    try:
        for image in images:
            even = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]  # video codecs halve the colours
            if writer is None:
                writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), frames_a_second, even.shape[1::-1])
                if not writer.isOpened():
                    raise InputError(
                        f"{path.parent}: OpenCV here has no encoder for .mp4 (mp4v); ask for a .gif instead, "
                        "or install the package opencv-python-headless from its wheel"
                    )
            writer.write(np.ascontiguousarray(even))
    finally:
        if writer is not None:
            writer.release()
