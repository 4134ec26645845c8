"""Memory runs out in the middle of a training, under a real limit: it goes on with half the batch, and says so."""

import subprocess
import sys
from pathlib import Path

import pytest

from data.dataset import Dataset

pytestmark = pytest.mark.system

# The limit is set after the first step, to what a step of half the batch needs and one of the whole does not.
PROGRAM = """
import logging, resource, sys
from pathlib import Path
import torch
from data.dataset import Dataset
from model.prediction import Validation
from model.training.run import train
from model.trial_config import TrialConfig

logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
torch.set_num_threads(1)
dataset, out, spare = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) << 20
config = TrialConfig().with_leaves({"data.time_steps": 4, "data.augment.flip": 0.0, "training.batch_size": 16,
    "training.windows_per_epoch": 32, "training.epochs": 2, "training.compile": "off", "training.precision": "fp32",
    "data.cache.mode": "off"}, "test")

class Limit:
    def stepped(self, step):
        print(f"step {step.epoch}.{step.step}: {step.windows} windows", flush=True)
        if (step.epoch, step.step) == (1, 1):
            held = next(line for line in open("/proc/self/status") if line.startswith("VmSize"))
            resource.setrlimit(resource.RLIMIT_AS, (int(held.split()[1]) * 1024 + spare, resource.RLIM_INFINITY))
    def measured(self, report, detector, results):
        print(f"epoch {report.epoch}: batch_size {report.batch_size}", flush=True)

for report in train(config, Dataset.open(dataset), out, Validation(windows=4), "cpu", watchers=[Limit()]):
    pass
print("done", flush=True)
"""


def run(dataset: Dataset, out: Path, spare_mb: int) -> str:
    environment = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", PROGRAM, dataset.location, str(out), str(spare_mb)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    return done.stdout


def test_a_training_that_runs_out_of_memory_goes_on_with_half_the_batch_and_says_so(
    tiny_dataset: Dataset, tmp_path: Path
) -> None:
    # What a step takes differs from machine to machine: the limit is sought at which half of one fits and one does not.
    for spare in (180, 160, 170, 150, 190, 210, 130):  # MB
        told = run(tiny_dataset, tmp_path / str(spare), spare)
        if "in 2 parts" in told and told.splitlines()[-1] == "done":
            break
    assert "out of memory (" in told
    assert "each batch of 16 windows is now computed in 2 parts, whose gradients are added up" in told
    assert [line for line in told.splitlines() if line.startswith("step")] == [
        f"step {epoch}.{step}: 16 windows" for epoch in (1, 2) for step in (1, 2)
    ]
    assert "epoch 2: batch_size 8" in told
    assert told.splitlines()[-1] == "done"
