"""The audit's command: exit codes, a table and findings for people, JSON alone on stdout for machines."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from data.boxes import BOX_DTYPE
from data.errors import InputError
from tuner.cli_audit import audit

app = typer.Typer()
app.command()(audit)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def write(root: Path, split: str, seed: int, until_us: int = 500_000) -> Path:
    folder = root / "HDF5" / f"{split}_h5_1"
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    path = folder / f"{split}_day_0001_td.h5"
    with h5py.File(path, "w") as file:
        file["events/t"] = np.sort(random.integers(0, until_us, 20_000))
        file["events/x"], file["events/y"] = (random.integers(0, side, 20_000).astype(np.uint16) for side in (64, 48))
        file["events/p"] = random.integers(0, 2, 20_000).astype(np.int16)
        file["events/width"], file["events/height"] = 64, 48
    rows = [(t, 20 * track, 10, 8, 8, track, track, 1.0) for t in range(50_000, 500_000, 50_000) for track in range(3)]
    np.save(folder / f"{split}_day_0001_bbox.npy", np.array(rows, BOX_DTYPE))
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for seed, split in enumerate(("train", "val", "test")):
        write(tmp_path, split, seed)
    return tmp_path


def test_sound_recordings_end_with_0_and_a_line_of_counts(tree: Path) -> None:
    done = run(tree, "--labels", "etram3")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[-1] == "3 recordings, 60,000 events: 0 errors, 0 warnings, 0 notes"
    assert "train: 1 recording; boxes of 'etram3': pedestrian 9, vehicle 9, micromobility 9" in lines
    assert any("train/train_day_0001" in line and "20,000" in line for line in lines)
    assert any(line.startswith("ingested: about 0.2 MiB") for line in lines)
    assert sorted(done.stderr.splitlines())[0].startswith("1/3 ")


def test_an_error_ends_with_1_and_stands_before_the_warnings_each_with_its_remedy(tree: Path) -> None:
    path = tree / "HDF5" / "val_h5_1" / "val_day_0001_td.h5"
    path.write_bytes(path.read_bytes()[:100])
    with h5py.File(tree / "HDF5" / "train_h5_1" / "train_day_0001_td.h5", "a") as file:
        file["events/p"][...] = 1
    done = run(tree, "--labels", "etram3")
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    order = [lines.index(line) for line in ("errors", "  unreadable", "warnings", "  one-polarity")]
    assert order == sorted(order)
    assert any(line.startswith("    -> fetch the file again") for line in lines)
    assert any(line == "    train/train_day_0001: 100.0% of its events are ON" for line in lines)
    assert lines[-1] == "3 recordings, 40,000 events: 1 error, 1 warning, 0 notes"


def test_json_is_alone_on_stdout_and_tells_all(tree: Path) -> None:
    with h5py.File(tree / "HDF5" / "train_h5_1" / "train_day_0001_td.h5", "a") as file:
        file["events/y"][7] = 33_014
    done = run(tree, "--labels", "etram3", "--json")
    assert done.exit_code == 0
    printed = json.loads(done.stdout)
    assert printed.keys() == {"summary", "recordings", "findings"}
    assert printed["summary"]["findings"] == {"error": 0, "warning": 0, "note": 1}
    assert printed["summary"]["events"] == 59_999
    assert printed["summary"]["boxes"]["val"] == {"pedestrian": 9, "vehicle": 9, "micromobility": 9}
    assert [one["name"] for one in printed["recordings"]] == ["train_day_0001", "val_day_0001", "test_day_0001"]
    assert printed["recordings"][0]["events"]["repairs"] == {
        "out_of_frame": 1, "backward_times": 0, "signed_polarity": False, "bit15": 1
    }  # fmt: skip
    (finding,) = printed["findings"]
    assert finding.keys() == {"severity", "code", "recording", "what", "remedy"}
    assert (finding["severity"], finding["code"], finding["recording"]) == (
        "note", "out-of-frame", "train/train_day_0001"
    )  # fmt: skip


def test_markup_in_a_name_is_printed_as_it_is(tmp_path: Path) -> None:
    path = write(tmp_path, "train", 0)
    for one in path.parent.iterdir():
        one.rename(one.with_name(one.name.replace("train_day_0001", "a[red]b")))
    done = run(tmp_path, "--labels", "etram3")
    assert "train/a[red]b" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere"], "nowhere"),
        ([".", "--labels", "etram9"], "did you mean"),
        ([".", "--size", "wide"], "WIDTHxHEIGHT"),
        ([".", "--split", "dev"], "8:1:1"),
    ],
)
def test_wrong_input_is_an_input_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert isinstance(done.exception, InputError)  # for which `main` ends with 2
    assert says in str(done.exception)
    assert done.stdout == ""
