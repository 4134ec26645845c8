"""A worker that lives on from trial to trial: the fiftieth finds as much memory as the second."""

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from data.dataset import Dataset
from model.prediction import Validation
from model.training.report import EpochReport
from model.training.run import train
from model.trial_config import TrialConfig
from tuner.search import run_search
from tuner.spec.search_spec import load_spec
from tuner.study.record import TrialState
from tuner.trial import TrainFunction

pytestmark = pytest.mark.system

TRIALS = 50
SPEC = f"""\
name: reuse
base:
  data: {{time_steps: 2}}
  training: {{batch_size: 4, windows_per_epoch: 8}}
space:
  loss.box: {{uniform: [2, 15]}}
sampler: {{name: random}}
objective: {{windows: 4}}
scheduler: {{name: none}}
budget: {{trials: {TRIALS}, epochs: 1}}
resources: {{max_concurrent: 1}}
"""


def weighed(log: Path) -> TrainFunction:
    """The product's training; for each trial `log` gets its process and what was resident when it reported."""

    def training(
        config: TrialConfig, dataset: Dataset, out: Path, validation: Validation, *, resume: bool
    ) -> Iterator[EpochReport]:
        yield from train(config, dataset, out, validation, resume=resume)
        with log.open("a") as file:
            file.write(f"{os.getpid()} {psutil.Process().memory_info().rss}\n")

    return training


def test_fifty_trials_in_one_worker_leave_nothing_behind(
    tiny_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.yaml").write_text(SPEC, encoding="utf-8")
    log = tmp_path / "resident"
    spec = load_spec(tmp_path / "spec.yaml")
    result = run_search(spec, tiny_dataset.location, tmp_path / "out", report=False, train_function=weighed(log))
    assert {trial.state for trial in result.trials} == {TrialState.COMPLETE}
    told = [line.split() for line in log.read_text().splitlines()]
    assert len(told) == TRIALS
    assert len({process for process, _ in told}) == 1
    resident = [int(size) for _, size in told]
    assert resident[-1] <= 1.1 * resident[1]
