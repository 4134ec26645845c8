"""Writing a shard: a stream of events becomes runs of packed words, in bounded memory."""

import hashlib
import io
import os
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.boxes import Boxes
from data.events import Events
from data.packing import PackedSlice, Packer, Words
from data.shard_schema import checksum, schema
from data.storage import partial_path, sync_folder

RUN_EVENTS = 1 << 22  # 16 or 32 MB of words
RUN_MS = 1 << 17  # 1 MB of index, 2 minutes
PAUSE_MS = 256  # a new run costs about as much as the index of such a pause, 8 bytes a millisecond


class ShardWriter:
    """Writes one shard under a temporary name, and gives it its own when the `with` block ends well."""

    def __init__(self, path: Path, words: Words, run_events: int = RUN_EVENTS, run_ms: int = RUN_MS) -> None:
        self.events = 0
        self.first_us = self.last_us = 0
        self.file_bytes = 0  # of the whole file, as sha256
        self.sha256 = ""
        self._path, self._schema = path, schema(words)
        self._packer = Packer(words, run_events, run_ms, PAUSE_MS)
        self._runs: list[tuple[int, int, int]] = []  # first millisecond, the one after the last, events
        self._boxes = Boxes.empty()

    def __enter__(self) -> "ShardWriter":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = _DigestingFile(partial_path(self._path))
        self._writer = pa.ipc.new_file(self._file, self._schema)
        return self

    def write(self, events: Events) -> None:
        """Add events that follow those written before."""
        if not len(events):
            return
        if not self.events:
            self.first_us = int(events.t[0])
        self.last_us = int(events.t[-1])
        self.events += len(events)
        row = self._packer.fill(events, 0)
        while row < len(events):
            self._write_run(self._packer.take())
            row = self._packer.fill(events, row)

    def write_boxes(self, boxes: Boxes) -> None:
        """Set the labels, sorted by time; may come before, between or after the events."""
        self._boxes = boxes

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._file.close()
            partial_path(self._path).unlink(missing_ok=True)

    def _finish(self) -> None:
        if len(self._packer):
            self._write_run(self._packer.take())
        self._write_contents()
        self._writer.close()
        self._file.sync()
        self.file_bytes, self.sha256 = self._file.bytes, self._file.sha256()
        partial_path(self._path).replace(self._path)
        sync_folder(self._path.parent)

    def _write_run(self, run: PackedSlice) -> None:
        self._runs.append((run.first_ms, run.first_ms + len(run.offsets) - 1, len(run.words)))
        self._write_row(run, Boxes.empty(), np.empty((0, 3), np.int64))

    def _write_contents(self) -> None:
        nothing = PackedSlice(0, np.empty(0, np.int64), np.empty(0, self._packer.dtype))
        self._write_row(nothing, self._boxes, np.array(self._runs, np.int64).reshape(-1, 3))

    def _write_row(self, run: PackedSlice, boxes: Boxes, runs: npt.NDArray[np.int64]) -> None:
        columns = [
            pa.array([run.first_ms]),
            _one_row(pa.array(run.offsets)),
            _one_row(pa.array(run.words)),
            self._structs("boxes", [boxes.t, *boxes.xywh.T.copy(), boxes.class_id, boxes.track_id]),
            self._structs("runs", list(runs.T.copy())),
            pa.array([0], pa.uint32()),
        ]
        columns[-1] = pa.array([checksum(pa.record_batch(columns, schema=self._schema))], pa.uint32())
        self._writer.write_batch(pa.record_batch(columns, schema=self._schema))

    def _structs(self, name: str, columns: list[npt.NDArray[Any]]) -> pa.Array:
        fields = list(self._schema.field(name).type.value_type)
        return _one_row(pa.StructArray.from_arrays([pa.array(column) for column in columns], fields=fields))


class _DigestingFile(io.RawIOBase):
    """A new file whose SHA-256 is known when it is written."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = path.open("wb", buffering=0)  # nothing is left to be written when it is closed after an error
        self._digest = hashlib.sha256()
        self.bytes = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._digest.update(view)
        self.bytes += len(view)
        rest = view
        while rest:
            rest = rest[self._file.write(rest) :]
        return len(view)

    def sync(self) -> None:
        """Wait until the disk has it."""
        os.fsync(self._file.fileno())

    def sha256(self) -> str:
        """Of all that was written, in hexadecimal."""
        return self._digest.hexdigest()

    def close(self) -> None:
        self._file.close()
        super().close()


def _one_row(values: pa.Array) -> pa.Array:
    return pa.LargeListArray.from_arrays([0, len(values)], values)
