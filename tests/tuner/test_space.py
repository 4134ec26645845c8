"""Domains, conditions, and what can go wrong with them."""

import math
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import ConfigError
from tuner.domains import Choice, Domain, Integer, Real
from tuner.space import Branch, BranchError, Space

NAME = Branch("optimizer.name", Choice(("sgd", "adamw")))
SGD = Branch("optimizer.lr", Real(3e-3, 3e-2, log=True), {"optimizer.name": ("sgd",)})
ADAMW = Branch("optimizer.lr", Real(1e-4, 2e-3, log=True), {"optimizer.name": ("adamw",)})


class Scripted:
    """Answers each parameter with a fixed value, or the lower end, and remembers what was asked."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def _answer(self, name: str, default: Any) -> Any:
        self.asked.append(name)
        return self.answers.get(name, default)

    def suggest_float(self, name: str, low: float, *_: Any, **__: Any) -> float:
        return float(self._answer(name, low))

    def suggest_int(self, name: str, low: int, *_: Any, **__: Any) -> int:
        return int(self._answer(name, low))

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        return self._answer(name, choices[0])


def test_only_the_branch_whose_condition_holds_is_sampled() -> None:
    trial = Scripted(**{"optimizer.name": "adamw"})
    assert Space([NAME, SGD, ADAMW]).sample(trial) == {"optimizer.name": "adamw", "optimizer.lr": 1e-4}
    assert trial.asked == ["optimizer.name", "optimizer.lr[optimizer.name=adamw]"]


def test_a_condition_is_decided_before_it_is_asked_whatever_the_order_in_the_file() -> None:
    trial = Scripted()
    assert Space([ADAMW, SGD, NAME]).sample(trial) == {"optimizer.name": "sgd", "optimizer.lr": 3e-3}


def test_a_branch_is_inactive_if_the_leaf_it_depends_on_is_inactive() -> None:
    first = Branch("a", Choice(("on", "off")))
    second = Branch("b", Choice((1, 2)), {"a": ("on",)})
    third = Branch("c", Integer(5, 9), {"b": (1,)})
    space = Space([first, second, third])
    assert space.sample(Scripted(a="off")) == {"a": "off"}
    assert space.sample(Scripted(a="on")) == {"a": "on", "b": 1, "c": 5}
    assert space.observed({"a": "off", "b": 1, "c": 7}) == [(first, "off")]


def test_the_default_is_observed_where_its_values_lie_in_the_active_domains() -> None:
    space = Space([NAME, SGD, ADAMW])
    assert space.observed({"optimizer.name": "sgd", "optimizer.lr": 0.01}) == [(NAME, "sgd"), (SGD, 0.01)]
    # 0.01 is a rate for SGD; AdamW's range ends at 0.002.
    assert space.observed({"optimizer.name": "adamw", "optimizer.lr": 0.01}) == [(NAME, "adamw")]


@pytest.mark.parametrize(
    ("branches", "message"),
    [
        ([SGD], "'optimizer.name' is not in the space"),
        (
            [NAME, Branch("x", Real(0, 1), {"optimizer.name": ("rmsprop",)})],
            "never 'rmsprop'; possible: ['sgd', 'adamw']",
        ),
        ([Branch("a", Choice((1, 2)), {"b": (1,)}), Branch("b", Choice((1, 2)), {"a": (1,)})], "circle"),
        ([Branch("a", Choice((1, 2)), {"a": (1,)})], "circle"),
        ([NAME, SGD, Branch("optimizer.lr", Real(0.1, 1))], "overlaps with"),
        ([NAME, SGD, Branch("optimizer.lr", Real(0.1, 1), {"optimizer.name": ("adamw", "sgd")})], "overlaps with"),
        ([Branch("r", Real(0, 1)), Branch("x", Real(0, 1), {"r": (0.5,)})], "real number"),
        ([Branch("n", Integer(1, 3)), Branch("x", Real(0, 1), {"n": (4,)})], "possible: 1 to 3"),
    ],
)
def test_a_broken_condition_is_refused_by_name(branches: list[Branch], message: str) -> None:
    with pytest.raises(BranchError) as caught:
        Space(branches)
    assert message in str(caught.value)


def test_branches_that_exclude_each_other_through_a_third_leaf_do_not_overlap() -> None:
    kind = Branch("kind", Choice(("x", "y")))
    depth = Branch("depth", Choice((1, 2)), {"kind": ("x",)})
    shallow = Branch("rate", Real(0, 1), {"depth": (1, 2)})  # only under kind=x
    other = Branch("rate", Real(5, 6), {"kind": ("y",)})
    space = Space([kind, depth, shallow, other])
    assert space.sample(Scripted(kind="y")) == {"kind": "y", "rate": 5.0}


def test_a_branch_that_can_never_hold_is_refused() -> None:
    kind = Branch("kind", Choice(("x", "y")))
    depth = Branch("depth", Choice((1, 2)), {"kind": ("x",)})
    with pytest.raises(BranchError, match="can never hold"):
        Space([kind, depth, Branch("rate", Real(0, 1), {"depth": (1,), "kind": ("y",)})])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Real(2, 2), "empty"),
        (lambda: Real(3, 2), "reversed"),
        (lambda: Real(0, 1, log=True), "exceed 0"),
        (lambda: Integer(-1, 4, log=True), "exceed 0"),
        (lambda: Real(0, math.inf), "finite"),
        (lambda: Real(0, 1, step=0.3), "whole steps"),
        (lambda: Real(1, 2, log=True, step=0.5), "cannot have a step"),
        (lambda: Integer(1, 4, step=2), "whole steps"),
        (lambda: Integer(1, 5, step=0), "whole steps"),
        (lambda: Choice(()), "needs options"),
        (lambda: Choice(("a", "b", "a")), "twice"),
    ],
)
def test_a_domain_that_cannot_be_sampled_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_true_and_one_are_different_options() -> None:
    assert Choice((True, 1)).contains(1)
    assert not Choice((True, False)).contains(1)


@given(
    st.sampled_from(
        [
            Real(0.5, 2.5),
            Real(1e-4, 1e-1, log=True),
            Real(0, 1, step=0.1),
            Integer(1, 64, log=True),
            Integer(0, 9, step=3),
        ]
    ),
    st.integers(0, 2**31),
)
def test_a_domain_contains_whatever_optuna_draws_from_it(domain: Domain, seed: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
    assert domain.contains(domain.suggest(study.ask(), "x"))
