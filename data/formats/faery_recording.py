"""RAW (EVT2, EVT3), AEDAT4 and ES recordings, decoded by faery in a process that may die of a damaged file."""

import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np

from data.errors import RecordingError
from data.events import Column, Events, Repairs, SensorSize, mend_chunks
from data.formats import faery_child
from data.formats.faery_child import COLUMNS, COUNT, DONE, FAILED, SIZE
from data.formats.raw_header import read_raw_header
from data.formats.recording import settled_size

FILE_TYPES = {".raw": "evt", ".aedat4": "aedat", ".es": "es"}
PIPE_BYTES = 1 << 20  # so that decoding and mending go on side by side
SILENCE_S = 120.0  # without a byte from the decoder: it hangs, and so does no disk


@dataclass(frozen=True)
class FaeryRecording:
    """NAME.raw, NAME.aedat4 or NAME.es.

    faery raises times that lie behind their predecessor itself, so they are not counted as repairs, and refuses files
    with events outside the geometry. Of an AEDAT4 file with several event streams it reads the first.
    """

    path: Path
    given_size: SensorSize | None = None

    @property
    def name(self) -> str:
        """The file's name without its ending and without _td."""
        return self.path.stem.removesuffix("_td") or self.path.stem

    @cached_property
    def size(self) -> SensorSize:
        """The sensor, from the header, else the given one.

        Raises:
            RecordingError: the file is damaged, or names no geometry and none is given.
        """
        if self._file_type == "evt":
            return settled_size(self.path, read_raw_header(self.path).size, self.given_size)
        with closing(_Decoder(self.path, self._arguments())) as decoder:
            return settled_size(self.path, decoder.size, self.given_size)

    @property
    def row_count(self) -> None:
        """Not known without decoding."""

    def chunks(self) -> Iterator[tuple[Events, Repairs]]:
        """The events in time order, mended, some half a million at a time.

        Raises:
            RecordingError: the file is damaged, of an unknown kind, or lacks its geometry.
        """
        with closing(_Decoder(self.path, self._arguments())) as decoder:
            size = self.size if self._file_type == "evt" else settled_size(self.path, decoder.size, self.given_size)
            yield from mend_chunks(decoder.columns(), size, str(self.path))

    def boxes(self) -> None:
        """None: these formats carry no labels."""

    @property
    def _file_type(self) -> str:
        return FILE_TYPES[self.path.suffix.lower()]

    def _arguments(self) -> dict[str, Any]:
        fallbacks: dict[str, Any] = {}
        if self._file_type == "evt":
            fallbacks = {"size": self.size, "version_fallback": read_raw_header(self.path).encoding}
        return {"path": str(self.path), "file_type": self._file_type} | fallbacks


class _Decoder:
    """A process that decodes one file: its geometry at once, its packets on demand."""

    def __init__(self, path: Path, arguments: dict[str, Any]) -> None:
        self._path = path
        self._events = 0  # decoded so far
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it
        try:
            # -P: the folder of the file that is run, this one, must not stand in for libraries of like names.
            self._process = subprocess.Popen(  # noqa: S603 - our own file, run by our own interpreter
                [sys.executable, "-P", faery_child.__file__, json.dumps(arguments)],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._said, pipesize=PIPE_BYTES,
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "RUST_BACKTRACE": "0"},
            )  # fmt: skip
        except BaseException:
            self._said.close()
            raise
        try:
            self.size = self._read_size()
        except BaseException:
            self.close()
            raise

    def columns(self) -> Iterator[tuple[Column, Column, Column, Column]]:
        """The columns t, x, y, p of some half a million events at a time.

        Raises:
            RecordingError: the file is damaged; names how many events came before.
        """
        while (count := int(COUNT.unpack(self._read(COUNT.size))[0])) != DONE:
            if count == FAILED:
                raise self._error(self._read_rest())
            t, x, y, p = (self._read_column(count, dtype) for dtype in COLUMNS.values())
            yield t, x, y, p
            self._events += count

    def close(self) -> None:
        """End the process, done or not."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._said.close()

    def _read_size(self) -> SensorSize:
        first = self._read(SIZE.size)
        if COUNT.unpack(first)[0] == FAILED:
            raise self._error(self._read_rest())
        return SensorSize(*SIZE.unpack(first))

    def _read_column(self, count: int, dtype: np.dtype[np.integer]) -> Column:
        column = np.empty(count, dtype)
        self._read_into(column.view(np.uint8).data)
        return column

    def _read(self, wanted: int) -> bytes:
        content = bytearray(wanted)
        self._read_into(memoryview(content))
        return bytes(content)

    def _read_into(self, content: memoryview) -> None:
        while content:
            read = self._read_some(content)
            if not read:
                raise self._error(self._cause_of_death())
            content = content[read:]

    def _read_rest(self) -> str:
        content = memoryview(bytearray(1 << 12))
        read = 0
        while read < len(content) and (more := self._read_some(content[read:])):
            read += more
        return bytes(content[:read]).decode(errors="replace")

    def _read_some(self, content: memoryview) -> int:
        pipe = self._process.stdout
        assert pipe is not None, "Popen was given PIPE"
        if not select.select([pipe], [], [], SILENCE_S)[0]:
            raise self._error(f"the decoder gave nothing for {SILENCE_S:g} s")
        return os.readv(pipe.fileno(), [content])

    def _cause_of_death(self) -> str:
        code = self._process.wait()
        self._said.seek(0)
        lines = self._said.read(1 << 16).decode(errors="replace").splitlines()
        said = " ".join(line for line in lines if line.strip() and not line.startswith("note:"))[:300]
        return f"the decoder died with code {code}{f': {said}' if said else ''}"

    def _error(self, said: str) -> RecordingError:
        return RecordingError(
            f"{self._path}: cannot be decoded after {self._events} events ({said}); "
            "it is damaged or of an unknown kind: fetch or export it again"
        )
