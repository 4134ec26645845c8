"""The decoding process of `faery_recording`: faery in a process of its own, for it aborts on some damaged files.

Run as a file, so it imports nothing of Spiketune. Written to standard output: the width and height as two uint32; then
for each block of events its count as uint64 and its columns; then DONE, or FAILED and why.
"""

import contextlib
import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

SIZE = struct.Struct("<II")
COUNT = struct.Struct("<Q")
COLUMNS: dict[str, np.dtype[np.integer]] = {
    "t": np.dtype(np.int64), "x": np.dtype(np.uint16), "y": np.dtype(np.uint16), "p": np.dtype(np.uint8)
}  # fmt: skip
DONE, FAILED = (1 << 64) - 1, (1 << 64) - 2  # instead of a count
BLOCK_EVENTS = 1 << 19  # written at a time, plus at most a packet
MEMORY_BYTES = 768 << 20  # more than faery takes for any sound file, on top of what its import takes


def main() -> None:
    """Decode the file that the arguments, as JSON, are about."""
    import faery  # here, for those who want the names above need not wait for it

    _limit_memory()
    out = sys.stdout.buffer
    try:
        arguments = json.loads(sys.argv[1])
        fallback = {"dimensions_fallback": tuple(arguments.pop("size"))} if "size" in arguments else {}
        stream = faery.events_stream_from_file(**arguments, **fallback)
        out.write(SIZE.pack(*stream.dimensions()))
        out.flush()
        for packets in _many(stream):
            columns = [
                # Column by column: numpy joins whole rows ten times as slowly.
                np.concatenate([packet[name] for packet in packets]).astype(dtype, copy=False)
                for name, dtype in COLUMNS.items()
            ]
            out.write(COUNT.pack(len(columns[0])))
            for column in columns:
                out.write(column.data)
        out.write(COUNT.pack(DONE))
        out.flush()
    except BrokenPipeError:  # the reader has seen enough
        sys.stderr = None
    except BaseException as error:  # noqa: BLE001 - a panic in Rust is no Exception
        with contextlib.suppress(BrokenPipeError):
            out.write(COUNT.pack(FAILED) + (str(error) or type(error).__name__).encode())
            out.flush()


def _many(packets: Iterator[npt.NDArray[np.void]]) -> Iterator[list[npt.NDArray[np.void]]]:
    """Many packets at once; they are a few thousand events each."""
    held: list[npt.NDArray[np.void]] = []
    for packet in packets:
        held.append(packet)
        if sum(map(len, held)) >= BLOCK_EVENTS:
            yield held
            held = []
    if held:
        yield held


def _limit_memory() -> None:
    try:
        import resource  # here, for not every system has it
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pages = Path("/proc/self/statm")
    if pages.exists():
        now = int(pages.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY_BYTES, now + MEMORY_BYTES))


if __name__ == "__main__":
    main()
