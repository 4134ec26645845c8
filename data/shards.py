"""Shards: recordings as packed words in memory-mapped Arrow files.

A file holds record batches of one row. Each but the last is a run of events; a pause between two runs has no events,
and a millisecond may go on from one run to the next. The last holds the labels, and where in time the runs lie.
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data.boxes import Boxes
from data.errors import DatasetError
from data.events import NO_EVENTS, Events, SensorSize
from data.manifest import ShardEntry
from data.packing import PackedSlice, unpack
from data.shard_schema import BOX_COLUMNS, RUN_COLUMNS, checksum, schema


class Shard:
    """One recording, memory-mapped at its first use; each run of events is checked when it is first touched."""

    def __init__(self, locate: Callable[[], Path], entry: ShardEntry, size: SensorSize) -> None:
        """Args:
        locate: gives the shard's file on this machine; asked once, at the first use.
        entry: of the manifest.
        size: of the dataset's sensor.
        """
        self._locate = locate
        self.entry = entry
        self.name, self.split, self.night, self.size = entry.name, entry.split, entry.night, size
        self.first_us, self.last_us, self.event_count = entry.first_us, entry.last_us, entry.events
        self.sha256 = entry.sha256
        self._touched: dict[int, PackedSlice] = {}

    def __reduce__(self) -> tuple[object, ...]:
        return Shard, (self._locate, self.entry, self.size)  # mappings stay here: the other process makes its own

    @cached_property
    def path(self) -> Path:
        """The shard's file on this machine."""
        return self._locate()

    def events(self, start_us: int, end_us: int) -> Events:
        """The events of [start_us, end_us)."""
        pieces = [unpack(piece) for piece in self._pieces(*self._span_ms(start_us, end_us))]
        columns = (np.concatenate([getattr(piece, key) for piece in (NO_EVENTS, *pieces)]) for key in "txyp")
        events = Events(*columns)
        first, last = np.searchsorted(events.t, [start_us, end_us])
        return events.take(slice(int(first), int(last)))

    def packed(self, start_us: int, end_us: int) -> PackedSlice:
        """The whole milliseconds that cover [start_us, end_us), as far as the recording goes.

        The words are a read-only view of the file unless the slice lies across runs.
        """
        first_ms, end_ms = self._span_ms(start_us, end_us)
        counts = np.zeros(end_ms - first_ms, np.int64)
        words = []
        for piece in self._pieces(first_ms, end_ms):
            low = piece.first_ms - first_ms
            counts[low : low + len(piece.offsets) - 1] += np.diff(piece.offsets)
            words.append(piece.words)
        joined = words[0] if len(words) == 1 else np.concatenate([np.empty(0, self.entry.words.dtype), *words])
        joined.flags.writeable = False  # as the mapped views are
        return PackedSlice(first_ms, np.concatenate([[0], np.cumsum(counts)]), joined)

    @cached_property
    def boxes(self) -> Boxes:
        """The labels, sorted by time."""
        column = self._contents("boxes", BOX_COLUMNS)
        xywh = np.stack([column[side] for side in "xywh"], axis=1)
        return Boxes(column["t"], xywh, column["class"], column["track"])

    def _span_ms(self, start_us: int, end_us: int) -> tuple[int, int]:
        first_ms = max(start_us // 1000, self.first_us // 1000)
        return first_ms, max(min(-(-end_us // 1000), self.last_us // 1000 + 1), first_ms)

    def _pieces(self, first_ms: int, end_ms: int) -> Iterator[PackedSlice]:
        """What each run holds of these milliseconds."""
        first = np.searchsorted(self._runs["end_ms"], first_ms, "right")
        end = np.searchsorted(self._runs["first_ms"], end_ms)
        for run in map(self._run, range(int(first), int(end))):
            low, high = max(first_ms, run.first_ms), min(end_ms, run.first_ms + len(run.offsets) - 1)
            offsets = run.offsets[low - run.first_ms : high - run.first_ms + 1]
            yield PackedSlice(low, offsets - offsets[0], run.words[offsets[0] : offsets[-1]])

    def _run(self, index: int) -> PackedSlice:
        """A run, checked: damage is named, and a wrong offset would have compiled code read past the words."""
        if index not in self._touched:
            batch = self._batch(index)
            offsets, words = (batch.column(name).values.to_numpy() for name in ("offsets", "words"))
            run = PackedSlice(batch.column("first_ms")[0].as_py(), offsets, words)
            told = tuple(int(self._runs[column][index]) for column in RUN_COLUMNS)
            fits = told == (run.first_ms, run.first_ms + len(offsets) - 1, len(words))
            if not fits or offsets[0] != 0 or offsets[-1] != len(words) or (np.diff(offsets) < 0).any():
                raise self._damaged(f"batch {index}: its time index does not fit its events")
            self._touched[index] = run
        return self._touched[index]

    @cached_property
    def _runs(self) -> dict[str, Any]:
        """Of each run the first millisecond and the one after its last, neither ever falling, and its events."""
        runs = self._contents("runs", RUN_COLUMNS)
        starts_ms, ends_ms = runs["first_ms"], runs["end_ms"]
        sound = (starts_ms < ends_ms).all() and (np.diff(starts_ms) >= 0).all() and (np.diff(ends_ms) >= 0).all()
        if len(starts_ms) != self._reader.num_record_batches - 1 or not sound:
            raise self._damaged("its list of runs does not fit them")
        if runs["events"].sum() != self.event_count:
            raise self._damaged("it does not hold the events the manifest counts")
        return runs

    def _contents(self, name: str, columns: tuple[str, ...]) -> dict[str, Any]:
        fields = self._last.column(name).values.flatten()
        return {column: values.to_numpy() for column, values in zip(columns, fields, strict=True)}

    @cached_property
    def _last(self) -> Any:
        return self._batch(self._reader.num_record_batches - 1)

    def _batch(self, index: int) -> Any:
        where = f"batch {index}"
        try:
            batch = self._reader.get_batch(index)
            batch.validate()
            found = checksum(batch) if batch.num_rows == 1 else None
        except (OSError, ValueError, pa.ArrowException) as error:
            raise self._damaged(f"{where}: {error}") from None
        if found is None or found != batch.column("crc32")[0].as_py():
            raise self._damaged(f"{where}: its checksum does not fit what it holds")
        return batch

    @cached_property
    def _reader(self) -> Any:
        try:
            # The buffer keeps the mapping; the file itself is closed, for a dataset may have more shards than a
            # process may have files open.
            with pa.memory_map(str(self.path)) as file:
                reader = pa.ipc.open_file(pa.BufferReader(file.read_buffer()))
        except (OSError, pa.ArrowException) as error:
            raise self._damaged(str(error)) from None
        if not reader.num_record_batches or not reader.schema.equals(schema(self.entry.words), check_metadata=True):
            raise self._damaged("its columns are not those of a shard")
        return reader

    def _damaged(self, reason: str) -> DatasetError:
        return DatasetError(
            f"{self.path}: the shard is damaged: {reason}; rebuild it alone: "
            f"spiketune ingest SOURCE DATASET --rebuild {self.split}/{self.name}"
        )
