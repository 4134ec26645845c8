"""TensorBoard's event file, written by the caller's own thread.

tensorboardX's SummaryWriter has a thread write. Where the disk is full that thread dies, and after ten more events the
training waits for it for ever; so only the library's format is used here.
"""

import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import RecordWriter

FLUSH_S = 10.0
VERSION = "brain.Event:2"  # the first event of a file tells its format


class EventFile:
    """Appends summaries; the file is made with the first one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None
        self._files = 0
        self._flushed = time.monotonic()

    def add(self, summary: Any, step: int) -> None:
        """Write what `tensorboardX.summary` made.

        Raises:
            OSError: it cannot be written; `close` then: its end may be half a record, after which no reader goes on.
        """
        now = time.time()
        if self._writer is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            name = f"events.out.tfevents.{now:.0f}.{socket.gethostname()}.{os.getpid()}.{self._files}"
            self._writer = RecordWriter(str(self._folder / name))
            self._files += 1
            self._writer.write(Event(wall_time=now, file_version=VERSION).SerializeToString())
        self._writer.write(Event(wall_time=now, summary=summary, step=step).SerializeToString())
        if time.monotonic() - self._flushed > FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Bring all to the disk.

        Raises:
            OSError: it cannot be written; as `add`.
        """
        self._flushed = time.monotonic()
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Leave the file, with what is held back as far as there is room; the next summary begins another."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with suppress(OSError):
                writer.close()
