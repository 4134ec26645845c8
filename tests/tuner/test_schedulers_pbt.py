"""Population-based training by hand, after a restart, and on a training whose best learning rate falls as it goes."""

import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.domains import Choice, Integer, Real
from tuner.schedulers.decision import Decision, Past
from tuner.schedulers.population import Heir, Population, near
from tuner.space import Branch, Leaves, Space

GO, WAIT, END = Decision.CONTINUE, Decision.PAUSE, Decision.STOP
LR = Branch("optimizer.lr", Real(1e-5, 1e-1, log=True))
SPACE = Space(
    [
        LR,
        Branch("optimizer.name", Choice(("sgd", "adamw"))),
        Branch("optimizer.weight_decay", Real(0.0, 0.1)),
        Branch("loss.box", Real(2.0, 16.0, step=0.5)),
        Branch("loss.assign_top_k", Integer(4, 20)),
        Branch("loss.classification", Choice(("focal", "varifocal"))),
        Branch("loss.focal_gamma", Real(0.0, 5.0), {"loss.classification": ("focal",)}),
        Branch("model.width", Integer(16, 64, step=16)),
    ]
)


def population(size: int = 4, epochs: int = 9, interval: int = 2, seed: int = 0, protected: int = -1) -> Population:
    return Population(
        Space([LR]), size=size, epochs=epochs, interval=interval, seed=seed, protected=frozenset({protected})
    )


def config(number: int) -> Leaves:
    """Of every trial alike."""
    return {"optimizer.lr": 1e-3}


def begun(judge: Population, trials: int = 4) -> Population:
    """With trials that have reported an epoch, so that nobody has to wait for them."""
    for number in range(trials):
        assert judge.report(number, 1, 0.0) is GO  # nobody is compared yet
    return judge


def donor(judge: Population, number: int, epoch: int) -> int | None:
    heir = judge.heir(number, epoch, config)
    return None if heir is None else heir.donor


def test_the_worst_of_four_ends_and_the_best_is_its_heirs_donor() -> None:
    judge = begun(population())
    assert [judge.report(number, 2, value) for number, value in enumerate((0.1, 0.4, 0.3))] == [GO] * 3
    assert [judge.report(3, 2, 0.05), judge.report(3, 2, 0.05)] == [END, END]
    judge.end(3)
    assert donor(judge, 4, 2) == 1


def test_the_first_at_a_comparison_are_compared_with_what_the_others_had_before() -> None:
    judge = begun(population())
    assert [judge.report(number, 2, number / 10) for number in range(4)] == [GO] * 4  # fewer than four, or the best
    assert judge.report(3, 4, 0.15) is GO  # 0 had less, .0
    assert judge.report(0, 4, 0.05) is END  # .1, .15, .2
    assert [judge.report(number, 4, 0.0) for number in (1, 2)] == [GO] * 2  # of the three that are left none ends


def test_only_the_living_give_their_weights_away() -> None:
    judge = begun(population())
    for number, value in enumerate((0.1, 0.4, 0.3, 0.2)):
        assert judge.report(number, 2, value) is GO
    judge.end(1)  # failed, say
    assert judge.report(4, 2, 0.0) is END  # of 0, 2, 3 and 4
    assert donor(judge, 5, 2) == 2
    assert judge.report(5, 4, 0.15) is GO  # .3, .2, .15, .1
    assert judge.report(0, 4, 0.05) is END
    for number in (2, 3, 5):
        judge.end(number)
    assert donor(judge, 6, 4) is None


def test_the_protected_never_end_nor_wait_and_nobody_is_compared_at_the_last_epoch() -> None:
    judge = begun(population(protected=3))
    for epoch in (2, 4, 6, 8, 9):
        assert [judge.report(number, epoch, 1 - number / 10) for number in range(4)] == [GO] * 4
    assert judge.report(3, 9, math.nan) is GO
    assert [rung.epoch for rung in judge.rungs()] == [2, 4, 6, 8]
    assert population(protected=0).report(0, 2, 0.5) is GO  # three have yet to begin


def test_a_value_that_is_no_finite_number_ends_a_trial() -> None:
    assert population().report(0, 1, math.nan) is END


def test_where_not_all_run_at_once_they_take_turns_from_comparison_to_comparison() -> None:
    judge = population()
    for number in (0, 1, 2, 3):  # one after the other, on one worker
        assert judge.report(number, 1, 0.0) is GO
        # 3 finds all begun, but 0 to 2 waiting where it now is.
        assert [judge.report(number, 2, 0.1 + number / 10), judge.report(number, 2, 0.0)] == [WAIT, WAIT]
    for number in (0, 1, 2, 3):
        assert judge.promote() == number  # those at 2 come before the first at 4
        assert [judge.report(number, 3, 0.5), judge.report(number, 4, 0.5 + number / 10)] == [GO, WAIT]
    judge.end(0)
    assert [judge.promote() for _ in range(4)] == [1, 2, 3, None]


def test_nobody_waits_for_those_that_are_ahead_or_have_ended() -> None:
    judge = population()
    for number in (0, 1, 2):
        judge.report(number, 1, 0.0)
    judge.end(3)  # before its first epoch
    assert [judge.report(number, 2, 0.5) for number in (0, 1, 2)] == [GO] * 3


def test_a_restored_population_stands_where_the_one_stands_that_lived_through_it() -> None:
    curves: dict[int, Mapping[int, float]] = {
        0: {1: 0.1, 2: 0.1},  # lost to 1, 2 and 3, and its heir is 4
        1: {1: 0.5, 2: 0.5, 3: 0.5, 4: 0.5},
        2: {1: 0.4, 2: 0.4, 3: 0.4, 4: 0.3},  # lost, without an heir
        3: {1: 0.3, 2: 0.3, 3: 0.3, 4: 0.45},
        4: {3: 0.6, 4: 0.6},
    }
    judge = population()
    judge.restore(Past(number, curve, ended=number in (0, 2)) for number, curve in curves.items())
    lived = begun(population())
    for epoch in (2, 4):
        for number, curve in sorted(curves.items(), key=lambda pair: -pair[1].get(epoch, 0)):
            if epoch in curve and lived.report(number, epoch, curve[epoch]) is END:
                assert (number, epoch) in ((0, 2), (2, 4))
                lived.end(number)
    assert [rung.values for rung in judge.rungs()] == [rung.values for rung in lived.rungs()]
    assert donor(judge, 5, 4) == donor(lived, 5, 4) == 4


def test_who_waited_waits_on_in_a_restored_population() -> None:
    judge = population()
    judge.restore([Past(0, {1: 0.1, 2: 0.2}, ended=False), Past(1, {1: 0.1, 2: 0.3}, ended=False, waiting=True)])
    assert [judge.promote(), judge.promote()] == [1, None]


def test_an_heir_follows_from_the_seed_and_its_number_alone() -> None:
    def born(seed: int, number: int) -> Heir | None:
        judge = population(seed=seed)
        for rival, value in enumerate((0.4, 0.3, 0.2, 0.1)):
            judge.report(rival, 2, value)
        return judge.heir(number, 2, config)

    assert born(0, 4) == born(0, 4)
    assert born(0, 4) != born(1, 4)
    assert born(0, 4) != born(0, 5)


def drawn(rng: np.random.Generator) -> Leaves:
    kind = str(rng.choice(["focal", "varifocal"]))
    conditional = {"loss.focal_gamma": float(rng.uniform(0, 5))} if kind == "focal" else {}
    return {
        "optimizer.lr": float(10 ** rng.uniform(-5, -1)),
        "optimizer.name": str(rng.choice(["sgd", "adamw"])),
        "optimizer.weight_decay": float(rng.uniform(0, 0.1)),
        "loss.box": float(rng.integers(4, 33)) / 2,
        "loss.assign_top_k": int(rng.integers(4, 21)),
        "loss.classification": kind,
        **conditional,
        "model.width": int(rng.integers(1, 5)) * 16,
    }


@given(st.integers(0, 100_000))
def test_an_heirs_settings_lie_in_the_space_and_what_weights_depend_on_stays(seed: int) -> None:
    rng = np.random.default_rng(seed)
    before = drawn(rng)
    after = near(SPACE, before, rng)
    active = {branch.leaf: branch.domain for branch in SPACE.branches if branch.active(after)}
    assert after.keys() == active.keys()
    assert all(domain.contains(after[leaf]) for leaf, domain in active.items())
    assert all(type(after[leaf]) is type(before[leaf]) for leaf in before.keys() & after.keys())
    assert (after["optimizer.name"], after["model.width"]) == (before["optimizer.name"], before["model.width"])


def test_settings_move_as_far_as_published_or_are_drawn_anew() -> None:
    rng = np.random.default_rng(0)
    before = {**drawn(rng), "optimizer.lr": 1e-3, "loss.assign_top_k": 10, "optimizer.weight_decay": 0.05}
    after = [near(SPACE, before, rng) for _ in range(400)]
    moves = [
        ("optimizer.lr", (8e-4, 1.25e-3)),
        ("loss.assign_top_k", (8, 12)),
        ("optimizer.weight_decay", (0.04, 0.06)),
    ]
    for leaf, (down, up) in moves:
        shares = [np.mean([math.isclose(one[leaf], value) for one in after]) for value in (down, up)]
        assert shares == pytest.approx([0.375, 0.375], abs=0.1), leaf  # half each of the 3/4 that are not drawn


def test_a_whole_number_moves_by_at_least_one_step() -> None:
    space, rng = Space([Branch("loss.assign_top_k", Integer(1, 3))]), np.random.default_rng(0)
    moved = {near(space, {"loss.assign_top_k": 2}, rng)["loss.assign_top_k"] for _ in range(50)}
    assert {1, 3} <= moved


def test_what_decides_on_a_leaf_that_cannot_change_stays_as_well() -> None:
    # A width under a kind of loss: another kind would be another net.
    kind = Branch("loss.classification", Choice(("focal", "varifocal")))
    space = Space([kind, Branch("model.width", Integer(16, 64), {"loss.classification": ("focal",)}), LR])
    rng = np.random.default_rng(0)
    for value in ("focal", "varifocal"):
        before = {"loss.classification": value, "model.width": 20, "optimizer.lr": 1e-3}
        after = [near(space, before, rng) for _ in range(50)]
        assert {one["loss.classification"] for one in after} == {value}
        assert {one.get("model.width") for one in after} == {20 if value == "focal" else None}
        assert len({one["optimizer.lr"] for one in after}) > 2


EPOCHS = 60


def gain(lr: float, epoch: int) -> float:
    """What an epoch adds: the best rate falls from 1e-1 to 1e-3, evenly over its logarithm."""
    return 1 - (math.log10(lr) + 1 + 2 * (epoch - 1) / (EPOCHS - 1)) ** 2


def test_a_population_follows_a_falling_best_rate_better_than_any_fixed_one() -> None:
    # A fixed rate can be right on average only: 1 - mean square of an even spread over [-1, 1], (n + 1) / 3 / (n - 1).
    best_fixed = EPOCHS * (1 - (EPOCHS + 1) / 3 / (EPOCHS - 1))
    assert best_fixed == pytest.approx(sum(gain(1e-2, epoch) for epoch in range(1, EPOCHS + 1)))
    size = 12
    judge = population(size=size, epochs=EPOCHS, interval=3, seed=1)
    rng = np.random.default_rng(1)
    given = {number: {"optimizer.lr": float(10 ** rng.uniform(-5, -1))} for number in range(size)}
    reached = dict.fromkeys(range(size), 0.0)
    epochs = dict.fromkeys(range(size), 0)
    running = list(range(size))
    while running:
        number = running.pop(0)
        epochs[number] += 1
        reached[number] += gain(given[number]["optimizer.lr"], epochs[number])
        decision = judge.report(number, epochs[number], reached[number])
        if decision is Decision.CONTINUE and epochs[number] < EPOCHS:
            running.append(number)
            continue
        judge.end(number)
        heir = judge.heir(len(given), epochs[number], given.__getitem__) if decision is Decision.STOP else None
        if heir is not None:
            child = len(given)
            given[child] = heir.leaves
            reached[child], epochs[child] = reached[heir.donor], epochs[heir.donor]
            running.append(child)
    assert max(reached[number] for number in epochs if epochs[number] == EPOCHS) > best_fixed + 4
