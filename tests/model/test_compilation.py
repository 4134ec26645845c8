import logging

import pytest
import torch
from torch import nn

from model.compilation import resolve_compile
from model.neuron_config import NeuronConfig
from model.neurons import neuron_factory
from model.trial_config import Compile, TrialConfig

CPU = torch.device("cpu")


def asking(mode: Compile) -> TrialConfig:
    return TrialConfig().with_leaves({"training.compile": mode.value}, "test")


class Broken(nn.Module):
    def forward(self, _: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no C++ compiler here\nand a page of details")


def broken_factory(config: NeuronConfig, time_steps: int, compiled: bool = False) -> type[Broken]:
    return Broken


@pytest.mark.parametrize("mode", [Compile.OFF, Compile.NEURONS])
def test_a_mode_that_is_named_is_taken_without_a_trial(mode: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.compilation.neuron_factory", broken_factory)
    assert resolve_compile(asking(mode), CPU) is mode


def test_auto_is_off_and_says_why_where_neurons_do_not_compile(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("model.compilation.neuron_factory", broken_factory)
    with caplog.at_level(logging.WARNING):
        assert resolve_compile(asking(Compile.AUTO), CPU) is Compile.OFF
    (said,) = caplog.messages
    assert said.endswith("no C++ compiler here")


@pytest.mark.filterwarnings("ignore")  # the compiler warns about its own code, and takes an error there for a failure
def test_compiled_neurons_fire_and_learn_as_worked_out_by_hand() -> None:
    if resolve_compile(asking(Compile.AUTO), CPU) is Compile.OFF:
        pytest.skip("this machine has no compiler for torch.compile")
    # As in the tests of the neurons: u = .25 (u - s) + x is .6, 2.2, 9.05 and .2625; D is 4.
    inputs = torch.tensor([0.6, 2.3, 9.0, -1.0], requires_grad=True)
    counts = neuron_factory(NeuronConfig(decay=0.25, max_spikes=4, threshold=1.0), 4, compiled=True)()(
        inputs.reshape(-1, 1, 1)
    )
    counts.sum().backward()
    assert counts.flatten().tolist() == [1, 2, 4, 0]
    assert inputs.grad is not None
    assert inputs.grad.tolist() == [1, 1, 0.25, 1]
