"""Shards: recordings as packed words in memory-mapped Arrow files.

A file holds record batches of one row, each a run of whole milliseconds. A millisecond between two runs has no events.
"""

from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data.boxes import Boxes
from data.errors import DatasetError
from data.events import Events, SensorSize
from data.manifest import SCHEMA_VERSION, ShardEntry
from data.packing import PackedSlice, unpack

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
