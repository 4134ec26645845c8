"""Damaged recordings of every format, read in this process; run as a file, so that a test can see it die.

    python tests/data/reader_fuzzing.py SEED FORMAT=COUNT ...

prints one JSON object a line: before each case its name, after it what came of it.
"""

import json
import random
import re
import resource
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faery
import h5py
import hdf5plugin
import numpy as np
import numpy.typing as npt

from data.boxes import BOX_DTYPE, label_set
from data.errors import RecordingError
from data.events import SensorSize
from data.formats.dat import DatRecording
from data.formats.etram import EtramRecording
from data.formats.faery_recording import FaeryRecording
from data.formats.pedro import PedroRecording
from data.formats.prophesee_boxes import read_boxes
from data.formats.recording import Recording
from data.formats.rvt import RvtRecording

REAL_AEDAT4 = Path(__file__).parents[3] / "shared" / "recordings" / "raw" / "davis.aedat4"
LABELS = label_set("gen1")
SIZE = SensorSize(64, 48)
EVENTS = 400
SECONDS = 60  # one case; the first of a kind compiles its reader, and the machine may be busy
MEMORY_KIB = 1 << 20


def columns() -> dict[str, npt.NDArray[np.int64]]:
    rng = np.random.default_rng(3)
    return {
        "t": np.sort(rng.integers(1000, 90_000, EVENTS)),
        "x": rng.integers(0, SIZE.width, EVENTS),
        "y": rng.integers(0, SIZE.height, EVENTS),
        "p": rng.integers(0, 2, EVENTS),
    }


def write_hdf5(path: Path) -> None:
    path = path.with_suffix(".h5")
    with h5py.File(path, "w") as file:
        gzip = {"compression": "gzip"}
        filters: tuple[Any, ...] = (gzip, {"shuffle": True, **gzip}, hdf5plugin.Blosc(), {})
        for (key, values), storage in zip(columns().items(), filters, strict=True):
            dtype = {"t": np.int64, "p": np.int16}.get(key, np.uint16)
            chunked = {} if not storage else {"chunks": (100,), **storage}
            file.create_dataset(f"events/{key}", data=values.astype(dtype), **chunked)
        file["width"], file["height"] = SIZE


def dat_bytes(version: int) -> bytes:
    c = columns()
    shifts = {1: (9, 17), 2: (14, 28)}[version]
    words = np.stack([c["t"], c["x"] | c["y"] << shifts[0] | c["p"] << shifts[1]], axis=1).astype("<u4")
    head = f"% Data file\n% Version {version}\n% Width {SIZE.width}\n% Height {SIZE.height}\n"
    return head.encode() + b"\x00\x08" + words.tobytes()


def raw_head(encoding: str) -> bytes:
    text = f"% evt {encoding}\n% format EVT{encoding[0]};height=48;width=64\n% geometry 64x48\n% end\n"
    return text.encode()


def evt2_bytes() -> bytes:
    words = []
    for t, x, y, p in zip(*columns().values(), strict=True):
        words += [0x8 << 28 | int(t) >> 6, int(p) << 28 | (int(t) & 63) << 22 | int(x) << 11 | int(y)]
    return raw_head("2.0") + np.array(words, "<u4").tobytes()


def evt3_bytes() -> bytes:
    words = []
    for t, x, y, p in zip(*columns().values(), strict=True):
        words += [0x8000 | int(t) >> 12, 0x6000 | int(t) & 0xFFF, int(y), 0x2000 | int(p) << 11 | int(x)]
    return raw_head("3.0") + np.array(words, "<u2").tobytes()


def es_bytes() -> bytes:
    content = b"Event Stream\x02\x00\x00\x01" + struct.pack("<HH", *SIZE)
    now = 0
    for t, x, y, p in zip(*columns().values(), strict=True):
        gap = int(t) - now
        content += b"\xff" * (gap // 127) + bytes([gap % 127 << 1 | int(p)]) + struct.pack("<HH", int(x), int(y))
        now = int(t)
    return content


def write_aedat4(path: Path) -> None:
    if REAL_AEDAT4.exists():  # many packets, of a camera
        path.write_bytes(REAL_AEDAT4.read_bytes())
        return
    rows = np.zeros(EVENTS, faery.EVENTS_DTYPE)
    for key, values in columns().items():
        rows[key] = values
    faery.events_stream_from_array(rows, SIZE).to_file(path, zero_t0=False)


def write_rvt(folder: Path) -> None:
    frames = folder / "event_representations_v2" / "stacked_histogram_dt=50_nbins=2"
    frames.mkdir(parents=True)
    (folder / "labels_v2").mkdir()
    counts = np.random.default_rng(1).integers(0, 3, (3, 4, 12, 16)).astype(np.uint8)
    with h5py.File(frames / "event_representations_ds2_nearest.h5", "w") as file:
        file.create_dataset("data", data=counts, chunks=(1, 4, 12, 16), **hdf5plugin.Blosc(cname="zstd"))
    np.save(frames / "timestamps_us.npy", np.array([50_000, 100_000, 200_000]))
    rows = np.array([(100_000, 2, 4, 8, 6, 1, 5, 1)], BOX_DTYPE)
    np.savez(folder / "labels_v2" / "labels.npz", labels=rows, objframe_idx_2_label_idx=np.array([0]))


def build(kind: str, folder: Path) -> tuple[list[Path], Callable[[], Recording | Path]]:
    """Write a sound recording; its files, and how it is opened."""
    events = {"dat1": dat_bytes, "dat2": dat_bytes, "evt2": evt2_bytes, "evt3": evt3_bytes, "es": es_bytes}
    if kind == "hdf5":
        write_hdf5(folder / "a")
        return [folder / "a.h5"], lambda: EtramRecording(folder / "a.h5")
    if kind == "rvt":
        write_rvt(folder / "a")
        return sorted(path for path in folder.rglob("*") if path.is_file()), lambda: RvtRecording(folder / "a", LABELS)
    if kind == "pedro":
        np.save(folder / "a.npy", np.stack(list(columns().values()), axis=1))
        return [folder / "a.npy"], lambda: PedroRecording(folder / "a.npy", None, label_set("pedro"))
    if kind == "boxes":
        np.save(folder / "a_bbox.npy", np.array([(i, 1, 2, 3, 4, i % 2, 7, 1) for i in range(50)], BOX_DTYPE))
        return [folder / "a_bbox.npy"], lambda: folder / "a_bbox.npy"
    path = folder / {"dat1": "a.dat", "dat2": "a.dat", "es": "a.es", "aedat4": "a.aedat4"}.get(kind, "a.raw")
    if kind == "aedat4":
        write_aedat4(path)
    else:
        path.write_bytes(events[kind](int(kind[3])) if kind.startswith("dat") else events[kind]())  # type: ignore[operator]
    return [path], lambda: DatRecording(path) if kind.startswith("dat") else FaeryRecording(path)


LIES = (
    b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\0\0\0\x80", b"1000000000",
    b"999999999999999999999", b"0",
)  # fmt: skip


def damaged(content: bytes, rng: random.Random) -> tuple[str, bytes]:
    """One way of damage: cut, bits flipped anywhere or near the start, a lie written over a place, a run zeroed."""
    changed = bytearray(content)
    start = min(len(content), rng.choice([64, 600, 2400]))
    way = rng.choice(["cut", "flip", "flip start", "lie", "zero", "double", "random"])
    if way == "cut":
        return way, content[: rng.randrange(len(content))]
    if way == "double":
        return way, content[: rng.randrange(len(content))] + content
    if way == "random":
        return way, content[:start] + rng.randbytes(len(content) - start)
    for _ in range(rng.choice([1, 1, 2, 10])):
        if way == "lie":
            lie = rng.choice([*LIES, rng.randbytes(4)])
            place = rng.randrange(start)
            changed[place : place + len(lie)] = lie
        elif way == "zero":
            place = rng.randrange(len(content))
            changed[place : place + 40] = bytes(len(changed[place : place + 40]))
        else:
            changed[rng.randrange(start if way == "flip start" else len(content))] ^= 1 << rng.randrange(8)
    return way, bytes(changed)


def judge(opened: Recording | Path) -> str:
    """What came of a recording: `error` or `events`; AssertionError where it breaks a promise."""
    folder = str(opened if isinstance(opened, Path) else getattr(opened, "folder", opened.path))
    try:
        if isinstance(opened, Path):
            return "boxes" if len(read_boxes(opened, LABELS)) >= 0 else ""
        boxes, latest = opened.boxes(), None
        assert boxes is None or np.isfinite(boxes.xywh).all()
        for events, repairs in opened.chunks():
            size = opened.size
            assert ((events.x < size.width) & (events.y < size.height) & (events.p <= 1)).all()
            assert (np.diff(events.t) >= 0).all()
            assert repairs.out_of_frame >= repairs.bit15 >= 0
            if len(events):
                assert latest is None or events.t[0] >= latest
                latest = events.t[-1]
    except RecordingError as error:
        if folder not in str(error):
            raise AssertionError("the error does not name the file") from error
        return "error"
    return "events"


def cases(kind: str, seed: int, count: int, folder: Path) -> Iterator[tuple[str, Callable[[], str]]]:
    """Damaged recordings of one kind, one after the other in the same place."""
    (folder / kind).mkdir()
    files, opened = build(kind, folder / kind)
    sound = {path: path.read_bytes() for path in files}
    yield f"{kind} sound", lambda: judge(opened())
    for path, content in sound.items():
        for name, special in (("empty", b""), ("one byte", content[:1])):
            path.write_bytes(special)
            yield f"{kind} {path.name} {name}", lambda: judge(opened())
        path.write_bytes(content)
    for index in range(count):
        rng = random.Random(f"{seed} {kind} {index}")
        path = rng.choice(files)
        way, content = damaged(sound[path], rng)
        path.write_bytes(content)
        yield f"{kind} {path.name} {way} {index}", lambda: judge(opened())
        path.write_bytes(sound[path])


def say(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    seed, counts = int(sys.argv[1]), dict(kind.split("=") for kind in sys.argv[2:])
    with tempfile.TemporaryDirectory() as folder:
        for kind, count in counts.items():
            outcomes: Counter[str] = Counter()
            for name, run in cases(kind, seed, int(count), Path(folder)):
                say(begin=name)
                begun = time.monotonic()
                try:
                    outcome = run()
                except BaseException:  # noqa: BLE001 - whatever it is, it is the finding
                    outcome = f"broke: {traceback.format_exc(limit=-3)}"
                if time.monotonic() - begun > SECONDS:
                    outcome = f"broke: took {time.monotonic() - begun:.0f} s"
                outcomes[outcome.split(":")[0]] += 1
                if outcome.startswith("broke") or name.endswith("sound"):
                    say(case=name, outcome=outcome)
            memory = max(own_peak_kib(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
            say(kind=kind, outcomes=outcomes, memory_kib=memory)


def own_peak_kib() -> int:
    """Not getrusage's: that begins with the peak of the process which started this one."""
    peak = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    return int(peak[1])


if __name__ == "__main__":
    main()
