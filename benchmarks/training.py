"""How fast trainings are, whole ones with their loaders, against named peers that take turns with them.

    pip install -e '.[dev,benchmarks]'
    python benchmarks/training.py [--quick] [--rounds 9] [--starts 3] [--json FILE]

Simulated traffic at 320x180, windows of 4 steps, the nano detector, batches of 4 windows; every training is a process
of its own that trains ten steps whenever it is its turn, after ten that do not count, on one thread unless said.
Figures are medians of the rounds. An image is a step of a window. Caches lie in folders made for this, in memory.
The peer is our net with SpikingJelly's own ILIFNode modules, eager and in fp32, in PyTorch's memory layout, trained by
a plain loop with the same loss and optimizer, that reads each window's events from gzip-compressed HDF5 by h5py, with
an index of its milliseconds, and counts them by np.bincount. `--quick` takes fewer recordings and rounds.
"""

import argparse
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

# Beside this file lie some that share their names with packages: its folder must not be searched first.
sys.path[0] = str(Path(__file__).parent.parent)

from benchmarks import dense_traffic, starting_trials, training_speed
from benchmarks.gzip_peer import check_same_frames
from benchmarks.table import Row, console, finish
from data.dataset import Dataset
from data.ingest.ingest import IngestOptions, ingest
from data.loading import LoadingPlan, TrainingLoader
from data.manifest import Split
from data.simulator.traffic import TrafficConfig, simulate
from model.trial_config import TrialConfig

MEMORY = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    recordings: int
    rounds: int
    starts: int  # fresh processes


def measure(plan: Plan, folder: Path, memory: Path) -> list[Row]:
    console.print(f"simulating {plan.recordings} recordings of 6 s ...")
    recordings, dataset = folder / "recordings", folder / "dataset"
    simulate(recordings, TrafficConfig(train=plan.recordings, val=0, test=0))
    ingest(recordings, dataset, IngestOptions(labels="etram8"))
    console.print("starting trials ...")
    rows = starting_trials.measure(dataset, memory, training_speed.settings("bf16"), plan.starts)
    windows = warm(recordings, dataset, scale=1.0)
    console.print(f"{plan.rounds} rounds of trainings ...")
    rows = training_speed.measure(recordings, dataset, windows, plan.rounds) + rows
    console.print("side by side ...")
    rows += training_speed.measure_neighbours(dataset, windows, plan.rounds)
    rows += training_speed.measure_memory(dataset)
    console.print("a recording as dense as eTraM's ...")
    recordings, dataset = dense_traffic.make(folder, duration_s=6.0)
    warm(recordings, dataset, scale=0.25)
    return rows + training_speed.measure_dense(recordings, dataset, plan.rounds)


def warm(recordings: Path, dataset: Path, scale: float) -> int:
    """Put every window into the cache, after a look whether the peer's are the same; how many there are."""
    opened = Dataset.open(dataset)
    config = TrialConfig().with_leaves(training_speed.settings("fp32", scale=scale), "the benchmark")
    check_same_frames(recordings, opened, config)
    loading = LoadingPlan(training_speed.BATCH, None, 1, config.training.seed)
    loader = TrainingLoader(opened.shards(Split.TRAIN), config.data, loading)
    return sum(len(batch.windows) for batch in loader.epoch(1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--starts", type=int)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    quick = arguments.quick
    plan = Plan(2 if quick else 12, arguments.rounds or (2 if quick else 9), arguments.starts or (1 if quick else 3))
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as memory,
    ):
        os.environ["SPIKETUNE_CACHE"] = memory
        finish(measure(plan, Path(folder), Path(memory)), arguments.json)


if __name__ == "__main__":
    main()
