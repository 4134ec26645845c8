"""Resuming gives bit for bit the run that was not interrupted."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from data.dataset import Dataset
from data.errors import ConfigError
from model.checkpoint import load_checkpoint
from model.detector import SpikingDetector
from model.prediction import Validation, WindowResult
from model.training.report import EpochReport, StepReport
from model.training.run import train
from model.trial_config import TrialConfig

SMALL = {
    "data.time_steps": 2,
    "model.width": 0.25,  # every kind of layer is there, and a state is written in a tenth of the time
    "training.epochs": 3,
    "training.batch_size": 2,
    "training.windows_per_epoch": 10,
    "training.compile": "off",
    "training.precision": "fp32",
    "training.checkpoint.every_steps": 1,
}
TIMES = ("seconds", "windows_per_second", "waiting")

WAYS: dict[str, dict[str, Any]] = {
    "the defaults": {},
    "SGD on one cycle with a moving average": {
        "optimizer.name": "sgd",
        "optimizer.schedule": "onecycle",
        "training.ema_decay": 0.9,
    },
    "weights averaged over the last epochs": {"training.swa_epochs": 2},
    "Muon, two batches a step": {"optimizer.name": "muon", "training.accumulate": 2},
    "RAdam in bf16 with loader workers": {"optimizer.name": "radam", "training.precision": "bf16", "data.workers": 1},
    "streamed recordings": {"data.sampling": "stride", "data.overlap": 0.0, "data.order": "mixed"},
    "phases and a frozen backbone": {
        "training.phases": [{"epochs": 1, "scale": 0.5, "recordings": 0.5}],
        "training.frozen_epochs": 1,
    },
}


class Interrupted(Exception):  # noqa: N818
    """Raised in the middle of a training."""


class InterruptAt:
    """A watcher that interrupts a training after a step, as a kill would: nothing is written after it."""

    def __init__(self, epoch: int, step: int) -> None:
        self._at = (epoch, step)

    def stepped(self, step: StepReport) -> None:
        if (step.epoch, step.step) == self._at:
            raise Interrupted

    def measured(self, report: EpochReport, detector: SpikingDetector, results: Sequence[WindowResult]) -> None:
        pass


def run(leaves: dict[str, Any], dataset: Dataset, out: Path, **options: Any) -> list[EpochReport]:
    config = TrialConfig().with_leaves({**SMALL, **leaves}, "test")
    return list(train(config, dataset, out, Validation(windows=3), "cpu", **options))


def timeless(report: EpochReport) -> dict[str, float]:
    return {name: value for name, value in report.as_metrics().items() if name not in TIMES}


def same_weights(one: Path, other: Path) -> bool:
    ours, theirs = (load_checkpoint(path).detector.state_dict() for path in (one, other))
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("way", WAYS)
def test_a_run_resumed_in_the_middle_of_an_epoch_is_the_run_that_was_not_interrupted(
    way: str, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    whole = run(WAYS[way], tiny_dataset, tmp_path / "whole")
    for place in ((1, 2), (2, 4)):
        if WAYS[way].get("training.accumulate") == 2:
            place = (place[0], 2)
        with pytest.raises(Interrupted):
            run(WAYS[way], tiny_dataset, tmp_path / "broken", resume=True, watchers=[InterruptAt(*place)])
    rest = run(WAYS[way], tiny_dataset, tmp_path / "broken", resume=True)
    assert [report.epoch for report in rest] == [2, 3]
    assert [timeless(report) for report in rest] == [timeless(report) for report in whole[1:]]
    for name in ("best.safetensors", "last.safetensors"):
        assert same_weights(tmp_path / "whole" / name, tmp_path / "broken" / name)


def test_a_run_resumed_at_an_epochs_boundary_is_the_run_that_was_not_interrupted(
    tiny_dataset: Dataset, tmp_path: Path
) -> None:
    leaves = {"training.checkpoint.every_steps": None}
    whole = run(leaves, tiny_dataset, tmp_path / "whole")
    with pytest.raises(Interrupted):
        run(leaves, tiny_dataset, tmp_path / "broken", watchers=[InterruptAt(3, 1)])
    (last,) = run(leaves, tiny_dataset, tmp_path / "broken", resume=True)
    assert timeless(last) == timeless(whole[2])
    assert same_weights(tmp_path / "whole/last.safetensors", tmp_path / "broken/last.safetensors")


def test_a_finished_run_has_nothing_left_to_do(tiny_dataset: Dataset, tmp_path: Path) -> None:
    run({"training.epochs": 1}, tiny_dataset, tmp_path)
    assert run({"training.epochs": 1}, tiny_dataset, tmp_path, resume=True) == []


def test_resuming_with_another_configuration_names_what_differs(tiny_dataset: Dataset, tmp_path: Path) -> None:
    run({"training.epochs": 1}, tiny_dataset, tmp_path)
    with pytest.raises(ConfigError, match=r"optimizer\.lr: 0\.004 then, 0\.01 now"):
        run({"training.epochs": 1, "optimizer.lr": 0.01}, tiny_dataset, tmp_path, resume=True)


def test_resuming_where_nothing_was_left_begins(tiny_dataset: Dataset, tmp_path: Path) -> None:
    (report,) = run({"training.epochs": 1}, tiny_dataset, tmp_path, resume=True)
    assert report.epoch == 1
