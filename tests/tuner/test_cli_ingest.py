"""The `ingest` command: what it shows, and what it tells when it ends."""

import io
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from data.boxes import BOX_DTYPE
from data.ingest.progress import IngestProgress
from tuner.cli import main
from tuner.ingest_display import IngestDisplay


def write_recording(source: Path, name: str, y: int = 5, p: int = 1) -> None:
    """Two events, and a box that the frame cuts."""
    folder = source / "HDF5" / "train_h5_1"
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / f"{name}_td.h5", "w") as file:
        for key, values in {"t": [1, 2_000_000], "x": [3, 4], "y": [5, y], "p": [0, p]}.items():
            file[f"events/{key}"] = np.array(values)
    np.save(folder / f"{name}_bbox.npy", np.array([(1, -5, 10, 20, 10, 1, 1, 1)], BOX_DTYPE))


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["spiketune", "ingest", *(str(argument) for argument in arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_the_command_tells_each_recording_and_what_was_repaired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_recording(tmp_path / "source", "a", y=33_014)
    target = tmp_path / "target"
    assert run(monkeypatch, tmp_path / "source", target, "--labels", "etram3") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("1/1 train/a: 1 events (")
    assert lines[1:] == [
        f"1 recordings (1 train), 1 events, 1 boxes in {target}; classes: pedestrian, vehicle, micromobility",
        "  a: 1 events outside the sensor dropped (1 by a flipped bit 15)",
        "  a: 1 boxes cut to the frame",
        f"next: spiketune search search_spaces/quickstart.yaml --data {target}",
    ]
    assert run(monkeypatch, tmp_path / "source", target) == 0
    assert "the dataset is complete: every recording of the source is in it" in capsys.readouterr().out


def test_damage_ends_with_code_2_and_may_be_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_recording(tmp_path / "source", "a")
    write_recording(tmp_path / "source", "b", p=7)
    arguments = (tmp_path / "source", tmp_path / "target", "--labels", "etram3")
    assert run(monkeypatch, *arguments) == 2
    said = capsys.readouterr()
    assert "spiketune: 1 of 2 recordings could not be ingested; the others are done and kept" in said.err
    assert "b_td.h5: row 1: polarity p=7" in said.out  # as soon as it is found
    assert run(monkeypatch, *arguments, "--skip-damaged") == 0
    assert "left out train/b: HDF5/train_h5_1/b_td.h5: row 1: polarity p=7" in capsys.readouterr().out


def test_a_line_tells_of_a_long_recording_every_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("tuner.ingest_display.time.monotonic", lambda: clock[0])
    stream = io.StringIO()
    with IngestDisplay(stream) as display:
        for second in range(0, 31, 3):
            clock[0] = float(second)
            display(IngestProgress(2, 9, second * 10**6, 1e6, 0.5, 7_260.0))
    assert stream.getvalue().splitlines() == [
        "2/9 recordings, 12,000,000 events read (1.0 M events/s, 2 h 1 min left)",
        "2/9 recordings, 24,000,000 events read (1.0 M events/s, 2 h 1 min left)",
    ]
