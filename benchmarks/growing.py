"""How ingestion, windows and opening grow with the data: linear, linear, and hardly."""

import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.reading import windows
from benchmarks.recordings import recording
from benchmarks.table import Row, limit
from benchmarks.timing import medians
from data.dataset import Dataset
from data.manifest import MANIFEST, Manifest, Split, shard_path
from data.storage import open_storage

SHARDS = 10_000
MEMORY_BYTES = 2 << 30
SLOWER = 1.5  # so many times as long for the same work would be more than noise
# The words of 10^6 events fit into a processor's cache, those of 10^7 come from memory.
SLOWER_WINDOW = 3.0
# A process of its own, so that its peak is the ingestion's. Not getrusage's: that begins with the peak of this process.
INGEST = """
import re, sys, time
from pathlib import Path
from data.ingest.ingest import IngestOptions, ingest
start = time.perf_counter()
ingest(sys.argv[1], sys.argv[2], IngestOptions(labels="etram3", processes=1))
seconds = time.perf_counter() - start
peak = re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())
print(seconds, int(peak[1]) * 1024)
"""


def measure(folder: Path, sizes: list[int]) -> list[Row]:
    taken: dict[int, tuple[float, float]] = {}
    rows: list[Row] = []
    for size in sizes:
        seconds, peak = _ingested(folder / f"grown{size}", size)
        taken[size] = (seconds, _window_seconds(folder / f"grown{size}" / "dataset"))
        rows.append(limit(f"peak memory of ingesting {size:.0e} events, GiB", peak / 2**30, MEMORY_BYTES / 2**30))
    rows = rows[-1:]
    for small, large in itertools.pairwise(sizes):
        figure = f"seconds of ingesting {large:.0e} events, each event's against {small:.0e}"
        ratio = taken[large][0] / taken[small][0] / (large / small)
        rows.append(limit(figure, ratio, SLOWER))
        figure = f"seconds of a random window of {large:.0e} events, against {small:.0e}"
        rows.append(limit(figure, taken[large][1] / taken[small][1], SLOWER_WINDOW))
    return [*rows, _opening(folder / "grown1000000" / "dataset", folder / "many")]


def _window_seconds(dataset: Path) -> float:
    shard = Dataset.open(dataset).shards(Split.TRAIN)[0]
    chosen = windows(shard, 50)
    return medians({"window": lambda: [shard.packed(*span).words.sum() for span in chosen]}, 5)["window"]


def _ingested(folder: Path, size: int) -> tuple[float, float]:
    recordings = folder.with_name(f"{folder.name}_recordings")
    recording(recordings, "train_day_0001", size)
    command = [sys.executable, "-c", INGEST, str(recordings), str(folder / "dataset")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    seconds, peak = map(float, done.stdout.split()[-2:])
    return seconds, peak


def _opening(one: Path, many: Path) -> Row:
    """10,000 shards of one recording each, all links to the same file."""
    manifest = Manifest.read(open_storage(one))
    entry = manifest.recordings[0]
    names = [f"recording_{number:05d}" for number in range(SHARDS)]
    source = shard_path(one, entry.split, entry.name)
    shard_path(many, entry.split, "x").parent.mkdir(parents=True)
    for name in names:
        os.link(source, shard_path(many, entry.split, name))
    entries = tuple(entry.model_copy(update={"name": name}) for name in names)
    (many / MANIFEST).write_text(manifest.model_copy(update={"recordings": entries}).model_dump_json(), "utf-8")
    start = time.perf_counter()
    opened = Dataset.open(many)
    seconds = time.perf_counter() - start
    random = np.random.default_rng(0)
    shards = opened.shards(Split.TRAIN)
    if any(shards[place].event_count != entry.events for place in random.integers(0, SHARDS, 10)):
        raise RuntimeError("the shards are not those that were linked")
    return limit("opening a dataset of 10,000 shards, s", seconds, 1.0)
