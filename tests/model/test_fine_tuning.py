import pytest
import torch

from data.boxes import LabelSet, label_set
from data.errors import ConfigError
from data.events import SensorSize
from model.checkpoint import Checkpoint
from model.initial import initial_detector
from model.training.fine_tuning import take_over
from model.trial_config import TrialConfig

SOURCE = LabelSet("source", ("car", "bus", "tram"))


def configured(**leaves: object) -> TrialConfig:
    return TrialConfig().with_leaves({key.replace("__", "."): value for key, value in leaves.items()}, "test")


def checkpoint(config: TrialConfig, labels: LabelSet = SOURCE) -> Checkpoint:
    detector = initial_detector(config, labels)
    return Checkpoint(detector, config, labels, SensorSize(64, 48), 1, {})


def test_another_resolution_and_number_of_steps_takes_every_weight() -> None:
    source = checkpoint(configured(training__seed=1))
    detector = initial_detector(configured(training__seed=2, data__scale=0.5, data__time_steps=2), SOURCE)
    taken = take_over(detector, SOURCE, source)
    theirs = source.detector.state_dict()
    assert taken.fresh == ()
    assert all(torch.equal(theirs[name], value) for name, value in detector.state_dict().items())


def test_other_classes_keep_the_scores_of_those_that_have_the_same_name() -> None:
    source = checkpoint(configured(training__seed=1))
    labels = LabelSet("target", ("pedestrian", "tram", "bicycle", "car", "truck"))
    fresh = initial_detector(configured(training__seed=2), labels).state_dict()
    detector = initial_detector(configured(training__seed=2), labels)
    taken = take_over(detector, labels, source)
    assert set(taken.classes) == {"car", "tram"}
    name = "head.category.0.readout.weight"
    theirs, ours = source.detector.state_dict()[name], detector.state_dict()[name]
    assert torch.equal(ours[3], theirs[0])
    assert torch.equal(ours[1], theirs[2])
    for row in (0, 2, 4):
        assert torch.equal(ours[row], fresh[name][row])
    assert name in taken.fresh


def test_the_first_layer_of_another_representation_keeps_its_initial_values() -> None:
    source = checkpoint(configured(training__seed=1))
    config = configured(training__seed=2, data__representation__name="diff3d")
    detector, fresh = initial_detector(config, SOURCE), initial_detector(config, SOURCE)
    (first,) = take_over(detector, SOURCE, source).fresh
    assert torch.equal(detector.state_dict()[first], fresh.state_dict()[first])


def test_a_detector_of_another_size_is_refused_with_what_the_checkpoint_is() -> None:
    with pytest.raises(ConfigError, match=r"only .* weights fit .*model\.preset=small"):
        take_over(
            initial_detector(configured(), label_set("gen1")),
            label_set("gen1"),
            checkpoint(configured(model__preset="small"), label_set("gen1")),
        )
