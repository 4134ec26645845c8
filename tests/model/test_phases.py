from typing import Any

import pytest

from data.errors import ConfigError
from model.training.phases import phase_plans
from model.trial_config import TrialConfig


def config(phases: list[dict[str, Any]], epochs: int) -> TrialConfig:
    return TrialConfig().with_leaves({"training.phases": phases, "training.epochs": epochs, "data.scale": 0.8}, "test")


def test_without_phases_the_whole_training_is_one_part() -> None:
    (plan,) = phase_plans(config([], 7))
    assert (plan.first, plan.last, plan.recordings) == (1, 7, 1.0)
    assert plan.config == config([], 7)


def test_phases_follow_each_other_and_the_full_configuration_takes_the_rest() -> None:
    given: list[dict[str, Any]] = [{"epochs": 2, "scale": 0.25, "recordings": 0.5}, {"epochs": 3, "time_steps": 2}]
    low, short, full = phase_plans(config(given, 9))
    assert [(plan.first, plan.last) for plan in (low, short, full)] == [(1, 2), (3, 5), (6, 9)]
    assert [plan.config.data.scale for plan in (low, short, full)] == [0.25, 0.8, 0.8]
    assert [plan.config.data.time_steps for plan in (low, short, full)] == [4, 2, 4]
    assert [plan.recordings for plan in (low, short, full)] == [0.5, 1.0, 1.0]


def test_phases_that_leave_no_epoch_for_the_full_configuration_are_refused() -> None:
    with pytest.raises(ConfigError, match="phases take 4 of epochs=4"):
        config([{"epochs": 4, "scale": 0.5}], 4)


def test_a_phase_with_an_unknown_key_names_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"training\.phases\.0\.scal.*did you mean 'scale'"):
        config([{"epochs": 1, "scal": 0.5}], 4)


def test_a_neuron_with_weights_for_each_step_cannot_have_fewer_of_them_in_a_phase() -> None:
    psn = config([{"epochs": 1, "scale": 0.5}], 4).with_leaves({"model.neuron.name": "psn"}, "test")
    assert psn.training.phases[0].time_steps is None
    with pytest.raises(ConfigError, match=r"time_steps=2, but model\.neuron\.name=psn has weights for each"):
        psn.with_leaves({"training.phases": [{"epochs": 1, "time_steps": 2}]}, "test")
