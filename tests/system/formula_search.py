"""A search of trials that are a formula, as a process of its own that can be killed: `python -m ... HOME OUT`.

HOME holds spec.yaml, the dataset and `epochs.log`, to which every trained epoch is appended with its worker's process.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from data.dataset import Dataset
from model.prediction import Validation
from model.training.report import EpochReport
from model.training.run_folder import BEST, LAST
from model.trial_config import TrialConfig
from tuner.trial import TrainFunction

ROOT = Path(__file__).parent.parent.parent
EPOCH_S = 0.4
LOG = "epochs.log"


def value(box: float, epoch: int) -> float:
    """What a trial has after an epoch: the larger its box weight, the better, at every epoch."""
    return box / 20 * (1 - 0.5**epoch)


def formula(log: Path) -> TrainFunction:
    """A training that goes on where the files of its folder end. Travels to workers by value."""
    seconds = EPOCH_S

    def train(
        config: TrialConfig, dataset: Dataset, out: Path, validation: Validation, *, resume: bool
    ) -> Iterator[EpochReport]:
        box, epochs = config.loss.box, config.training.epochs
        done = int((out / LAST).read_text().split()[1]) if resume else 0
        for epoch in range(done + 1, epochs + 1):
            time.sleep(seconds)
            for name in (BEST, LAST):
                (out / name).write_text(f"{box} {epoch}")
            with log.open("a") as file:
                file.write(f"{box!r} {epoch} {os.getpid()}\n")
            score = box / 20 * (1 - 0.5**epoch)
            yield EpochReport(
                epoch=epoch, map=score, map50=score, map75=score, best=True, last=epoch == epochs, loss={"box": 1.0},
                lr=0.01, windows_per_second=10.0, waiting=0.0, seconds=seconds, steps=5, batch_size=4, skipped_steps=0,
                worker_restarts=0, bad_shards=0, diagnosis=None,
            )  # fmt: skip

    return train


def start_search(home: Path, out: Path, **further: str) -> "subprocess.Popen[bytes]":
    """This module as a process, with nothing of the caller's clusters and stores; it appends to HOME/driver.log."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("RAY_", "AWS_"))}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment |= {"PYTHONPATH": str(ROOT), "RAY_worker_niceness": "0"}  # they share two cores with servers
    with (home / "driver.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.system.formula_search", str(home), str(out)],
            cwd=home, env=environment | further, stdout=log, stderr=log,
        )  # fmt: skip


def main(home: Path, out: Path) -> None:
    # By value, for the workers have no such module.
    import ray.cloudpickle as cloudpickle

    from tuner.search import run_search
    from tuner.spec.search_spec import load_spec

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    run_search(
        load_spec(home / "spec.yaml"),
        home / "dataset",
        out,
        resume=True,
        report=False,
        train_function=formula(home / LOG),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
