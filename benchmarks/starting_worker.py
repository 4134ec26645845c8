"""Two trials as a worker of a search trains them, one after the other in one process.

    python -m benchmarks.starting_worker DATASET LEAVES

Prints when each began and when its first step was done, in seconds of the machine's monotonic clock.
"""

import json
import sys
import tempfile
from pathlib import Path

import torch

import tuner.trial  # noqa: F401 - it brings Ray
from benchmarks.stopwatch import Stopwatch
from data.dataset import Dataset
from data.manifest import Split
from model.prediction import Validation
from model.training.run import train
from model.trial_config import TrialConfig

RATES = (4e-3, 2e-3)  # the trials differ as those of a search do


def main() -> None:
    torch.set_num_threads(1)
    dataset, leaves = sys.argv[1], json.loads(sys.argv[2])
    times = []
    for lr in RATES:
        watch = Stopwatch()
        config = TrialConfig().with_leaves({**leaves, "training.epochs": 1, "optimizer.lr": lr}, "the benchmark")
        with tempfile.TemporaryDirectory() as out:
            opened = Dataset.open(dataset)
            for _ in train(config, opened, Path(out), Validation(Split.TRAIN, 1), "cpu", watchers=(watch,)):
                pass
        times.append((watch.start, watch.first))
    print(json.dumps(times))


if __name__ == "__main__":
    main()
