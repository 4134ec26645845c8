import pytest
import torch
from torch import nn

from model.optimizer import OptimizerConfig, OptimizerName, make_optimizer, scaled_lr


def net() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(2, 4, 3, bias=True), nn.BatchNorm2d(4))


def config(**leaves: object) -> OptimizerConfig:
    return OptimizerConfig.parse({"lr": 0.1, "weight_decay": 0.5, "momentum": 0.9, **leaves}, "test")


def filled(model: nn.Module) -> nn.Module:
    for value in model.parameters():
        value.grad = torch.full_like(value, 0.25)
    return model


@pytest.mark.parametrize("name", [OptimizerName.SGD, OptimizerName.ADAMW, OptimizerName.RADAM, OptimizerName.MUON])
def test_only_convolutions_decay(name: OptimizerName) -> None:
    model = net()
    optimizer = make_optimizer(model, config(name=name.value), 4)
    before = {key: value.detach().clone() for key, value in model.named_parameters()}
    for value in model.parameters():
        value.grad = torch.zeros_like(value)
    optimizer.step()
    moved = {key: not torch.equal(before[key], value) for key, value in model.named_parameters()}
    assert moved == {"0.weight": True, "0.bias": False, "1.weight": False, "1.bias": False}


def test_adams_decay_is_a_part_of_the_gradient() -> None:
    # With a gradient of nothing but w / 2, Adam's first step has the length of the learning rate, whatever w is.
    model = net()
    before = model[0].weight.detach().clone()  # type: ignore[index]
    optimizer = make_optimizer(model, config(name="adam"), 4)
    for value in model.parameters():
        value.grad = torch.zeros_like(value)
    optimizer.step()
    torch.testing.assert_close(before - model[0].weight, 0.1 * before.sign(), rtol=1e-3, atol=1e-4)  # type: ignore[index]


def test_nesterovs_first_step_is_the_gradient_and_its_momentum() -> None:
    model = filled(net())
    before = model[0].bias.detach().clone()  # type: ignore[index]
    make_optimizer(model, config(name="sgd"), 4).step()
    torch.testing.assert_close(model[0].bias, before - 0.1 * (0.25 + 0.9 * 0.25))  # type: ignore[index]


def test_muons_step_on_a_convolution_is_that_on_its_matrix() -> None:
    model = filled(net()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    matrix = nn.Parameter(model[0].weight.detach().flatten(1).clone())
    matrix.grad = model[0].weight.grad.flatten(1).clone()
    peer = torch.optim.Muon(
        [matrix], lr=0.1, weight_decay=0.5, momentum=0.9, nesterov=True, adjust_lr_fn="match_rms_adamw"
    )
    ours = make_optimizer(model, config(name="muon"), 4)
    for _ in range(2):
        ours.step()
        peer.step()
    torch.testing.assert_close(model[0].weight.flatten(1), matrix)


@pytest.mark.parametrize("name", list(OptimizerName))
def test_a_restored_optimizer_goes_on_bit_for_bit(name: OptimizerName) -> None:
    whole, broken = filled(net()), filled(net())
    optimizer = make_optimizer(whole, config(name=name.value), 4)
    first = make_optimizer(broken, config(name=name.value), 4)
    for _ in range(2):
        optimizer.step()
        first.step()
    second = make_optimizer(broken, config(name=name.value), 4)
    second.load_state_dict(first.state_dict())
    optimizer.step()
    second.step()
    for one, other in zip(whole.parameters(), broken.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("name", "reference", "windows", "rate"),
    [
        ("sgd", 4, 16, 0.4),  # in proportion (Goyal et al. 2017)
        ("adamw", 4, 16, 0.2),  # with the square root (Malladi et al. 2022)
        ("muon", 4, 1, 0.05),
        ("sgd", None, 16, 0.1),
        ("adam", 4, 4, 0.1),
    ],
)
def test_the_learning_rate_follows_the_batch(name: str, reference: int | None, windows: int, rate: float) -> None:
    settings = config(name=name, lr_reference_batch=reference)
    assert scaled_lr(settings, windows) == pytest.approx(rate)
    rates = [group["lr"] for group in make_optimizer(net(), settings, windows).param_groups]
    assert rates == pytest.approx([rate, rate])
