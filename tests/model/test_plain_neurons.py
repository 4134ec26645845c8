"""The neurons that are exported compute what SpikingJelly's do."""

import pytest
import torch

from model.export.plain_neurons import PlainNeuron, plain
from model.neuron_config import NeuronConfig
from model.neurons import neuron_factory

CONFIGS = [
    {"name": "ilif"},
    {"name": "ilif", "decay": 0.6, "threshold": 0.7, "max_spikes": 3},
    {"name": "lif", "decay": 0.5, "threshold": 0.8},
    {"name": "plif", "decay": 0.4},
    {"name": "if", "threshold": 1.5},
    {"name": "psn"},
    {"name": "relu"},
]


def membrane_input(seed: int, steps: int) -> torch.Tensor:
    return torch.randn(steps, 2, 3, 8, 9, generator=torch.Generator().manual_seed(seed)) * 1.5 + 0.3


@pytest.mark.parametrize("settings", CONFIGS, ids=str)
def test_a_plain_neuron_fires_when_the_neuron_does(settings: dict[str, object]) -> None:
    torch.manual_seed(0)
    neuron = neuron_factory(NeuronConfig.model_validate(settings), time_steps=5)()
    x = membrane_input(1, 5)
    with torch.no_grad():
        spikes = neuron(x)
        torch.testing.assert_close(plain(neuron)(x), spikes, rtol=0, atol=0)
    assert 0.02 < float((spikes > 0).float().mean()) < 0.98


@pytest.mark.parametrize("settings", CONFIGS[:5], ids=str)
def test_a_plain_neuron_goes_on_from_where_it_is_told(settings: dict[str, object]) -> None:
    neuron = neuron_factory(NeuronConfig.model_validate(settings), time_steps=6)()
    twin = plain(neuron)
    assert isinstance(twin, PlainNeuron)
    x = membrane_input(2, 6)
    with torch.no_grad():
        whole = neuron(x)
        first = twin(x[:2])
        twin.membrane.start = twin.membrane.end
        rest = twin(x[2:])
    torch.testing.assert_close(torch.cat([first, rest]), whole, rtol=0, atol=0)


def test_counts_halfway_between_two_integers_go_to_the_even_one() -> None:
    neuron = neuron_factory(NeuronConfig(threshold=1.0), time_steps=1)()
    x = torch.tensor([[[-0.5, 0.5, 1.5, 2.5, 3.5, 4.5]]])
    for fires in (neuron, plain(neuron)):
        assert fires(x).tolist() == [[[0, 0, 2, 2, 4, 4]]]
