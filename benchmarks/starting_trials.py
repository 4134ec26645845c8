"""How long a trial takes until its first step: the first of a search, and one that follows it in the same process."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.table import Row, console, row

ROOT = Path(__file__).parent.parent


def measure(dataset: Path, memory: Path, leaves: dict[str, object], repeats: int) -> list[Row]:
    """Args:
    dataset: an ingested one.
    memory: a folder for caches that are thrown away.
    leaves: of both trials, which differ in their learning rate.
    repeats: processes that are started; medians count.
    """
    first, second = [], []
    for number in range(1, repeats + 1):
        cold, warm = _two_trials(dataset, memory, leaves)
        console.print(f"  process {number}: first trial {cold:.1f} s, second {warm:.2f} s")
        first.append(cold)
        second.append(warm)
    return [
        row("second trial in a worker, s until its first step, against the first with cold caches",
            statistics.median(second), statistics.median(first), 10, smaller_is_better=True),
    ]  # fmt: skip


def _two_trials(dataset: Path, memory: Path, leaves: dict[str, object]) -> tuple[float, float]:
    """Seconds from the start of a process to the first trial's first step, and from the second's start to its own."""
    with tempfile.TemporaryDirectory() as compiled, tempfile.TemporaryDirectory(dir=memory) as windows:
        cold = {"TORCHINDUCTOR_CACHE_DIR": compiled, "SPIKETUNE_CACHE": windows, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "benchmarks.starting_worker", str(dataset), json.dumps(leaves)]
        begun = time.monotonic()
        said = subprocess.run(
            command, cwd=ROOT, env={**os.environ, **cold}, check=True, stdout=subprocess.PIPE, encoding="utf-8"
        ).stdout
    (_, first), (start, second) = json.loads(said.splitlines()[-1])
    return first - begun, second - start
