import copy
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from data.boxes import label_set
from data.errors import ConfigError
from model.compilation import compile_detector, resolve_compile
from model.initial import initial_detector
from model.neuron_config import NeuronConfig
from model.neurons import SpikingNeuron, neuron_factory
from model.training.config import Compile
from model.trial_config import TrialConfig

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


def test_all_is_refused_with_the_reason_and_the_remedy_where_nothing_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.compilation.neuron_factory", broken_factory)
    with pytest.raises(ConfigError, match=r"no C\+\+ compiler here; set training\.compile to auto or off"):
        resolve_compile(asking(Compile.ALL), CPU)


class Stub(nn.Module):
    """A detector in small: a norm and a neuron, which is told in which rows to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.neuron: SpikingNeuron = neuron_factory(NeuronConfig(decay=0.5, threshold=1.0), 1)()

    def forward(self, x_TBN: torch.Tensor, continues: torch.Tensor | None = None) -> torch.Tensor:
        self.neuron.carry(continues)
        spikes: torch.Tensor = self.neuron(self.norm(x_TBN.flatten(0, 1)).view(x_TBN.shape))
        return spikes


@pytest.fixture
def compiler() -> None:
    if resolve_compile(asking(Compile.AUTO), CPU) is Compile.OFF:
        pytest.skip("this machine has no compiler for torch.compile")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("compiler")
def test_a_compiled_detector_carries_its_membranes_as_an_eager_one() -> None:
    assert resolve_compile(asking(Compile.ALL), CPU) is Compile.ALL
    eager, compiled = Stub().eval(), Stub().eval()
    compile_detector(compiled, Compile.ALL)
    x = torch.full((1, 2, 3), 0.4)
    for continues in (None, [False, False], [True, True], [True, False]):
        told = None if continues is None else torch.tensor(continues)
        with torch.no_grad():
            assert torch.equal(compiled(x, told), eager(x, told))
    # u = .5 (u - s) + .4 in the first row is .4, .6 and, as that fires, .2; in the second it ends as it began.
    assert compiled.neuron.potential is not None
    torch.testing.assert_close(
        compiled.neuron.potential, torch.tensor([0.2, 0.4])[:, None].expand(2, 3), atol=1e-4, rtol=0
    )


def test_a_compiled_detector_has_the_names_of_an_eager_one_and_can_be_copied() -> None:
    eager, compiled = Stub(), Stub()
    compile_detector(compiled, Compile.ALL)
    assert list(compiled.state_dict()) == list(eager.state_dict())
    assert [name for name, _ in compiled.named_parameters()] == [name for name, _ in eager.named_parameters()]
    compiled.load_state_dict(eager.state_dict())
    copied = copy.deepcopy(compiled)
    x = torch.full((1, 2, 3), 5.0)
    assert torch.equal(copied.eval()(x), eager.eval()(x))


def test_other_modes_leave_the_detector_as_it_is() -> None:
    for mode in (Compile.OFF, Compile.NEURONS, Compile.AUTO):
        detector = Stub()
        compile_detector(detector, mode)
        assert detector._compiled_call_impl is None


@pytest.mark.system  # minutes of compiling
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("compiler")
def test_a_whole_detector_answers_and_learns_compiled_as_eager() -> None:
    leaves = {"data.time_steps": 1, "model.width": 0.25}
    config = TrialConfig().with_leaves(leaves, "test")
    eager, compiled = (initial_detector(config, label_set("gen1")).double().train() for _ in range(2))
    compile_detector(compiled, Compile.ALL)
    frames = torch.randint(0, 3, (1, 2, 2, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for detector in (eager, compiled):
        predictions = detector(frames)
        (predictions.classes.square().mean() + predictions.sides.square().mean()).backward()
    for ours, theirs in zip(compiled.parameters(), eager.parameters(), strict=True):
        if theirs.grad is None:
            assert ours.grad is None
        else:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-6, atol=1e-9)


FIRES = """
import sys, time, warnings
warnings.simplefilter("ignore")
import torch
from model.neuron_config import NeuronConfig
from model.neurons import neuron_factory
neuron = neuron_factory(NeuronConfig(), 2, compiled=True)()
neuron(torch.ones(2, 3, requires_grad=True)).sum().backward()
counted = torch._dynamo.utils.counters["inductor"]
print(counted["fxgraph_cache_hit"], counted["fxgraph_cache_miss"])
"""


@pytest.mark.system  # compiles from nothing
@pytest.mark.usefixtures("compiler")
def test_a_neuron_is_compiled_once_for_all_processes_of_a_machine(tmp_path: Path) -> None:
    said = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", FIRES],
            env={**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
        said.append(done.stdout.split())
    (hits, misses), (later_hits, later_misses) = said
    assert (hits, later_misses) == ("0", "0")
    assert misses == later_hits != "0"
