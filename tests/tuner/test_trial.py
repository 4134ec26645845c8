"""What a worker does with a trial, without Ray: what it reports, and where it goes on after another was lost."""

import gc
import math
import os
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from ray import tune

from data.dataset import Dataset
from data.errors import Diverged, TrainingError
from data.manifest import Split
from model.prediction import Validation
from model.training.report import EpochReport
from model.trial_config import TrialConfig
from tuner.trial import TrainFunction, TrialJob, run_trial


def epoch_report(epoch: int, value: float = 0.1, *, last: bool = False) -> EpochReport:
    return EpochReport(
        epoch=epoch,
        map=value,
        map50=value,
        map75=value,
        best=True,
        last=last,
        loss={"box": 1.0},
        lr=0.01,
        windows_per_second=10.0,
        waiting=0.01,
        seconds=0.1,
        steps=2,
        batch_size=4,
        skipped_steps=0,
        worker_restarts=0,
        bad_shards=0,
        diagnosis=None,
    )


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@dataclass
class Worker:
    """Ray's side of a worker: the checkpoint it gives, and what it is told."""

    lost: Path | None = None
    results: list[dict[str, Any]] = field(default_factory=list)
    files: list[list[str]] = field(default_factory=list)  # of each reported checkpoint

    def get_checkpoint(self) -> Any:
        return None if self.lost is None else tune.Checkpoint.from_directory(str(self.lost))

    def report(self, metrics: dict[str, Any], checkpoint: Any = None) -> None:
        self.results.append(metrics)
        if checkpoint is not None:
            self.files.append(names_in(Path(checkpoint.path)))


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Worker]:
    """A worker whose process is as it was afterwards."""
    faked, threads = Worker(), torch.get_num_threads()
    monkeypatch.setattr(tune, "get_checkpoint", faked.get_checkpoint)
    monkeypatch.setattr(tune, "report", faked.report)
    monkeypatch.setenv("TUNE_FUNCTION_THREAD_TIMEOUT_S", "2")
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    yield faked
    torch.set_num_threads(threads)
    gc.unfreeze()


def run(train: TrainFunction, dataset: Path, files: Path | None = None) -> None:
    job = TrialJob(TrialConfig(), str(dataset), Validation(Split.VAL, 1), "map", threads=1, train=train)
    left = None if files is None else str(files)
    run_trial({"number": 1, "leaves": {"loss.box": 3.0}, "leg": 2 if left else 1, "files": left}, job)


def reporting(*reports: EpochReport, ends_with: BaseException | None = None) -> TrainFunction:
    def train(
        config: TrialConfig, dataset: Dataset, out: Path, validation: Validation, *, resume: bool
    ) -> Iterator[EpochReport]:
        yield from reports
        if ends_with is not None:
            raise ends_with

    return train


@pytest.mark.parametrize("by_ray", [True, False])
def test_a_trial_whose_worker_was_lost_goes_on_from_the_files_that_were_reported(
    worker: Worker, dataset: Path, tmp_path: Path, *, by_ray: bool
) -> None:
    """Ray says which files these are when it takes the trial up itself, the assignment when the search does."""
    lost = tmp_path / "lost"
    lost.mkdir()
    worker.lost = lost if by_ray else None
    for name in ("best.safetensors", "last.safetensors", "state.safetensors"):
        (lost / name).write_text(name)
    seen: list[tuple[bool, list[str]]] = []

    def train(
        config: TrialConfig, dataset: Dataset, out: Path, validation: Validation, *, resume: bool
    ) -> Iterator[EpochReport]:
        seen.append((resume, sorted(path.read_text() for path in out.iterdir())))
        yield epoch_report(3, last=True)

    run(train, dataset, None if by_ray else lost)
    names = ["best.safetensors", "last.safetensors", "state.safetensors"]
    assert seen == [(True, names)]
    assert (worker.files, names_in(lost)) == ([names], names)
    assert names_in(Path()) == []


def test_a_trial_whose_worker_was_lost_after_its_last_epoch_has_nothing_left_to_do(
    worker: Worker, dataset: Path, tmp_path: Path
) -> None:
    worker.lost = tmp_path
    run(reporting(), dataset)
    assert worker.results == []


def test_a_trial_whose_files_are_gone_begins_anew(worker: Worker, dataset: Path, tmp_path: Path) -> None:
    seen: list[bool] = []

    def train(
        config: TrialConfig, dataset: Dataset, out: Path, validation: Validation, *, resume: bool
    ) -> Iterator[EpochReport]:
        seen.append(resume)
        yield epoch_report(1, last=True)

    run(train, dataset, tmp_path / "gone")
    assert seen == [False]


def test_a_new_trial_begins_with_nothing(worker: Worker, dataset: Path) -> None:
    seen: list[tuple[bool, list[str], float]] = []

    def train(
        config: TrialConfig, dataset: Dataset, out: Path, validation: Validation, *, resume: bool
    ) -> Iterator[EpochReport]:
        seen.append((resume, names_in(out), config.loss.box))
        yield epoch_report(1, last=True)

    run(train, dataset)
    assert seen == [(False, [], 3.0)]


def test_a_training_that_ends_early_and_says_so_is_no_error(worker: Worker, dataset: Path) -> None:
    run(reporting(epoch_report(1), epoch_report(2, last=True)), dataset)
    assert [result["last"] for result in worker.results] == [0.0, 1.0]


def test_a_training_that_ends_without_a_last_epoch_is_an_error(worker: Worker, dataset: Path) -> None:
    with pytest.raises(TrainingError, match="trial 1: training ended before its last epoch"):
        run(reporting(epoch_report(1)), dataset)


@pytest.mark.parametrize(
    ("train", "told"),
    [
        (reporting(epoch_report(1), ends_with=Diverged("loss term box is nan", "box")), "loss term box is nan"),
        (reporting(epoch_report(1), epoch_report(2, math.nan)), "epoch 2: map is nan; training has diverged"),
    ],
    ids=["loss", "objective"],
)
def test_a_trial_that_diverges_reports_so_and_leaves_the_worker_alive(
    worker: Worker, dataset: Path, train: TrainFunction, told: str
) -> None:
    run(train, dataset)
    assert [result.get("diverged") for result in worker.results] == [None, told]


def test_nothing_of_a_diverged_trial_is_held_when_that_is_reported(
    worker: Worker, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights: list[weakref.ref[torch.nn.Module]] = []

    def train(
        config: TrialConfig, dataset: Dataset, out: Path, validation: Validation, *, resume: bool
    ) -> Iterator[EpochReport]:
        net = torch.nn.Linear(2, 2)
        weights.append(weakref.ref(net))
        yield epoch_report(1)
        raise Diverged(f"{len(list(net.parameters()))} weights are nan", "box")

    held: list[bool] = []
    monkeypatch.setattr(tune, "report", lambda *_, **__: held.append(weights[0]() is not None))
    run(train, dataset)
    assert held == [True, False]


def test_ray_waits_long_enough_for_a_stopped_trial_to_close_its_files(worker: Worker, dataset: Path) -> None:
    run(reporting(epoch_report(1, last=True)), dataset)
    assert int(os.environ["TUNE_FUNCTION_THREAD_TIMEOUT_S"]) >= 60
