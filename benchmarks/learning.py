"""Does the nano detector learn from its labels? Minutes of training on simulated traffic, labels true and shuffled.

    python benchmarks/learning.py [--minutes 3] [--json FILE]

Twelve recordings of 6 s at 320x180 teach, four unseen ones are measured, every label time of them. The peer is the same
training on the same events with the boxes of all training windows dealt out anew: what it reaches, it reaches without
labels.
"""

import argparse
import sys
import tempfile
from pathlib import Path

# The file beside this one shares its name with a package: this folder must not be searched first.
sys.path[0] = str(Path(__file__).parent.parent)

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.table import Row, console, finish
from data.boxes import BOX_DTYPE
from data.dataset import Dataset
from data.ingest.ingest import IngestOptions, ingest
from data.simulator.traffic import TrafficConfig, simulate
from model.evaluation.protocol import evaluate_checkpoint
from model.prediction import Validation
from model.training.run import train
from model.training.run_folder import LAST
from model.trial_config import TrialConfig

EPOCHS = 4
WARM_UP_WINDOWS = 80  # windows of the short training that tells the speed; its first half compiles


def windows_a_minute(dataset: Dataset, folder: Path) -> float:
    config = TrialConfig().with_leaves(
        {"training.epochs": 2, "training.windows_per_epoch": WARM_UP_WINDOWS}, "the benchmark"
    )
    *_, last = train(config, dataset, folder, Validation(windows=1))
    return last.windows_per_second * 60


def learn(dataset: Dataset, folder: Path, windows: int) -> tuple[float, float]:
    """mAP50 of the last weights on all unseen windows, and the seconds of training."""
    config = TrialConfig().with_leaves(
        {"training.epochs": EPOCHS, "training.windows_per_epoch": windows // EPOCHS}, "the benchmark"
    )
    seconds = 0.0
    for report in train(config, dataset, folder, Validation(windows=60)):
        trained = windows // EPOCHS / report.windows_per_second
        seconds += trained
        console.print(f"  epoch {report.epoch}: mAP50 {report.map50:.3f} on 60 windows, {trained:.0f} s of training")
    return evaluate_checkpoint(folder / LAST, dataset, Validation()).overall.ap50, seconds


def shuffle_labels(recordings: Path, random: np.random.Generator) -> None:
    """Deal the training windows' boxes out anew among all training label times."""
    files = sorted((recordings / "HDF5" / "eight_class_annotations_train").glob("*_bbox.npy"))
    tables = {file: np.load(file) for file in files}
    slots = [(file, time) for file, table in tables.items() for time in np.unique(table["t"])]
    shuffled: dict[Path, list[npt.NDArray[np.void]]] = {file: [] for file in files}
    for (file, time), place in zip(slots, random.permutation(len(slots)), strict=True):
        source, source_time = slots[place]
        rows = tables[source][tables[source]["t"] == source_time].copy()
        rows["t"] = time
        shuffled[file].append(rows)
    for file, groups in shuffled.items():
        table = np.zeros(sum(map(len, groups)), BOX_DTYPE)
        for name in BOX_DTYPE.names or ():
            table[name] = np.concatenate([group[name] for group in groups])
        np.save(file, table)


def measure(minutes: float) -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recordings = folder / "recordings"
        console.print("simulating 16 recordings of 6 s ...")
        simulate(recordings, TrafficConfig(train=12, val=4, test=0))
        ingest(recordings, folder / "true", IngestOptions(labels="etram8"))
        shuffle_labels(recordings, np.random.default_rng(0))
        ingest(recordings, folder / "shuffled", IngestOptions(labels="etram8"))
        datasets = {name: Dataset.open(folder / name) for name in ("true", "shuffled")}
        # A long training runs slower than the short one that was timed: a margin keeps it within its minutes.
        windows = int(0.88 * minutes * windows_a_minute(datasets["true"], folder / "speed"))
        reached = {}
        for label, dataset in datasets.items():
            console.print(f"training on {windows} windows with {label} labels, {torch.get_num_threads()} threads")
            reached[label], seconds = learn(dataset, folder / f"{label}_run", windows)
            console.print(f"  mAP50 {reached[label]:.3f} on all unseen windows after {seconds:.0f} s of training")
    ours, peer = reached["true"], reached["shuffled"]
    figure = f"mAP50 of nano on unseen recordings, {minutes:g} min"
    ratio = ours / peer if peer else float("inf")
    return [
        {"figure": figure, "ours": ours, "peer": peer, "ratio": ratio, "must": ">= 0.70", "holds": ours >= 0.70},
        {"figure": "the same, labels shuffled", "ours": peer, "peer": ours, "ratio": 1 / ratio, "must": "< 0.10",
         "holds": peer < 0.10},
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    finish(measure(arguments.minutes), arguments.json)


if __name__ == "__main__":
    main()
