"""What a detector costs, and that a constraint is checked before anything is trained."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from data.dataset import Dataset
from data.manifest import Split
from model.prediction import Validation
from model.training.report import EpochReport
from model.trial_config import TrialConfig
from tuner.costs import costs_before
from tuner.spec.objective import Constraint
from tuner.trial import Infeasible, TrialJob, train_and_tell


def small(**leaves: object) -> TrialConfig:
    return TrialConfig().with_leaves({"data.time_steps": 1, **leaves}, "test")


def test_costs_are_of_the_configuration_and_only_those_that_are_wanted(dataset: Path) -> None:
    opened = Dataset.open(dataset)
    narrow = costs_before(small(**{"model.width": 0.5}), opened, {"parameters", "macs"})
    wide = costs_before(small(), opened, {"parameters", "macs", "latency_ms"})
    assert set(narrow) == {"parameters", "macs"}
    # Weights of a convolution go with the product of its channels: half of both is about a quarter.
    assert wide["parameters"] / narrow["parameters"] == pytest.approx(4, rel=0.15)
    assert wide["latency_ms"] > 0
    assert costs_before(small(), opened, {"energy_uj"}) == {}


def test_a_configuration_that_breaks_a_bound_is_never_trained(dataset: Path) -> None:
    trained: list[int] = []

    def train(
        config: TrialConfig, dataset: Dataset, out: Path, validation: Validation, *, resume: bool
    ) -> Iterator[EpochReport]:
        trained.append(1)
        return iter(())

    job = TrialJob(
        small(), str(dataset), Validation(Split.VAL, 1), "map", threads=1, train=train,
        constraints=(Constraint.parse("parameters <= 1000"),), wanted=frozenset({"parameters"}),
    )  # fmt: skip
    with pytest.raises(Infeasible, match=r"parameters is 1\.\d+e\+06, must be parameters <= 1000") as caught:
        train_and_tell({"number": 1, "leaves": {}, "leg": 1, "files": None}, job, None, lambda *_: None)
    assert trained == []
    assert caught.value.violation == pytest.approx(caught.value.costs["parameters"] / 1000 - 1)
