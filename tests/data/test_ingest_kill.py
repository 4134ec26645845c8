"""An ingestion that is killed at any moment goes on when it is run again, and ends with the same bytes."""

import os
import signal
import subprocess
import sys
import time
from glob import glob  # pathlib's stumbles over folders that go while it looks
from pathlib import Path

import h5py
import numpy as np
import pytest

from data.ingest.ingest import IngestOptions, ingest

ROOT = Path(__file__).parents[2]
RECORDINGS = 8
PROGRAM = """
import sys
from data.ingest.ingest import IngestOptions, ingest
ingest(sys.argv[1], sys.argv[2], IngestOptions(labels="etram3", processes=2))
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    random = np.random.default_rng(0)
    for number in range(RECORDINGS):
        path = folder / "HDF5" / f"{'train' if number % 2 else 'val'}_h5_1" / f"r{number}_td.h5"
        path.parent.mkdir(parents=True, exist_ok=True)
        count = 400_000
        with h5py.File(path, "w") as file:
            file["events/t"] = np.sort(random.integers(0, 10**6, count))
            file["events/x"] = random.integers(0, 1280, count).astype(np.uint16)
            file["events/y"] = random.integers(0, 720, count).astype(np.uint16)
            file["events/p"] = random.integers(0, 2, count).astype(np.int16)
    return folder


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an ingestion that nobody disturbs gives."""
    target = tmp_path_factory.mktemp("whole")
    ingest(source, target, IngestOptions(labels="etram3"))
    return contents(target)


def contents(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != ".ingest.lock"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(paths)}


def started(source: Path, target: Path) -> "subprocess.Popen[bytes]":
    """An ingestion in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(source), str(target)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )


def wait_for_shards(child: "subprocess.Popen[bytes]", target: Path, count: int) -> None:
    """Until so many shards are done, and another is begun."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and child.poll() is None:
        begun = glob(f"{target}/.ingest/scratch/*/*/*/.*.arrow.partial")  # noqa: PTH207
        if begun and len(list(target.glob("*/*.arrow"))) >= count:
            return
        time.sleep(0.0005)
    assert child.poll() == 0, "the ingestion failed or hung"


def test_an_ingestion_killed_with_its_workers_at_any_moment_ends_with_the_same_bytes(
    source: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    random = np.random.default_rng(3)
    unfinished = 0
    for moment, shards in enumerate((0, 2, 5)):
        target = tmp_path / str(moment)
        with started(source, target) as child:
            wait_for_shards(child, target, shards)
            time.sleep(random.uniform(0, 0.02))
            os.killpg(child.pid, signal.SIGKILL)
        unfinished += not (target / "manifest.json").exists()
        ingest(source, target, IngestOptions(labels="etram3"))
        assert contents(target) == whole
    assert unfinished > 0


def test_the_workers_of_an_ingestion_that_is_killed_alone_end_with_it(
    source: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    target = tmp_path / "target"
    with started(source, target) as child:
        wait_for_shards(child, target, 1)
        child.kill()
    deadline = time.monotonic() + 30
    while group_lives(child.pid):
        assert time.monotonic() < deadline, "a worker outlived the ingestion"
        time.sleep(0.01)
    ingest(source, target, IngestOptions(labels="etram3"))
    assert contents(target) == whole


def group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
