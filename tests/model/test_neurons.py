import math

import pytest
import torch

from data.errors import ConfigError
from model.neuron_config import NeuronConfig, NeuronName, Surrogate
from model.neurons import SpikingNeuron, neuron_factory


def fired(config: NeuronConfig, inputs: list[float]) -> list[float]:
    node = neuron_factory(config, len(inputs))()
    counts: list[float] = node(torch.tensor(inputs).reshape(-1, 1, 1)).flatten().tolist()
    return counts


def test_ilif_counts_what_the_membrane_holds_and_keeps_the_rest() -> None:
    # u = .25 (u - s) + x; s = round(clip(u, 0, 4))
    # u = .6                       -> 1, rest -.4
    # u = -.1 + 2.3 = 2.2          -> 2, rest .2
    # u = .05 + 9 = 9.05, cut at D -> 4, rest 5.05
    # u = 1.2625 - 1 = .2625       -> 0
    config = NeuronConfig(name=NeuronName.ILIF, decay=0.25, max_spikes=4, threshold=1.0)
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
    config = NeuronConfig(name=NeuronName.LIF, decay=0.5, threshold=1.0)
    assert fired(config, [0.6, 0.6, 0.6, 3.0, 0.0, 0.9]) == [0, 0, 1, 1, 1, 0]


@pytest.mark.parametrize(("name", "charge"), [(NeuronName.ILIF, 0.4), (NeuronName.LIF, 0.9)])
def test_the_least_decay_allowed_forgets_nearly_all(name: NeuronName, charge: float) -> None:
    # Twice the charge would fire, but a hundredth of the first is left when the second comes.
    assert fired(NeuronConfig(name=name, decay=0.01, threshold=1.0), [charge, charge, 1.3]) == [0, 0, 1]


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("lif", "max_spikes", 1),
        ("ilif", "surrogate", "sigmoid"),
        ("ilif", "alpha", 4.0),
        ("if", "decay", 0.5),
        ("psn", "threshold", 1.5),
        ("relu", "decay", 0.5),
        ("relu", "alpha", 1.0),
    ],
)
def test_a_setting_that_the_neuron_does_not_read_is_refused(name: str, setting: str, value: object) -> None:
    with pytest.raises(
        ConfigError, match=rf"trial\.yaml: {setting}={value} but a neuron of name={name} does not read it"
    ):
        NeuronConfig.parse({"name": name, setting: value}, "trial.yaml")


def test_an_if_neuron_forgets_nothing() -> None:
    # u = .4, .8, 1.2 -> 1 and rest .2, .6, 1.0 -> 1
    assert fired(NeuronConfig(name=NeuronName.IF, threshold=1.0), [0.4, 0.4, 0.4, 0.4, 0.4]) == [0, 0, 1, 0, 1]


def test_a_plif_neuron_begins_with_the_decay_it_is_given_and_learns_it() -> None:
    config = NeuronConfig(name=NeuronName.PLIF, decay=0.5, threshold=1.0)
    # As LIF above.
    assert fired(config, [0.6, 0.6, 0.6, 3.0, 0.0, 0.9]) == [0, 0, 1, 1, 1, 0]
    node = neuron_factory(config, 2)()
    # u[1] = v (1 - sigmoid(w)) + x: by w, -v / 4 at decay .5; times ATan's slope 1 / (1 + (pi (u - 1))^2) at u = 1.
    node(torch.tensor([0.8, 0.6]).reshape(2, 1, 1))[1].sum().backward()
    (w,) = node.parameters()
    assert w.grad is not None
    assert w.grad.item() == pytest.approx(-0.8 / 4 * 1.0)


def test_a_psn_neuron_weighs_all_steps_at_once() -> None:
    node = neuron_factory(NeuronConfig(name=NeuronName.PSN), 2)()
    weight, bias = (value for _, value in sorted(node.named_parameters(), reverse=True))
    with torch.no_grad():
        weight.copy_(torch.tensor([[0.0, 1.0], [2.0, 0.0]]))  # the first step looks at the second
        bias.fill_(-1.0)
    # h = (.4 - 1, 2 * .6 - 1) -> 0, 1 ; (1.5 - 1, 0 - 1) -> 1, 0
    assert node(torch.tensor([[[0.6, 0.0]], [[0.4, 1.5]]])).tolist() == [[[0, 1]], [[1, 0]]]


def test_a_psn_neuron_in_half_precision_fires_as_in_full() -> None:
    torch.manual_seed(0)
    node = neuron_factory(NeuronConfig(name=NeuronName.PSN), 4)()
    inputs = torch.randn(4, 1, 100).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = node(inputs)
    assert half.dtype is torch.bfloat16
    assert torch.equal(half.float(), node(inputs.float()))
    assert half.any()


def test_a_psn_neuron_refuses_to_carry_a_membrane() -> None:
    node = neuron_factory(NeuronConfig(name=NeuronName.PSN), 4)()
    with pytest.raises(ConfigError, match=r"name=psn .* set data\.order=random"):
        node.carry(torch.tensor([False]))


def test_the_twin_that_does_not_spike_is_a_relu() -> None:
    assert fired(NeuronConfig(name=NeuronName.RELU), [0.3, -2.0, 7.5]) == pytest.approx([0.3, 0, 7.5])


@pytest.mark.parametrize(
    ("surrogate", "alpha", "slope"),
    [
        (Surrogate.ATAN, 2.0, 2 / 2 / (1 + (math.pi / 2 * 2 * 0.25) ** 2)),
        (Surrogate.ATAN, 4.0, 4 / 2 / (1 + (math.pi / 2 * 4 * 0.25) ** 2)),
        (Surrogate.SIGMOID, 4.0, 4 * math.exp(-1) / (1 + math.exp(-1)) ** 2),
        (Surrogate.SOFT_SIGN, 2.0, 1 / (2 * 2 * (1 / 2 + 0.25) ** 2)),
        (Surrogate.PIECEWISE_QUADRATIC, 1.0, 1 - 0.25),
        (Surrogate.ERF, 2.0, 2 / math.sqrt(math.pi) * math.exp(-((2 * 0.25) ** 2))),
    ],
)
def test_the_gradient_of_a_spike_is_the_surrogates_closed_form(
    surrogate: Surrogate, alpha: float, slope: float
) -> None:
    node = neuron_factory(NeuronConfig(name=NeuronName.LIF, surrogate=surrogate, alpha=alpha, threshold=1.0), 1)()
    inputs = torch.tensor([[[1.25]]], requires_grad=True)  # a quarter above the threshold
    node(inputs).sum().backward()
    assert inputs.grad is not None
    assert inputs.grad.item() == pytest.approx(slope, rel=1e-5)


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.1])
def test_a_membrane_that_forgets_all_or_nothing_is_refused(decay: float) -> None:
    with pytest.raises(ConfigError, match="decay"):
        NeuronConfig.parse({"decay": decay}, "trial.yaml")


def test_the_gradient_passes_straight_through_inside_0_to_d_and_not_outside() -> None:
    inputs = torch.tensor([-0.5, 0.2, 1.7, 3.9, 4.1, 9.0], requires_grad=True)
    node = neuron_factory(NeuronConfig(max_spikes=4, threshold=1.0), 1)()
    node(inputs.reshape(1, 1, -1)).sum().backward()
    assert inputs.grad is not None
    assert inputs.grad.tolist() == [0, 1, 1, 1, 0, 0]


def test_the_gradient_through_time_follows_the_membrane() -> None:
    # u = .6, 2.2, 9.05, .2625 as above. Inside [0, D] a spike takes from the membrane what its input gave, so nothing
    # goes on; the third step is cut at D: its own count does not move, and a quarter of its input reaches the fourth.
    inputs = torch.tensor([0.6, 2.3, 9.0, -1.0], requires_grad=True)
    neuron_factory(NeuronConfig(decay=0.25, max_spikes=4, threshold=1.0), 1)()(
        inputs.reshape(-1, 1, 1)
    ).sum().backward()
    assert inputs.grad is not None
    assert inputs.grad.tolist() == [1, 1, 0.25, 1]


def test_the_membrane_is_at_rest_again_in_the_next_call() -> None:
    node = neuron_factory(NeuronConfig(decay=0.5, threshold=1.0), 1)()
    for _ in range(2):
        assert node(torch.full((1, 1, 1), 0.4)).item() == 0  # .4 alone does not fire; .4 * .5 + .4 = .6 would


def test_cells_of_one_step_do_not_mix() -> None:
    node = neuron_factory(NeuronConfig(decay=0.5, threshold=1.0), 1)()
    inputs = torch.tensor([[[0.4, 0.0], [1.0, 0.4]], [[0.4, 0.4], [0.4, 0.0]]])
    assert node(inputs).tolist() == [[[0, 0], [1, 0]], [[1, 0], [0, 0]]]


def resting() -> SpikingNeuron:
    node = neuron_factory(NeuronConfig(decay=0.5, threshold=1.0), 1)()
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
