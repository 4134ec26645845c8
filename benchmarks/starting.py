"""What lies between two trials of one worker: time without a step, and memory that does not come back.

    pip install -e '.[dev,benchmarks]'
    python benchmarks/starting.py [--trials 50] [--json FILE]

A whole search, with its study and its MLflow, of trials of one epoch of two steps each, on simulated traffic at 80x45.
One worker trains them all, one after the other. The time is that from a trial's last report to where the next one's
first step has its data, the median of all; the memory is what is resident when a trial reports. Ray gives its workers a
niceness of 15: beside other busy processes they starve.
"""

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Beside this file lie some that share their names with packages: its folder must not be searched first.
sys.path[0] = str(Path(__file__).parent.parent)

import psutil
import ray.cloudpickle

from benchmarks.table import Row, console, finish, limit
from data.dataset import Dataset
from data.ingest.ingest import IngestOptions, ingest
from data.simulator.traffic import TrafficConfig, simulate
from model.prediction import Validation
from model.training.report import EpochReport, StepReport
from model.training.run import train
from model.trial_config import TrialConfig
from tuner.search import run_search
from tuner.spec.search_spec import load_spec
from tuner.trial import TrainFunction

SPEC = """
name: starting
base:
  data: {{scale: 0.25, time_steps: 2}}
  training: {{batch_size: 4, windows_per_epoch: 8}}
space:
  loss.box: {{log_uniform: [2, 15]}}
objective: {{windows: 2}}
scheduler: {{name: none}}
budget: {{trials: {trials}, epochs: 1}}
resources: {{max_concurrent: 1}}
"""


class Recorder:
    """Hears of a trial, and writes down when it began, when it reported, and what was resident then."""

    def __init__(self) -> None:
        self.facts: dict[str, float] = {"pid": os.getpid()}

    def stepped(self, step: StepReport) -> None:
        computing = step.seconds.total - step.seconds.data
        self.facts.setdefault("begun", time.monotonic() - computing)

    def measured(self, *_: object) -> None:
        self.facts["reported"] = time.monotonic()
        self.facts["resident"] = psutil.Process().memory_info().rss


def recorded(log: Path) -> TrainFunction:
    """The product's training, with a line in `log` for each trial."""

    def training(
        config: TrialConfig, dataset: Dataset, out: Path, validation: Validation, *, resume: bool
    ) -> Iterator[EpochReport]:
        recorder = Recorder()
        yield from train(config, dataset, out, validation, watchers=(recorder,), resume=resume)
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(recorder.facts) + "\n")

    return training


def measure(dataset: Path, folder: Path, trials: int) -> list[Row]:
    """Rows of a search in `folder`, which also takes its MLflow."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not find this module
    spec, log = folder / "spec.yaml", folder / "trials.log"
    spec.write_text(SPEC.format(trials=trials), encoding="utf-8")
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
    run_search(load_spec(spec), dataset, folder / "search", report=False, train_function=recorded(log))
    told: list[dict[str, Any]] = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    if len({trial["pid"] for trial in told}) > 1:
        raise RuntimeError("the search took more than one worker")
    gaps = [after["begun"] - before["reported"] for before, after in itertools.pairwise(told)]
    console.print(f"  from the first trial to the second {gaps[0]:.2f} s, most after it {max(gaps[1:]):.2f} s")
    return [
        limit("seconds from a trial's end to the next one's first step", statistics.median(gaps), 0.3),
        limit(f"memory after {trials} trials / after 2", told[-1]["resident"] / told[1]["resident"], 1.1),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        console.print("simulating 2 recordings of 6 s ...")
        simulate(folder / "recordings", TrafficConfig(train=1, val=1, test=0))
        ingest(folder / "recordings", folder / "dataset", IngestOptions(labels="etram8"))
        finish(measure(folder / "dataset", folder, arguments.trials), arguments.json)


if __name__ == "__main__":
    main()
