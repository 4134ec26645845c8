"""Conversion: one recording of a source becomes one shard on this machine."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from data.boxes import Boxes, clip
from data.errors import InputError, RecordingError
from data.events import LONGEST_US, Repairs, SensorSize
from data.formats.discovery import is_night
from data.formats.finding import Finding
from data.formats.label_scheme import LabelScheme
from data.formats.recording import Recording
from data.manifest import ShardEntry, SourceDigest
from data.packing import LARGEST, Words
from data.shard_writer import ShardWriter
from data.storage import sha256_of

Told: TypeAlias = Callable[[int, int | None], None]  # events read of a recording, and of how many, where that is known


@dataclass(frozen=True, slots=True)
class Sensor:
    """The one sensor of a dataset."""

    size: SensorSize
    why: str  # completes "a recording has WxH pixels, but ..."


def check_sensor(recording: Recording, sensor: Sensor | None) -> SensorSize:
    """The recording's sensor, if a dataset can have it.

    Raises:
        RecordingError: the file is damaged.
        InputError: the sensor is not the dataset's, or too large.
    """
    size = recording.size
    has = f"{recording.path}: the sensor has {size.width}x{size.height} pixels"
    if size.width > LARGEST.width or size.height > LARGEST.height:
        raise InputError(
            f"{has}, but a shard holds at most {LARGEST.width}x{LARGEST.height}; crop or bin the events first"
        )
    if sensor is not None and size != sensor.size:
        raise InputError(f"{has}, but {sensor.why}")
    return size


def convert(
    finding: Finding, scheme: LabelScheme, root: Path, shard: Path, sensor: Sensor | None, told: Told
) -> tuple[ShardEntry, SensorSize]:
    """Make the shard of a recording; also its entry and its sensor.

    Args:
        finding: the recording.
        scheme: what becomes of its labels.
        root: the folder its files lie below.
        shard: the file to write; it appears when it is whole.
        sensor: that of the dataset, where it is known.
        told: called after each chunk of events; what it raises ends the work.

    Raises:
        RecordingError: the recording breaks a rule.
        InputError: its sensor does not fit, or its files changed while they were read.
        OSError: the shard cannot be written.
    """
    before = _states(finding, root)
    recording = finding.open(root)
    size = check_sensor(recording, sensor)
    rows = recording.row_count
    told(0, rows)
    repairs, done = Repairs(), 0
    words = Words.of(size)
    with ShardWriter(shard, words) as writer:
        for events, mended in recording.chunks():
            repairs += mended
            writer.write(events)
            _check_length(recording, writer)
            done += len(events) + mended.out_of_frame
            told(done, rows)
        if not writer.events:
            raise RecordingError(f"{recording.path}: holds no event inside the frame; leave the recording out")
        boxes, counts = _boxes(finding, scheme, root, recording, writer)
        writer.write_boxes(boxes)
        digests = _digests(finding, root, before)
    entry = ShardEntry(
        name=finding.name,
        split=finding.split,
        night=is_night(finding.name),
        events=writer.events,
        first_us=writer.first_us,
        last_us=writer.last_us,
        boxes=len(boxes),
        repairs=repairs,
        **counts,
        source=digests[0].path,
        source_bytes=digests[0].bytes,
        source_sha256=digests[0].sha256,
        box_source=None if finding.box_source is None else finding.box_source.as_posix(),
        other_sources=tuple(digests[1:]),
        words=words,
        file_bytes=writer.file_bytes,
        sha256=writer.sha256,
    )
    return entry, size


def _check_length(recording: Recording, writer: ShardWriter) -> None:
    if writer.last_us - writer.first_us > LONGEST_US:
        raise RecordingError(
            f"{recording.path}: its times run from {writer.first_us} to {writer.last_us} µs, more than a day; "
            "a time in it is damaged: mend it, or leave the recording out"
        )


def _boxes(
    finding: Finding, scheme: LabelScheme, root: Path, recording: Recording, writer: ShardWriter
) -> tuple[Boxes, dict[str, int]]:
    """The labels as the dataset has them, and how many were mended or left out, as the entry's fields."""
    boxes, left_out = scheme.merged(finding.boxes(root, recording, writer.first_us, writer.last_us))
    boxes, clipped, dropped = clip(boxes, recording.size)
    return boxes, {"boxes_clipped": clipped, "boxes_dropped": dropped, "boxes_left_out": left_out}


def _states(finding: Finding, root: Path) -> dict[PurePosixPath, os.stat_result]:
    try:
        return {path: (root / path).stat() for path in finding.files}
    except OSError as error:
        raise RecordingError(f"{error.filename}: cannot be read ({error.strerror}); check that it is there") from None


def _digests(finding: Finding, root: Path, before: Mapping[PurePosixPath, os.stat_result]) -> list[SourceDigest]:
    """Of the file of events, then of the others, which must all be what they were when the work began."""
    paths = [finding.events, *(path for path in finding.files if path != finding.events)]
    digests = [
        SourceDigest(path=path.as_posix(), bytes=before[path].st_size, sha256=_sha256(root / path)) for path in paths
    ]
    after = _states(finding, root)
    for path in paths:
        if (after[path].st_size, after[path].st_mtime_ns) != (before[path].st_size, before[path].st_mtime_ns):
            raise InputError(
                f"{root / path}: changed while it was read; wait until it is whole and run the same command again"
            )
    return digests


def _sha256(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read ({error.strerror}); check the disk, or fetch it again") from None
