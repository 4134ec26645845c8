import pytest
import torch

from data.boxes import label_set
from model.detector import SpikingDetector
from model.initial import initial_detector
from model.training.averaging import WeightAverage, refresh_norms
from model.training.config import TrainingConfig
from model.trial_config import TrialConfig


@pytest.fixture
def detector() -> SpikingDetector:
    return initial_detector(TrialConfig(), label_set("gen1"))


def set_all(detector: SpikingDetector, value: float) -> None:
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter.fill_(value)


def only(detector: SpikingDetector | None) -> float:
    assert detector is not None
    values = {
        round(float(value), 6) for parameter in detector.parameters() for value in parameter.detach().flatten()[:2]
    }
    (value,) = values
    return value


def test_the_moving_average_ramps_up_to_its_decay(detector: SpikingDetector) -> None:
    average = WeightAverage.of(TrainingConfig(ema_decay=0.5), detector)
    assert average is not None
    assert average.detector is None
    set_all(detector, 1.0)
    average.after_step(detector)  # torch's begins with the weights themselves
    assert only(average.detector) == 1.0
    set_all(detector, 2.0)
    average.after_step(detector)  # decay (1 + 1) / (10 + 1)
    assert only(average.detector) == pytest.approx(1 * 2 / 11 + 2 * 9 / 11, abs=1e-6)


def test_late_in_a_training_the_decay_is_what_was_asked_for(detector: SpikingDetector) -> None:
    average = WeightAverage.of(TrainingConfig(ema_decay=0.5), detector)
    assert average is not None
    set_all(detector, 1.0)
    for _ in range(30):
        average.after_step(detector)
    set_all(detector, 3.0)
    average.after_step(detector)
    assert only(average.detector) == pytest.approx(2.0)


def test_the_last_epochs_weigh_the_same(detector: SpikingDetector) -> None:
    average = WeightAverage.of(TrainingConfig(epochs=5, swa_epochs=3), detector)
    assert average is not None
    for epoch, value in enumerate([9.0, 9.0, 1.0, 2.0, 6.0], start=1):
        set_all(detector, value)
        average.after_step(detector)
        average.after_epoch(detector, epoch)
        assert (average.detector is None) == (epoch < 3)
    assert only(average.detector) == pytest.approx(3.0)
    assert average.needs_norms


def test_refreshed_norms_hold_the_statistics_of_what_they_were_shown(detector: SpikingDetector) -> None:
    first = next(module for module in detector.modules() if isinstance(module, torch.nn.BatchNorm2d))
    frames = torch.randint(0, 5, (4, 2, 2, 64, 96), dtype=torch.uint8)
    seen: list[torch.Tensor] = []
    hook = first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    refresh_norms(detector, [frames, frames])
    hook.remove()
    x = seen[0].flatten(0, seen[0].dim() - 4) if seen[0].dim() > 4 else seen[0]
    torch.testing.assert_close(first.running_mean, x.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)


def test_no_average_is_made_where_none_is_asked_for(detector: SpikingDetector) -> None:
    assert WeightAverage.of(TrainingConfig(), detector) is None
