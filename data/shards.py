"""Shards: recordings as packed words in memory-mapped Arrow files, and the manifest that lists them.

A file holds record batches of one row, each a run of whole milliseconds. A millisecond between two runs has no events.
"""

import json
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.boxes import Boxes, LabelSet
from data.config import Config
from data.errors import ConfigError, DatasetError
from data.events import Events, Repairs, SensorSize

SCHEMA_VERSION = 1  # rises whenever an older reader would misread
MANIFEST = "manifest.json"
LARGEST = SensorSize(2048, 1024)  # what 11 bits of x and 10 bits of y can hold

_BOX = [("t", pa.int64())] + [(side, pa.float32()) for side in "xywh"] + [(i, pa.int64()) for i in ("class", "track")]
SCHEMA = pa.schema(
    [
        ("first_ms", pa.int64()),
        ("offsets", pa.large_list(pa.int64())),  # of each millisecond into words, and their end
        ("words", pa.large_list(pa.uint32())),
        ("boxes", pa.large_list(pa.struct(_BOX))),  # all in the first row, none in the others
    ],
    metadata={"spiketune.shard": str(SCHEMA_VERSION)},
)


class Split(StrEnum):
    """What a recording is for."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class PackedSlice:
    """Events of M whole milliseconds, 4 bytes each."""

    first_ms: int  # the millisecond (t // 1000) of offsets[0]
    offsets: npt.NDArray[np.int64]  # [M+1]: words[offsets[i]:offsets[i+1]] happened in millisecond first_ms + i
    words: npt.NDArray[np.uint32]  # x in bits 0..10, y in 11..20, p in bit 21, µs within the millisecond in bits 22..31


def pack(events: Events) -> npt.NDArray[np.uint32]:
    """One word an event; its millisecond is t // 1000."""
    words = (events.t % 1000).astype(np.uint32)
    for column, bits in ((events.p, 1), (events.y, 10), (events.x, 11)):
        words <<= np.uint32(bits)
        words |= column
    return words


def unpack(packed: PackedSlice) -> Events:
    """The events of a slice."""
    words = packed.words
    starts_us = (packed.first_ms + np.arange(len(packed.offsets) - 1)) * 1000
    t = np.repeat(starts_us, np.diff(packed.offsets)) + (words >> 22)
    x, y = (words & 0x7FF).astype(np.uint16), (words >> 11 & 0x3FF).astype(np.uint16)
    return Events(t, x, y, (words >> 21 & 1).astype(np.uint8))


class ShardEntry(Config):
    """One recording in the manifest."""

    name: str  # of the source file, without its ending
    split: Split
    night: bool | None  # None where the name does not tell
    events: int  # after repairs
    first_us: int  # time of the first event
    last_us: int  # time of the last event
    boxes: int  # after clipping
    repairs: Repairs  # of its events
    boxes_clipped: int  # boxes cut to the frame
    boxes_dropped: int  # boxes of which nothing lay inside the frame
    source: str  # path of the events below the ingested folder
    file_bytes: int  # size of the shard file
    sha256: str  # of the shard file


class Manifest(Config):
    """What a dataset holds: `manifest.json`, written last."""

    schema_version: int  # SCHEMA_VERSION of the writer
    label_set: LabelSet  # what the class numbers of all boxes mean
    size: SensorSize  # of every recording: width, height in pixels
    recordings: tuple[ShardEntry, ...]  # sorted by split and name

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read the manifest of a dataset.

        Raises:
            DatasetError: there is none, it is damaged, or another version wrote it.
        """
        path = folder / MANIFEST
        again = f"ingest the recordings again with `spiketune ingest SOURCE {folder}`"
        try:
            values = json.loads(path.read_text("utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise DatasetError(f"{folder}: holds no {MANIFEST}, so it is no dataset; {again}") from None
        except (OSError, ValueError) as error:
            raise DatasetError(f"{path}: cannot be read ({error}); remove the folder and {again}") from None
        version = values.get("schema_version") if isinstance(values, dict) else None
        if version != SCHEMA_VERSION:
            raise DatasetError(
                f"{path}: schema_version={version}, but this version of Spiketune reads {SCHEMA_VERSION}; "
                f"remove the folder and {again}"
            )
        try:
            return cls.parse(values, str(path))
        except ConfigError as error:
            raise DatasetError(f"{error}; remove the folder and {again}") from None


def shard_path(folder: Path, split: Split, name: str) -> Path:
    """Where a recording's shard lies in a dataset."""
    return folder / split / f"{name}.arrow"


class Shard:
    """One recording, memory-mapped at its first use."""

    def __init__(self, path: Path, entry: ShardEntry, size: SensorSize) -> None:
        self.path = path
        self.name, self.split, self.night, self.size = entry.name, entry.split, entry.night, size
        self.first_us, self.last_us, self.event_count = entry.first_us, entry.last_us, entry.events

    def events(self, start_us: int, end_us: int) -> Events:
        """The events of [start_us, end_us)."""
        events = unpack(self.packed(start_us, end_us))
        first, last = np.searchsorted(events.t, [start_us, end_us])
        return events.take(slice(int(first), int(last)))

    def packed(self, start_us: int, end_us: int) -> PackedSlice:
        """The whole milliseconds that cover [start_us, end_us), as far as the recording goes.

        The words are a read-only view of the file unless the slice lies across record batches.
        """
        first_ms = max(start_us // 1000, self.first_us // 1000)
        end_ms = max(min(-(-end_us // 1000), self.last_us // 1000 + 1), first_ms)
        counts = np.zeros(end_ms - first_ms, np.int64)
        words = [np.empty(0, np.uint32)]
        for run in self._overlapping(first_ms, end_ms):
            low, high = max(first_ms, run.first_ms), min(end_ms, run.first_ms + len(run.offsets) - 1)
            offsets = run.offsets[low - run.first_ms : high - run.first_ms + 1]
            counts[low - first_ms : high - first_ms] = np.diff(offsets)
            words.append(run.words[offsets[0] : offsets[-1]])
        joined = words[1] if len(words) == 2 else np.concatenate(words)
        joined.flags.writeable = False  # as the mapped views are
        return PackedSlice(first_ms, np.concatenate([[0], np.cumsum(counts)]), joined)

    @cached_property
    def boxes(self) -> Boxes:
        """The labels, sorted by time."""
        fields = dict(zip([name for name, _ in _BOX], self._batches[0].column("boxes").values.flatten(), strict=True))
        column = {name: values.to_numpy() for name, values in fields.items()}
        xywh = np.stack([column[side] for side in "xywh"], axis=1)
        return Boxes(column["t"], xywh, column["class"], column["track"])

    def _overlapping(self, first_ms: int, end_ms: int) -> Iterator[PackedSlice]:
        nearest = bisect_right(self._runs, first_ms, key=lambda run: run.first_ms) - 1
        for run in self._runs[max(nearest, 0) :]:
            if run.first_ms >= end_ms:
                return
            if run.first_ms + len(run.offsets) - 1 > first_ms:
                yield run

    @cached_property
    def _runs(self) -> list[PackedSlice]:
        """Each batch's milliseconds, checked: a wrong offset would have compiled code read past the words."""
        runs = []
        for batch in self._batches:
            offsets, words = (batch.column(name).values.to_numpy() for name in ("offsets", "words"))
            sound = len(offsets) > 0 and offsets[0] == 0 and offsets[-1] == len(words)
            if not sound or (np.diff(offsets) < 0).any():
                raise self._damaged("its time index does not fit its events")
            runs.append(PackedSlice(batch.column("first_ms")[0].as_py(), offsets, words))
        if sum(len(run.words) for run in runs) != self.event_count:
            raise self._damaged("it does not hold the events the manifest counts")
        return runs

    @cached_property
    def _batches(self) -> list[Any]:
        try:
            # The batches keep the mapping; the file itself is closed, for a dataset may have more shards than a
            # process may have files open.
            with pa.memory_map(str(self.path)) as file:
                reader = pa.ipc.open_file(file)
                batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
            for batch in batches:
                batch.validate()
        except (OSError, pa.ArrowException) as error:
            raise self._damaged(str(error)) from None
        if not batches or not reader.schema.equals(SCHEMA, check_metadata=True):
            raise self._damaged("its columns are not those of a shard")
        return batches

    def _damaged(self, reason: str) -> DatasetError:
        return DatasetError(f"{self.path}: the shard is damaged: {reason}; remove the dataset and ingest it again")


class Dataset:
    """Ingested recordings of one sensor and one label set."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self.label_set = manifest.label_set
        self.size = manifest.size
        self._shards = [
            Shard(shard_path(path, entry.split, entry.name), entry, manifest.size)
            for entry in sorted(manifest.recordings, key=lambda entry: entry.name)
        ]

    @classmethod
    def open(cls, path: Path) -> "Dataset":
        """Open a dataset; its shards are mapped when they are first used.

        Raises:
            DatasetError: there is none here, or a shard is missing or not of its size.
        """
        dataset = cls(path, Manifest.read(path))
        for entry in dataset.manifest.recordings:
            shard = shard_path(path, entry.split, entry.name)
            size = shard.stat().st_size if shard.is_file() else None
            if size != entry.file_bytes:
                found = "is missing" if size is None else f"has {size} bytes instead of {entry.file_bytes}"
                raise DatasetError(f"{shard}: the shard {found}; remove the dataset and ingest its recordings again")
        return dataset

    def shards(self, split: Split) -> tuple[Shard, ...]:
        """The recordings of a split, sorted by name.

        Raises:
            DatasetError: the split is empty.
        """
        chosen = tuple(shard for shard in self._shards if shard.split is split)
        if not chosen:
            filled = ", ".join(sorted({shard.split for shard in self._shards}))
            raise DatasetError(f"{self.path}: split '{split}' holds no recording; ingest some for it, or use: {filled}")
        return chosen
