import pytest
import torch

from data.errors import ConfigError
from model.neurons import NeuronConfig, NeuronName, SpikingNeuron, neuron_factory


def fired(config: NeuronConfig, inputs: list[float]) -> list[float]:
    node = neuron_factory(config)()
    counts: list[float] = node(torch.tensor(inputs).reshape(-1, 1, 1)).flatten().tolist()
    return counts


def test_ilif_counts_what_the_membrane_holds_and_keeps_the_rest() -> None:
    # u = .25 (u - s) + x; s = round(clip(u, 0, 4))
    # u = .6                       -> 1, rest -.4
    # u = -.1 + 2.3 = 2.2          -> 2, rest .2
    # u = .05 + 9 = 9.05, cut at D -> 4, rest 5.05
    # u = 1.2625 - 1 = .2625       -> 0
    config = NeuronConfig(name=NeuronName.ILIF, decay=0.25, max_spikes=4)
    assert fired(config, [0.6, 2.3, 9.0, -1.0]) == [1, 2, 4, 0]


def test_ilif_with_a_threshold_counts_in_multiples_of_it() -> None:
    # u = 3.9            -> round(1.95) = 2, rest -.1
    # u = -.05 + .9 = .85 -> round(.425) = 0, rest .85
    # u = .425 + 1.2 = 1.625 -> round(.8125) = 1
    config = NeuronConfig(name=NeuronName.ILIF, decay=0.5, threshold=2.0, max_spikes=4)
    assert fired(config, [3.9, 0.9, 1.2]) == [2, 0, 1]


def test_lif_fires_once_at_most_and_keeps_the_rest() -> None:
    # u = .6                -> 0
    # u = .3 + .6 = .9      -> 0
    # u = .45 + .6 = 1.05   -> 1, rest .05
    # u = .025 + 3 = 3.025  -> 1, rest 2.025
    # u = 1.0125 + 0        -> 1, rest .0125
    # u = .00625 + .9       -> 0
    config = NeuronConfig(name=NeuronName.LIF, decay=0.5, max_spikes=1)
    assert fired(config, [0.6, 0.6, 0.6, 3.0, 0.0, 0.9]) == [0, 0, 1, 1, 1, 0]


@pytest.mark.parametrize(("name", "charge"), [(NeuronName.ILIF, 0.4), (NeuronName.LIF, 0.9)])
def test_the_least_decay_allowed_forgets_nearly_all(name: NeuronName, charge: float) -> None:
    # Twice the charge would fire, but a hundredth of the first is left when the second comes.
    assert fired(NeuronConfig(name=name, decay=0.01, max_spikes=1), [charge, charge, 1.3]) == [0, 0, 1]


def test_a_lif_neuron_that_should_fire_more_than_once_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"trial\.yaml: max_spikes=4 but a LIF neuron fires once.*set max_spikes=1"):
        NeuronConfig.parse({"name": "lif", "max_spikes": 4}, "trial.yaml")


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.1])
def test_a_membrane_that_forgets_all_or_nothing_is_refused(decay: float) -> None:
    with pytest.raises(ConfigError, match="decay"):
        NeuronConfig.parse({"decay": decay}, "trial.yaml")


def test_the_gradient_passes_straight_through_inside_0_to_d_and_not_outside() -> None:
    inputs = torch.tensor([-0.5, 0.2, 1.7, 3.9, 4.1, 9.0], requires_grad=True)
    node = neuron_factory(NeuronConfig(max_spikes=4))()
    node(inputs.reshape(1, 1, -1)).sum().backward()
    assert inputs.grad is not None
    assert inputs.grad.tolist() == [0, 1, 1, 1, 0, 0]


def test_the_gradient_through_time_follows_the_membrane() -> None:
    # u = .6, 2.2, 9.05, .2625 as above. Inside [0, D] a spike takes from the membrane what its input gave, so nothing
    # goes on; the third step is cut at D: its own count does not move, and a quarter of its input reaches the fourth.
    inputs = torch.tensor([0.6, 2.3, 9.0, -1.0], requires_grad=True)
    neuron_factory(NeuronConfig(decay=0.25, max_spikes=4))()(inputs.reshape(-1, 1, 1)).sum().backward()
    assert inputs.grad is not None
    assert inputs.grad.tolist() == [1, 1, 0.25, 1]


def test_the_membrane_is_at_rest_again_in_the_next_call() -> None:
    node = neuron_factory(NeuronConfig(decay=0.5))()
    for _ in range(2):
        assert node(torch.full((1, 1, 1), 0.4)).item() == 0  # .4 alone does not fire; .4 * .5 + .4 = .6 would


def test_cells_of_one_step_do_not_mix() -> None:
    node = neuron_factory(NeuronConfig(decay=0.5))()
    inputs = torch.tensor([[[0.4, 0.0], [1.0, 0.4]], [[0.4, 0.4], [0.4, 0.0]]])
    assert node(inputs).tolist() == [[[0, 0], [1, 0]], [[1, 0], [0, 0]]]


def resting() -> SpikingNeuron:
    node = neuron_factory(NeuronConfig(decay=0.5))()
    assert isinstance(node, SpikingNeuron)
    return node


def test_a_carried_membrane_goes_on_in_the_rows_that_continue_and_rests_in_the_others() -> None:
    # Decay .5, threshold 1, input .4: u = .4, no spike (round(.4) = 0); then u = .2 + .4 = .6 -> 1. From rest: .4 -> 0.
    node = resting()
    inputs = torch.full((1, 2, 1, 1, 1), 0.4)
    node.carry(torch.tensor([False, False]))
    assert node(inputs).flatten().tolist() == [0, 0]
    node.carry(torch.tensor([True, False]))
    assert node(inputs).flatten().tolist() == [1, 0]


def test_a_membrane_that_is_not_carried_leaves_nothing_behind() -> None:
    node = resting()
    inputs = torch.full((1, 1, 1), 0.4)
    node.carry(torch.tensor([True]))
    node(inputs)
    node.carry(None)
    assert node(inputs).item() == 0
    node.carry(torch.tensor([True]))
    assert node(inputs).item() == 0  # what was carried before was let go


def test_gradients_end_where_a_carried_call_begins() -> None:
    node = resting()
    first = torch.full((1, 1, 1), 0.4, requires_grad=True)
    node.carry(torch.tensor([True]))
    node(first)
    node.carry(torch.tensor([True]))
    second = torch.full((1, 1, 1), 0.4, requires_grad=True)
    node(second).sum().backward()
    assert first.grad is None
    assert second.grad is not None
