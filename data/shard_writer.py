"""Writing a shard: a stream of events becomes record batches of whole milliseconds, in bounded memory."""

from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa

from data.boxes import Boxes
from data.events import Events
from data.packing import pack
from data.shards import SCHEMA

BATCH_EVENTS = 1 << 22  # 16 MB of words
BATCH_MS = 1 << 20  # 8 MB of index, 17 minutes: a longer pause starts a new batch instead of an empty index


def partial_path(path: Path) -> Path:
    """The name a file has until it is whole."""
    return path.with_name(f".{path.name}.partial")


class ShardWriter:
    """Writes one shard under a temporary name, and gives it its own when the `with` block ends well."""

    def __init__(self, path: Path, boxes: Boxes, batch_events: int = BATCH_EVENTS, batch_ms: int = BATCH_MS) -> None:
        self.events = 0
        self.first_us = self.last_us = 0
        self._path, self._partial = path, partial_path(path)
        self._boxes = boxes
        self._batch_events, self._batch_ms = batch_events, batch_ms
        self._ms = np.empty(0, np.int64)
        self._words = np.empty(0, np.uint32)

    def __enter__(self) -> "ShardWriter":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._sink = pa.OSFile(str(self._partial), "wb")
        self._writer = pa.ipc.new_file(self._sink, SCHEMA)
        return self

    def write(self, events: Events) -> None:
        """Add events that follow those written before."""
        if not len(events):
            return
        if not self.events:
            self.first_us = int(events.t[0])
        self.last_us = int(events.t[-1])
        self.events += len(events)
        self._ms = np.concatenate([self._ms, events.t // 1000])
        self._words = np.concatenate([self._words, pack(events)])
        while count := self._full_batch():
            self._write_batch(count)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and len(self._ms):
                self._write_batch(len(self._ms))
            self._writer.close()
            self._sink.close()
            if kind is None:
                self._partial.replace(self._path)
        finally:
            self._partial.unlink(missing_ok=True)

    def _full_batch(self) -> int:
        """How many of the waiting events fill a batch; 0 while they are too few or their millisecond may go on."""
        ms = self._ms
        if not len(ms):
            return 0
        end = int(np.searchsorted(ms, ms[0] + self._batch_ms))
        if end > self._batch_events:
            end = int(np.searchsorted(ms, ms[self._batch_events]))
        if end == 0:  # one millisecond holds more than a batch should
            end = int(np.searchsorted(ms, ms[0], "right"))
        return end if end < len(ms) else 0

    def _write_batch(self, count: int) -> None:
        ms, self._ms = self._ms[:count], self._ms[count:]
        words, self._words = self._words[:count], self._words[count:]
        offsets = np.searchsorted(ms, np.arange(ms[0], ms[-1] + 2))
        boxes, self._boxes = self._boxes, Boxes.empty()
        columns = [boxes.t, *boxes.xywh.T.copy(), boxes.class_id, boxes.track_id]
        fields = list(SCHEMA.field("boxes").type.value_type)
        rows = pa.StructArray.from_arrays([pa.array(column) for column in columns], fields=fields)
        row = [pa.array([ms[0]]), *(_one_row(values) for values in (pa.array(offsets), pa.array(words), rows))]
        self._writer.write_batch(pa.record_batch(row, schema=SCHEMA))


def _one_row(values: pa.Array) -> pa.Array:
    return pa.LargeListArray.from_arrays([0, len(values)], values)
