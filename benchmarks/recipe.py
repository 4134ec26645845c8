"""How long until a detector is good: the recipe that ships against that of the documents the project grew from.

    python benchmarks/recipe.py [--target 0.7] [--patience 6] [--json FILE]

Twelve recordings of 6 s at 320x180 teach the nano detector with windows of 4 steps; after every 150 windows its mAP50
is measured on 60 label times of four unseen recordings. Counted are the seconds of training until it first reaches the
target, on one thread; measuring is not counted. The peer trains in fp32 and eager, without a cache, by SGD with
momentum 0.9, lr 0.001 and a step schedule, without warm-up, with plain cross entropy, box weight 2 and batches of 8. It
is given `--patience` times our seconds; if it has not come to the target by then, its time is at least that, and the
ratio a lower bound.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

# The file beside this one shares its name with a package: this folder must not be searched first.
sys.path[0] = str(Path(__file__).parent.parent)

import torch

from benchmarks.table import console, finish, row
from data.dataset import Dataset
from data.ingest.ingest import IngestOptions, ingest
from data.simulator.traffic import TrafficConfig, simulate
from model.prediction import Validation
from model.training.run import train
from model.trial_config import TrialConfig

MEASURED_EVERY = 150  # windows
LABEL_TIMES = 60
OURS: dict[str, Any] = {"training.epochs": 18, "training.windows_per_epoch": MEASURED_EVERY}
PEERS: dict[str, Any] = {
    "training.epochs": 400,
    "training.windows_per_epoch": MEASURED_EVERY,
    "training.batch_size": 8,
    "training.precision": "fp32",
    "training.compile": "off",
    "data.cache.mode": "off",
    "optimizer.name": "sgd",
    "optimizer.lr": 0.001,
    "optimizer.lr_reference_batch": None,
    "optimizer.schedule": "step",
    "optimizer.step_epochs": 100.0,
    "optimizer.warmup_epochs": 0,
    "loss.classification": "bce",
    "loss.box": 2.0,
}


def seconds_to(
    target: float, leaves: dict[str, Any], dataset: Dataset, folder: Path, most: float
) -> tuple[float, float, int]:
    """Seconds of training until the target, or all that were spent; the highest mAP50; windows seen."""
    config = TrialConfig().with_leaves(leaves, "the benchmark")
    seconds, highest, windows = 0.0, 0.0, 0
    for report in train(config, dataset, folder, Validation(windows=LABEL_TIMES), "cpu"):
        trained = report.steps * config.training.windows_a_batch
        windows += trained
        seconds += trained / report.windows_per_second
        highest = max(highest, report.map50)
        console.print(f"  {windows} windows, {seconds:.0f} s: mAP50 {report.map50:.3f}")
        if report.map50 >= target or seconds >= most:
            break
    return seconds, highest, windows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", type=float, default=0.7)
    parser.add_argument("--patience", type=float, default=6.0, help="times our seconds that the peer is given")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        console.print("simulating 16 recordings of 6 s ...")
        simulate(folder / "recordings", TrafficConfig(train=12, val=4, test=0))
        ingest(folder / "recordings", folder / "data", IngestOptions(labels="etram8"))
        dataset = Dataset.open(folder / "data")
        console.print("the recipe that ships")
        ours, reached, windows = seconds_to(arguments.target, OURS, dataset, folder / "ours", float("inf"))
        if reached < arguments.target:
            console.print(f"it came to {reached:.3f} only, after all its {windows} windows: no figure")
            return
        console.print("the documents' recipe")
        peer, highest, windows = seconds_to(
            arguments.target, PEERS, dataset, folder / "peer", arguments.patience * ours
        )
    figure = f"s to mAP50 {arguments.target:g}"
    if highest < arguments.target:
        figure += f" (the peer was at {highest:.3f} when it was stopped, after {windows} windows)"
    finish([row(figure, ours, peer, 5.0, smaller_is_better=True)], arguments.json)


if __name__ == "__main__":
    main()
