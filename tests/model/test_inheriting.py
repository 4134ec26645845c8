"""A run that goes on from another's state with other settings: they act from the next step on, all else stays."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from data.dataset import Dataset
from data.errors import ConfigError
from model.checkpoint import load_checkpoint
from model.detector import SpikingDetector
from model.prediction import WindowResult
from model.training.inheriting import adopt, can_change
from model.training.report import EpochReport, StepReport
from model.training.run_folder import RunFolder
from model.trial_config import TrialConfig
from tests.model.test_resuming import SMALL, run, same_weights, timeless

PLAIN = {
    "optimizer.schedule": "constant",
    "optimizer.warmup_epochs": 0.0,
    "optimizer.lr_reference_batch": None,
    "training.checkpoint.every_steps": None,
}


class Rates:
    """A watcher that notes the rate of every step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def stepped(self, step: StepReport) -> None:
        self.seen.append(step.lr)

    def measured(self, report: EpochReport, detector: SpikingDetector, results: Sequence[WindowResult]) -> None:
        pass


class Stop(Exception):  # noqa: N818
    """Raised after an epoch."""


def begun(leaves: dict[str, Any], dataset: Dataset, out: Path) -> None:
    """Train the first of three epochs, and die in the second."""

    class AfterOne(Rates):
        def stepped(self, step: StepReport) -> None:
            if step.epoch == 2:
                raise Stop

    with pytest.raises(Stop):
        run(leaves, dataset, out, watchers=[AfterOne()])


def heir(leaves: dict[str, Any], dataset: Dataset, donor: Path, out: Path, **options: Any) -> list[EpochReport]:
    shutil.copytree(donor, out)
    adopt(out, configured(leaves))
    return run(leaves, dataset, out, resume=True, **options)


def configured(leaves: dict[str, Any]) -> TrialConfig:
    return TrialConfig().with_leaves({**SMALL, **leaves}, "test")


def weights(path: Path) -> torch.Tensor:
    detector = load_checkpoint(path).detector
    return torch.cat([parameter.detach().flatten() for parameter in detector.parameters()]).double()


def test_with_the_same_settings_an_heir_is_the_run_that_was_not_interrupted(
    tiny_dataset: Dataset, tmp_path: Path
) -> None:
    whole = run(PLAIN, tiny_dataset, tmp_path / "whole")
    begun(PLAIN, tiny_dataset, tmp_path / "donor")
    rest = heir(PLAIN, tiny_dataset, tmp_path / "donor", tmp_path / "heir")

    def unjudged(report: EpochReport) -> dict[str, float]:
        return {name: value for name, value in timeless(report).items() if name != "best"}

    assert [unjudged(report) for report in rest] == [unjudged(report) for report in whole[1:]]
    assert same_weights(tmp_path / "whole/last.safetensors", tmp_path / "heir/last.safetensors")


@pytest.mark.parametrize("name", ["adamw", "sgd", "muon"])
def test_the_new_rate_holds_from_the_next_step_on_and_through_the_next_phase(
    name: str, tiny_dataset: Dataset, tmp_path: Path
) -> None:
    leaves = {**PLAIN, "optimizer.name": name, "training.phases": [{"epochs": 2, "scale": 0.5}]}
    begun(leaves, tiny_dataset, tmp_path / "donor")
    watcher = Rates()
    heir({**leaves, "optimizer.lr": 1e-4}, tiny_dataset, tmp_path / "donor", tmp_path / "heir", watchers=[watcher])
    assert len(watcher.seen) == 2 * 5  # ten windows an epoch, two a step; the third epoch is of another phase
    assert set(watcher.seen) == {1e-4}


def test_a_step_is_as_long_as_the_new_rate_says(tiny_dataset: Dataset, tmp_path: Path) -> None:
    """Without momentum and decay a step is the rate times the gradient, and the gradient is the donor's."""
    leaves = {
        **PLAIN,
        "optimizer.name": "sgd",
        "optimizer.momentum": 0.0,
        "optimizer.weight_decay": 0.0,
        "optimizer.lr": 1e-2,
        "training.windows_per_epoch": 2,
        "training.epochs": 2,
    }
    begun(leaves, tiny_dataset, tmp_path / "donor")
    start = weights(tmp_path / "donor/last.safetensors")
    for rate in (1e-2, 3e-2):
        heir({**leaves, "optimizer.lr": rate}, tiny_dataset, tmp_path / "donor", tmp_path / f"{rate}")
    steps = [weights(tmp_path / f"{rate}/last.safetensors") - start for rate in (1e-2, 3e-2)]
    assert float(steps[0].norm()) > 0
    assert float((steps[1] - 3 * steps[0]).norm() / steps[1].norm()) < 1e-3


@pytest.mark.parametrize(("name", "place"), [("adamw", ()), ("muon", ("muon",))])
def test_the_new_weight_decay_is_the_optimizers(
    name: str, place: tuple[str, ...], tiny_dataset: Dataset, tmp_path: Path
) -> None:
    leaves = {**PLAIN, "optimizer.name": name, "training.epochs": 2}
    begun(leaves, tiny_dataset, tmp_path / "donor")
    changed = {**leaves, "optimizer.weight_decay": 0.125}
    heir(changed, tiny_dataset, tmp_path / "donor", tmp_path / "heir")
    state = RunFolder(tmp_path / "heir", configured(changed).training.checkpoint).load_state()
    assert state is not None
    optimizer = state["trainer"]["optimizer"]
    for part in place:
        optimizer = optimizer[part]
    assert optimizer["param_groups"][0]["weight_decay"] == 0.125


def test_new_weights_of_the_loss_weigh_the_next_step(tiny_dataset: Dataset, tmp_path: Path) -> None:
    leaves = {**PLAIN, "training.windows_per_epoch": 2, "training.epochs": 2}
    begun(leaves, tiny_dataset, tmp_path / "donor")
    (same,) = heir(leaves, tiny_dataset, tmp_path / "donor", tmp_path / "same")
    (other,) = heir({**leaves, "loss.dfl": 3.0}, tiny_dataset, tmp_path / "donor", tmp_path / "other")
    assert other.loss["dfl"] == pytest.approx(2 * same.loss["dfl"], rel=1e-6)  # 3 for 1.5, of the same weights
    assert other.loss["box"] == same.loss["box"]


def test_the_best_epoch_of_an_heir_is_one_of_its_own(tiny_dataset: Dataset, tmp_path: Path) -> None:
    begun(PLAIN, tiny_dataset, tmp_path / "donor")
    folder = RunFolder(tmp_path / "donor", configured(PLAIN).training.checkpoint)
    state = folder.load_state()
    assert state is not None
    folder.save_state({**state, "standing": {**state["standing"], "best": 1.0}})  # nothing beats that
    first, _ = heir({**PLAIN, "optimizer.lr": 1e-3}, tiny_dataset, tmp_path / "donor", tmp_path / "heir")
    assert (first.epoch, first.best) == (2, True)


def test_what_weights_cannot_live_on_with_is_refused_by_name(tiny_dataset: Dataset, tmp_path: Path) -> None:
    begun(PLAIN, tiny_dataset, tmp_path)
    with pytest.raises(ConfigError, match=r"cannot change optimizer\.momentum: 0\.9 then, 0\.5 now; begin a new one"):
        adopt(tmp_path, configured({**PLAIN, "optimizer.momentum": 0.5, "optimizer.lr": 1e-3}))


def test_where_nothing_was_left_nothing_is_adopted(tmp_path: Path) -> None:
    adopt(tmp_path, TrialConfig())
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_only_begins_like_a_changeable_one_is_none() -> None:
    assert can_change("optimizer.lr")
    assert can_change("data.augment.flip")
    assert not can_change("optimizer.lr_reference_batch")
    assert not can_change("data.time_steps")
