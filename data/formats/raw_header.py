"""The header of Prophesee RAW files: lines that open with '%'."""

import re
from dataclasses import dataclass
from pathlib import Path

from data.errors import RecordingError
from data.events import SensorSize

HEADER_BYTES = 1 << 16  # a header is a few hundred bytes; more of it is no RAW file
WORD_BYTES = {"evt2": 4, "evt3": 2}
# What a header calls them; 2.1 is known by name only.
ENCODINGS = {"2": "evt2", "2.0": "evt2", "2.1": "evt2.1", "3": "evt3", "3.0": "evt3", "4": "evt4", "4.0": "evt4"}
# Sensors by generation, for headers that name nothing else (Prophesee's Metavision documentation).
GENERATIONS = {
    "3.0": SensorSize(640, 480), "3.1": SensorSize(640, 480), "4.0": SensorSize(1280, 720),
    "4.1": SensorSize(1280, 720), "4.2": SensorSize(1280, 720), "320.0": SensorSize(320, 320),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class RawHeader:
    """What stands before the events."""

    encoding: str  # evt2 or evt3
    size: SensorSize | None  # None: not named
    first_byte: int  # of the events


def read_raw_header(path: Path) -> RawHeader:
    """Read a RAW file's header.

    Raises:
        RecordingError: this is no RAW file of EVT2 or EVT3, it contradicts itself, or it ends within an event.
    """
    try:
        with path.open("rb") as file:
            start = file.read(HEADER_BYTES)
        bytes_left = path.stat().st_size
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read ({error}); check the disk, or fetch it again") from None
    lines = re.match(rb"(?:%(?! *end\s)[^\n]*\n)*(?:% *end\s*\n)?", start)
    first_byte = lines.end() if lines else 0
    try:
        header = start[:first_byte].decode()
    except UnicodeDecodeError:
        raise RecordingError(f"{path}: the header is no text in UTF-8; the file is damaged: fetch it again") from None
    encoding = _encoding(header, path)
    left_over = (bytes_left - first_byte) % WORD_BYTES[encoding]
    if left_over:
        raise RecordingError(f"{path}: ends {left_over} bytes into a word, so it was cut short; fetch it again")
    return RawHeader(encoding, _size(header, path), first_byte)


def _encoding(header: str, path: Path) -> str:
    said = re.findall(r"^% *(?:evt|Version) +([\d.]+)\s*$", header, re.MULTILINE)
    said += re.findall(r"^% *format +EVT([\d.]+)", header, re.MULTILINE | re.IGNORECASE)
    encodings = {ENCODINGS.get(number, f"evt{number}") for number in said}
    if len(encodings) != 1:
        named = f"names the encodings {', '.join(sorted(encodings))}" if encodings else "names no encoding"
        raise RecordingError(f"{path}: the header {named}, but must name one, as '% evt 3.0' does; export it again")
    encoding = encodings.pop()
    if encoding not in WORD_BYTES:
        raise RecordingError(
            f"{path}: is encoded in {encoding.upper()}, but only EVT2 and EVT3 can be read; "
            "export it as one of them, as DAT or as HDF5"
        )
    return encoding


def _size(header: str, path: Path) -> SensorSize | None:
    pairs = re.findall(r"^% *geometry +(\d+)x(\d+)\s*$", header, re.MULTILINE)
    for line in re.findall(r"^% *format +(.*)$", header, re.MULTILINE):
        keys = dict(re.findall(r"(width|height)=(\d+)", line))
        pairs += [(keys["width"], keys["height"])] if len(keys) == 2 else []
    sides = dict(re.findall(r"^% *(Width|Height) +(\d+)\s*$", header, re.MULTILINE))
    pairs += [(sides["Width"], sides["Height"])] if len(sides) == 2 else []
    sizes = {SensorSize(int(width[:9]), int(height[:9])) for width, height in pairs}
    if len(sizes) > 1:
        named = " and ".join(f"{size.width}x{size.height}" for size in sorted(sizes))
        raise RecordingError(f"{path}: the header names the geometries {named}; correct it, or export it again")
    if sizes:
        return sizes.pop()
    generation = re.search(r"^% *(?:sensor_generation|generation) +([\d.]+)\s*$", header, re.MULTILINE | re.IGNORECASE)
    return GENERATIONS.get(generation[1]) if generation else None
