import pytest
import torch
from spikingjelly.activation_based import layer
from torch import nn

from data.dataset import Dataset
from data.errors import ConfigError
from data.manifest import Split
from model.decoding import decode
from model.detector import DetectorConfig, SpikingDetector
from model.neuron_config import NeuronConfig, NeuronName
from model.prediction import EvaluationWindows, Validation
from model.spike_driven import SpikeDrivenConvolution, spike_driven
from model.streaming import DetectorStream
from model.training.trainer import Trainer
from model.trial_config import TrialConfig

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def trained(tiny_dataset: Dataset) -> Trainer:
    """A detector after two epochs: its norms and weights have moved, and it fires."""
    leaves = {"training.epochs": 2, "training.compile": "off", "training.windows_per_epoch": 16, "optimizer.lr": 5e-3}
    trainer = Trainer(TrialConfig().with_leaves(leaves, "test"), tiny_dataset, Validation(windows=6), CPU)
    for epoch in (1, 2):
        list(trainer.epoch(epoch))
        trainer.end_epoch(epoch)
    trainer.detector.eval()
    return trainer


@pytest.fixture(scope="module")
def frames(tiny_dataset: Dataset, trained: Trainer) -> torch.Tensor:
    windows = EvaluationWindows(tiny_dataset.shards(Split.VAL), trained.config.data, Validation(windows=4))
    return torch.cat([frames_TBCHW for _, frames_TBCHW in windows.loader], dim=1)


def test_slots_of_zeros_and_ones_answer_as_their_counts() -> None:
    # Weight 2, bias 5: counts 3 and 0 at the first step, 1 and 4 at the second.
    convolution = layer.Conv2d(1, 1, 1, step_mode="m")
    nn.init.constant_(convolution.weight, 2.0)
    nn.init.constant_(convolution.bias, 5.0)
    driven = SpikeDrivenConvolution(convolution, 4)
    seen: list[torch.Tensor] = []
    driven.unbiased.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    answer = driven(torch.tensor([[3.0, 0.0], [1.0, 4.0]]).reshape(2, 1, 1, 1, 2))
    assert answer.flatten().tolist() == [11, 5, 7, 13]
    assert seen[0].flatten(1).tolist() == [[1, 0], [1, 0], [1, 0], [0, 0], [1, 1], [0, 1], [0, 1], [0, 1]]


def test_every_weight_but_the_stems_meets_zeros_and_ones(trained: Trainer, frames: torch.Tensor) -> None:
    driven = spike_driven(trained.detector)
    seen: list[torch.Tensor] = []
    for module in driven.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        driven(frames[:, :1])
    stem, *others = seen
    assert stem.max() > 1
    assert len(others) == len([module for module in trained.detector.modules() if isinstance(module, nn.Conv2d)]) - 1
    for spikes in others:
        assert set(spikes.unique().tolist()) <= {0.0, 1.0}
    assert all(spikes.shape[0] == 4 * 8 for spikes in others)  # T steps of D slots
    assert sum(bool(spikes.any()) for spikes in others) > len(others) / 2


def test_spike_driven_a_trained_net_finds_the_same_boxes(trained: Trainer, frames: torch.Tensor) -> None:
    # In double precision, where the order of a sum cannot push a membrane over its threshold.
    with torch.no_grad():
        counted = decode(trained.detector.double()(frames))
        driven = decode(spike_driven(trained.detector)(frames))
        trained.detector.float()
    assert sum(len(found.scores) for found in counted) > 20
    for one, other in zip(counted, driven, strict=True):
        torch.testing.assert_close(torch.from_numpy(one.corners), torch.from_numpy(other.corners), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(torch.from_numpy(one.scores), torch.from_numpy(other.scores), rtol=1e-5, atol=1e-5)
        assert one.classes.tolist() == other.classes.tolist()


def test_a_stream_fed_step_by_step_finds_what_the_whole_window_finds(trained: Trainer, frames: torch.Tensor) -> None:
    detector = trained.detector.double()
    stream = DetectorStream(detector)
    with torch.no_grad():
        whole = decode(detector(frames[:, :1]))[0]
    for _ in range(2):  # and again after a reset
        stream.reset()
        *_, last = [stream.step(frame_CHW) for frame_CHW in frames[:, 0]]
        assert last.classes.tolist() == whole.classes.tolist()
        torch.testing.assert_close(torch.from_numpy(last.corners), torch.from_numpy(whole.corners), rtol=0, atol=1e-5)
        torch.testing.assert_close(torch.from_numpy(last.scores), torch.from_numpy(whole.scores), rtol=0, atol=1e-5)
    detector.float()
    assert len(whole.scores) > 10


def test_a_stream_that_is_not_reset_goes_on(trained: Trainer, frames: torch.Tensor) -> None:
    stream = DetectorStream(trained.detector)
    first = stream.predict(frames[:, :1])
    again = stream.predict(frames[:, :1])
    assert not torch.equal(first.classes[0], again.classes[0])


def test_neurons_that_do_not_count_cannot_be_unrolled() -> None:
    config = TrialConfig()
    model = DetectorConfig(neuron=NeuronConfig(name=NeuronName.RELU))
    with pytest.raises(ConfigError, match=r"model\.neuron\.name=relu: only ilif counts spikes"):
        spike_driven(SpikingDetector(model, config.data.representation, 4, 2))
