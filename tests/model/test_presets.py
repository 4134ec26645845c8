import pytest

from model.training.config import Compile, Precision
from model.training.presets import PRESETS, PresetName
from model.trial_config import TrialConfig


@pytest.mark.parametrize("name", list(PresetName))
def test_every_preset_is_a_configuration(name: PresetName) -> None:
    config = TrialConfig().with_leaves(PRESETS[name], name)
    leaves = config.leaves()
    assert all(leaves[leaf] == value for leaf, value in PRESETS[name].items() if leaf != "training.phases")


def test_debug_is_eager_fp32_in_one_process_with_every_check_on() -> None:
    config = TrialConfig().with_leaves(PRESETS[PresetName.DEBUG], "debug")
    training = config.training
    assert (training.precision, training.compile, training.check) == (Precision.FP32, Compile.OFF, True)
    assert config.data.workers == 0
