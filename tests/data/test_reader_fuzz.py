"""Damaged and hostile recordings end in an error that names the file, or in sound events; never in a crash.

The damage is done and read in processes of its own (reader_fuzzing.py), so that a crash is seen as one.
"""

import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from data.boxes import label_set
from data.errors import RecordingError
from data.formats.dat import DatRecording
from data.formats.etram import EtramRecording
from data.formats.faery_recording import FaeryRecording
from data.formats.prophesee_boxes import read_boxes
from data.formats.recording import Recording
from data.formats.rvt import RvtRecording

ROOT = Path(__file__).parents[2]
MEMORY_KIB = 1 << 20
IN_PROCESS = ("hdf5", "dat1", "dat2", "rvt", "pedro", "boxes")
IN_CHILD = ("evt2", "evt3", "aedat4", "es")  # decoded by faery: a process for each file


@pytest.fixture(scope="module")
def outcomes() -> dict[str, dict[str, Any]]:
    """What came of damaged recordings of each kind; fails where the process died, naming the case."""
    counts = [*(f"{kind}=25" for kind in IN_PROCESS), *(f"{kind}=2" for kind in IN_CHILD)]
    run = subprocess.run(
        [sys.executable, Path(__file__).with_name("reader_fuzzing.py"), "5", *counts],
        capture_output=True, text=True, timeout=400, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    said = [json.loads(line) for line in run.stdout.splitlines()]
    assert run.returncode == 0, f"died with {run.returncode} at {said[-1:]}: {run.stderr[-2000:]}"
    broken = [line for line in said if line.get("outcome", "").startswith("broke")]
    assert not broken, broken[:3]
    return {line["kind"]: line for line in said if "kind" in line}


@pytest.mark.parametrize("kind", IN_PROCESS + IN_CHILD)
def test_damage_ends_in_an_error_that_names_the_file_or_in_sound_events(
    kind: str, outcomes: dict[str, dict[str, Any]]
) -> None:
    counted = outcomes[kind]["outcomes"]
    assert counted.get("error", 0) >= 2  # the empty file, and that of one byte
    assert counted.get("events", 0) + counted.get("boxes", 0) >= 1  # the sound one
    assert outcomes[kind]["memory_kib"] < MEMORY_KIB


def drain(recording: Recording) -> int:
    return sum(len(events) for events, _ in recording.chunks())


def write_h5(path: Path, changed: dict[str, dict[str, Any]], count: int = 3) -> h5py.File:
    """An HDF5 file, open, whose columns are created with other settings where some are named."""
    file = h5py.File(path, "w")
    for key in "txyp":
        settings = {"data": np.arange(count) % 2} | changed.get(key, {})
        file.create_dataset(f"events/{key}", **settings)
    return file


@pytest.mark.parametrize("filters", [{"compression": "gzip"}, {"compression": "lzf"}, {}])
def test_an_hdf5_file_that_says_it_has_a_trillion_rows_ends_at_once(tmp_path: Path, filters: dict[str, Any]) -> None:
    lie = {"data": None, "shape": (10**12,), "dtype": "i8", "chunks": (1000,) if filters else None, **filters}
    write_h5(tmp_path / "a.h5", dict.fromkeys("txyp", lie)).close()
    with pytest.raises(RecordingError, match=r"a\.h5: /events/t says it has 1000000000000 rows, but not all"):
        drain(EtramRecording(tmp_path / "a.h5"))


def test_an_hdf5_chunk_of_a_gigabyte_is_refused(tmp_path: Path) -> None:
    lie: dict[str, Any] = {"data": None, "shape": (10,), "maxshape": (None,), "dtype": "i8", "chunks": (1 << 27,)}
    write_h5(tmp_path / "a.h5", dict.fromkeys("txyp", lie)).close()
    with pytest.raises(RecordingError, match=r"/events/t is stored in chunks of 134217728, but at most 128 MiB"):
        drain(EtramRecording(tmp_path / "a.h5"))


@pytest.mark.parametrize("megabytes", [1, 140])
def test_a_gzip_chunk_that_unpacks_to_more_than_it_may_is_named(tmp_path: Path, megabytes: int) -> None:
    packing = zlib.compressobj(9)
    bomb = b"".join(packing.compress(bytes(1 << 20)) for _ in range(megabytes)) + packing.flush()
    with write_h5(tmp_path / "a.h5", {"x": {"compression": "gzip", "chunks": (100,)}}, 100) as file:
        file["events/x"].id.write_direct_chunk((0,), bomb)
    with pytest.raises(RecordingError, match=r"a\.h5: /events/x, row 0: the chunk unpacks to more than its 800 bytes"):
        drain(EtramRecording(tmp_path / "a.h5"))


def test_times_that_all_go_backward_are_raised_and_counted(tmp_path: Path) -> None:
    write_h5(tmp_path / "a.h5", {"t": {"data": np.arange(100)[::-1]}}, 100).close()
    chunks = list(EtramRecording(tmp_path / "a.h5").chunks())
    assert [events.t.tolist() for events, _ in chunks] == [[99] * 100]
    assert chunks[0][1].backward_times == 99


def test_an_enormous_gap_of_time_is_read_at_once(tmp_path: Path) -> None:
    times = [0, 1, 2**62]
    write_h5(tmp_path / "a.h5", {"t": {"data": np.array(times)}}).close()
    assert [events.t.tolist() for events, _ in EtramRecording(tmp_path / "a.h5").chunks()] == [times]


EVT2_HEAD = b"% evt 2.0\n% geometry 64x48\n% end\n"


def test_a_raw_clock_that_leaps_hours_is_read_at_once(tmp_path: Path) -> None:
    words = [8 << 28 | 1, 5 << 22, 8 << 28 | (1 << 28) - 1, 5 << 22]  # 64 µs; then 2^34 - 64 µs
    (tmp_path / "a.raw").write_bytes(EVT2_HEAD + np.array(words, "<u4").tobytes())
    assert [events.t.tolist() for events, _ in FaeryRecording(tmp_path / "a.raw").chunks()] == [[69, 2**34 - 59]]


def test_events_outside_the_named_geometry_of_raw_end_in_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(EVT2_HEAD + np.array([64 << 11], "<u4").tobytes())
    with pytest.raises(RecordingError, match=r"a\.raw: cannot be decoded after 0 events \(x overflow"):
        drain(FaeryRecording(tmp_path / "a.raw"))


@pytest.fixture
def aedat4(tmp_path: Path) -> Path:
    """A sound file of one packet, written by faery."""
    faery = pytest.importorskip("faery")
    rows = np.array([(5, 1, 2, True)], faery.EVENTS_DTYPE)
    faery.events_stream_from_array(rows, (64, 48)).to_file(tmp_path / "a.aedat4", zero_t0=False)
    return tmp_path / "a.aedat4"


def test_an_aedat4_header_that_makes_the_decoder_abort_is_an_error(aedat4: Path) -> None:
    content = bytearray(aedat4.read_bytes())
    (length,) = struct.unpack_from("<I", content, 14)
    struct.pack_into("<I", content, 18, length * 3)  # where in the header its table begins: far behind its end
    aedat4.write_bytes(content)
    with pytest.raises(RecordingError, match=r"a\.aedat4: cannot be decoded after 0 events"):
        drain(FaeryRecording(aedat4))


def test_an_aedat4_packet_of_four_gigabytes_is_an_error(aedat4: Path) -> None:
    content = bytearray(aedat4.read_bytes())
    (length,) = struct.unpack_from("<I", content, 14)
    struct.pack_into("<I", content, 18 + length + 4, 2**32 - 1)
    aedat4.write_bytes(content)
    with pytest.raises(RecordingError, match=r"a\.aedat4: .*the decoder died .*memory allocation of 4294967295 bytes"):
        drain(FaeryRecording(aedat4))


def test_a_dat_header_without_end_is_no_dat_file(tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_bytes(b"% Version 2\n" * 100_000)
    with pytest.raises(RecordingError, match=r"a\.dat: "):
        drain(DatRecording(tmp_path / "a.dat"))


def test_box_rows_that_lie_about_their_number_are_an_error(tmp_path: Path) -> None:
    header = b"{'descr': [('t', '<i8')], 'fortran_order': False, 'shape': (1000000000000,), }"
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + header.ljust(117) + b"\n" + bytes(80)
    (tmp_path / "a_bbox.npy").write_bytes(content)
    with pytest.raises(RecordingError, match=r"a_bbox\.npy: "):
        read_boxes(tmp_path / "a_bbox.npy", label_set("gen1"))


def test_rvt_windows_that_were_never_written_or_are_too_large_are_an_error(tmp_path: Path) -> None:
    frames = tmp_path / "event_representations_v2" / "stacked_histogram_dt=50_nbins=2"
    frames.mkdir(parents=True)
    np.save(frames / "timestamps_us.npy", np.arange(1, 4) * 50_000)
    for shape, message in (((3, 4, 48, 64), "says it has 3 rows"), ((3, 4, 65536, 65536), "is more than 256 MiB")):
        with h5py.File(frames / "event_representations.h5", "w") as file:
            file.create_dataset("data", shape, np.uint8, chunks=(1, 4, 48, 64))
        with pytest.raises(RecordingError, match=rf"event_representations\.h5: .*{message}"):
            drain(RvtRecording(tmp_path, label_set("gen1")))
