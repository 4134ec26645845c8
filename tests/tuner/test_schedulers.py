"""Rungs, brackets and both successive halvings worked out by hand; and what holds for every scheduler."""

import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import ConfigError
from tuner.schedulers.build import build_scheduler
from tuner.schedulers.decision import Decision, Past, Rung, Scheduler
from tuner.schedulers.levels import Brackets, best_share, rung_epochs
from tuner.schedulers.names import SchedulerName

GO, WAIT, END = Decision.CONTINUE, Decision.PAUSE, Decision.STOP
OURS = [name for name in SchedulerName if name is not SchedulerName.PBT]


def scheduler(name: SchedulerName, epochs: int = 9, grace: int = 2, eta: float = 3, **more: object) -> Scheduler:
    return build_scheduler(name, epochs=epochs, grace=grace, reduction_factor=eta, **{"seed": 0, **more})  # type: ignore[arg-type]


def values(rungs: list[Rung]) -> list[tuple[int, int, Mapping[int, float]]]:
    return [(rung.bracket, rung.epoch, rung.values) for rung in rungs]


def test_rungs_are_grace_times_powers_of_the_factor_below_the_last_epoch() -> None:
    assert rung_epochs(52, 2, 3) == (2, 6, 18)
    assert rung_epochs(54, 2, 3) == (2, 6, 18)  # 54 is the end of every trial, and compares nobody
    assert rung_epochs(55, 2, 3) == (2, 6, 18, 54)
    assert rung_epochs(3, 4, 3) == ()


def test_a_rung_between_two_epochs_is_at_the_later_one() -> None:
    assert rung_epochs(30, 2, 2.5) == (2, 5, 13)  # 12.5; the next is 31.25
    assert rung_epochs(6, 1, 1.5) == (1, 2, 3, 4)  # 1, 1.5, 2.25, 3.375; the next is 5.06, so at 6


def test_ends_replace_the_powers_and_the_last_one_compares_nobody() -> None:
    assert rung_epochs(9, 2, 3, ends=(4, 7, 9)) == (4, 7)


@pytest.mark.parametrize("ends", [(0, 3), (3, 3), (5, 2)])
def test_ends_that_do_not_ascend_are_refused(ends: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="positive and ascending"):
        rung_epochs(9, 2, 3, ends)


def test_a_share_is_rounded_down_and_a_float_factor_costs_no_trial() -> None:
    assert [best_share(trials, 3) for trials in range(7)] == [0, 0, 0, 1, 1, 1, 2]
    assert best_share(11, 2.2) == 5  # 11 / 2.2 is 4.999... in floats


def test_brackets_are_drawn_as_often_as_hyperband_starts_trials_in_them() -> None:
    # 3 ^ r / (r + 1) for 2, 1 and 0 rungs: 9/3, 3/2, 1 of 5.5.
    brackets = Brackets((2, 6), 3, 3, seed=1)
    assert brackets.rungs == ((2, 6), (6,), ())
    shares = np.bincount([brackets.of(number) for number in range(4000)]) / 4000
    expected = np.array([3, 1.5, 1]) / 5.5
    assert np.all(np.abs(shares - expected) < 4 * np.sqrt(expected * (1 - expected) / 4000))


def test_a_trials_bracket_follows_from_the_seed_and_its_number_alone() -> None:
    first, second, other = (Brackets((2, 6), 3, 3, seed) for seed in (1, 1, 2))
    drawn = [first.of(number) for number in range(50)]
    assert drawn == [second.of(number) for number in reversed(range(50))][::-1]
    assert drawn != [other.of(number) for number in range(50)]


def test_more_brackets_than_rungs_and_one_are_refused() -> None:
    with pytest.raises(ConfigError, match="between 1 and 3"):
        scheduler(SchedulerName.ASHA, brackets=4)
    assert len(scheduler(SchedulerName.HYPERBAND).rungs()) == 2 + 1


def test_asha_stops_a_trial_that_is_not_among_the_best_third_of_its_rung() -> None:
    asha = scheduler(SchedulerName.ASHA)
    assert asha.report(0, 1, 0.0) is GO  # no rung yet
    assert asha.report(0, 2, 0.1) is GO  # the only one
    assert asha.report(1, 2, 0.2) is GO  # the best of 2
    assert asha.report(2, 2, 0.15) is END  # the second of 3, of which 1 goes on
    assert asha.report(3, 2, 0.3) is GO
    assert asha.report(4, 2, 0.25) is END  # the second of 5, of which 1 goes on
    assert asha.report(5, 2, 0.26) is GO  # the second of 6, of which 2 go on
    assert asha.report(3, 6, 0.1) is GO
    assert asha.report(1, 6, 0.05) is END
    assert asha.report(3, 9, 0.0) is GO  # nobody is compared at the end


def test_of_equal_values_no_more_go_on_than_their_share() -> None:
    asha = scheduler(SchedulerName.ASHA)
    # 1/3 of 1, 2, ..., 7, rounded down: 0, 0, 1, 1, 1, 2, 2, and at least one; the lower number stands first.
    assert [asha.report(number, 2, 0.0) for number in range(1, 8)] == [GO, END, END, END, END, END, END]
    assert asha.report(0, 2, 0.0) is GO


def test_asha_never_stops_the_protected_and_counts_them() -> None:
    asha = scheduler(SchedulerName.ASHA, protected=frozenset({0}))
    asha.report(1, 2, 0.6)
    assert asha.report(0, 2, 0.5) is GO
    assert asha.report(0, 3, math.nan) is GO
    assert asha.report(2, 2, 0.55) is END
    assert values(asha.rungs()) == [(0, 2, {1: 0.6, 0: 0.5, 2: 0.55}), (0, 6, {})]


def test_asha_compares_a_trial_that_skipped_a_rung_at_its_first_report_beyond_it() -> None:
    asha = scheduler(SchedulerName.ASHA)
    asha.report(0, 2, 0.5)
    assert asha.report(1, 4, 0.4) is END
    assert asha.report(2, 7, 0.7) is GO
    assert values(asha.rungs()) == [(0, 2, {0: 0.5, 1: 0.4, 2: 0.7}), (0, 6, {2: 0.7})]
    assert asha.report(3, 9, 0.0) is GO  # it is done, and cannot be stopped


@pytest.mark.parametrize("name", [SchedulerName.ASHA, SchedulerName.PROMOTION, SchedulerName.MEDIAN])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_finite_number_ends_the_trial_and_spoils_no_rung(name: SchedulerName, bad: float) -> None:
    judge = scheduler(name)
    assert judge.report(0, 1, bad) is END
    assert judge.report(1, 2, bad) is END
    assert judge.report(2, 2, 0.1) is (WAIT if name is SchedulerName.PROMOTION else GO)
    assert judge.promote() is None
    judge.report(3, 2, 0.2)
    judge.report(4, 2, 0.3)
    assert judge.promote() == (4 if name is SchedulerName.PROMOTION else None)


def test_every_trial_waits_at_a_rung_until_it_is_among_the_best_third() -> None:
    asha = scheduler(SchedulerName.PROMOTION)
    assert asha.report(0, 1, 0.9) is GO
    assert [asha.report(number, 2, value) for number, value in enumerate((0.1, 0.3))] == [WAIT, WAIT]
    assert asha.promote() is None  # a third of 2 is none
    assert asha.report(2, 2, 0.2) is WAIT
    assert asha.promote() == 1
    assert asha.promote() is None
    for number, value in ((3, 0.4), (4, 0.5), (5, 0.25)):
        asha.report(number, 2, value)
    # .5, .4, .3, ... : the best two of six; the best first.
    assert [asha.promote(), asha.promote(), asha.promote()] == [4, 3, None]
    assert asha.rungs()[0] == Rung(0, 2, {0: 0.1, 1: 0.3, 2: 0.2, 3: 0.4, 4: 0.5, 5: 0.25}, frozenset({1, 3, 4}))


def test_the_highest_rung_with_a_trial_to_promote_comes_first() -> None:
    asha = scheduler(SchedulerName.PROMOTION, epochs=9, grace=1)
    for number in range(9):
        asha.report(number, 1, number / 10)
    for number in (8, 7, 6):
        assert asha.promote() == number
        assert asha.report(number, 2, 0.5) is GO
        assert asha.report(number, 3, 1 - number / 10) is WAIT
    for number in (9, 10, 11):
        asha.report(number, 1, 1.0)
    # Rung 3 holds 8: .2, 7: .3, 6: .4; rung 1 has 9, 10 and 11 before all others, 4 of 12.
    assert [asha.promote() for _ in range(5)] == [6, 9, 10, 11, None]
    assert [asha.report(6, epoch, 0.0) for epoch in (4, 8, 9)] == [GO, GO, GO]


def test_the_ended_are_not_promoted_and_keep_their_place() -> None:
    asha = scheduler(SchedulerName.PROMOTION)
    for number, value in enumerate((0.3, 0.2, 0.1)):
        asha.report(number, 2, value)
    asha.end(0)
    assert asha.promote() is None  # the second is not among the best third
    for number in (3, 4, 5):
        asha.report(number, 2, 0.0)
    assert asha.promote() == 1
    assert asha.rungs()[0].promoted == {1}


def test_the_protected_never_wait_and_take_a_place_among_the_best() -> None:
    asha = scheduler(SchedulerName.PROMOTION, protected=frozenset({0}))
    assert [asha.report(0, epoch, 0.5) for epoch in (1, 2, 3)] == [GO, GO, GO]
    asha.report(1, 2, 0.4)
    asha.report(2, 2, 0.3)
    assert asha.promote() is None
    assert asha.rungs()[0].promoted == {0}


def test_a_trial_told_again_waits_on_and_goes_on_once_it_is_promoted() -> None:
    asha = scheduler(SchedulerName.PROMOTION)
    for _ in range(2):
        assert asha.report(0, 2, 0.3) is WAIT
    asha.report(1, 2, 0.2)
    asha.report(2, 2, 0.1)
    assert asha.promote() == 0
    assert asha.report(0, 2, 0.3) is GO  # its worker was lost and another begins from the epoch before
    assert asha.promote() is None


def test_a_restored_promotion_knows_who_waits_and_who_was_promoted() -> None:
    asha = scheduler(SchedulerName.PROMOTION)
    asha.restore(
        [
            Past(0, {1: 0.0, 2: 0.9, 3: 0.9}, ended=False),  # on its way beyond the rung
            Past(1, {1: 0.0, 2: 0.8}, ended=False),  # running: promoted, but nothing reported since
            Past(2, {1: 0.0, 2: 0.7}, ended=False, waiting=True),
            Past(3, {1: 0.0, 2: 0.6}, ended=True),
            Past(4, {1: 0.0}, ended=False),
            *(Past(number, {2: 0.0}, ended=False, waiting=True) for number in range(5, 9)),
        ]
    )
    assert asha.rungs()[0].promoted == {0, 1}
    assert [asha.promote(), asha.promote()] == [None, None]  # 8 at the rung, so 2, and both are on their way
    assert asha.report(4, 2, 0.1) is WAIT
    assert [asha.promote(), asha.promote()] == [2, None]


def test_a_trial_that_diverged_when_its_process_died_was_not_promoted() -> None:
    asha = scheduler(SchedulerName.PROMOTION)
    asha.restore([Past(0, {2: math.nan}, ended=False)])
    assert asha.rungs()[0] == Rung(0, 2, {0: -math.inf})


def test_a_restored_asha_decides_on_a_trial_whose_last_epoch_is_told_again() -> None:
    asha = scheduler(SchedulerName.ASHA)
    asha.restore(
        [
            Past(0, {2: 0.5}, ended=False),
            Past(1, {2: 0.4}, ended=False),
            Past(2, {2: 0.3, 3: 0.3}, ended=False),
        ]
    )
    assert asha.report(2, 2, 0.3) is GO  # it had gone on
    assert [asha.report(1, 2, 0.4), asha.report(1, 2, 0.4), asha.report(0, 2, 0.5)] == [END, END, GO]


def test_the_median_rule_by_hand() -> None:
    median = scheduler(SchedulerName.MEDIAN, grace=2)
    for number, curve in enumerate([(0.1, 0.3), (0.4, 0.4), (0.6, 0.0)]):
        for epoch, value in enumerate(curve, start=1):
            assert median.report(number, epoch, value) is GO  # fewer than three others
    # Averages up to epoch 2: .2, .4, .3. Epoch 1 is within the grace.
    assert median.report(3, 1, 0.0) is GO
    assert median.report(3, 2, 0.29) is END
    assert median.report(3, 2, 0.29) is END
    # Now .145, .2, .3, .4: the median is .25. The best so far counts, not the last.
    assert median.report(4, 1, 0.25) is GO
    assert median.report(4, 2, 0.0) is GO
    assert median.report(5, 1, 0.0) is GO
    assert median.report(5, 2, 0.19) is END  # .125, .145, .2, .3, .4


def test_the_median_rule_leaves_the_protected_alone() -> None:
    median = scheduler(SchedulerName.MEDIAN, grace=1, protected=frozenset({9}))
    for number in range(3):
        median.report(number, 1, 0.5)
    assert median.report(9, 1, 0.0) is GO
    assert median.report(8, 1, 0.0) is END


def test_a_population_is_not_built_from_rungs() -> None:
    with pytest.raises(ConfigError, match="other settings"):
        scheduler(SchedulerName.PBT)


# Properties. A life is what happens to some trials in some order: each reports epoch by epoch, until it is told to end
# or dies; a worker that is free goes on with a promoted trial.


def lived(judge: Scheduler, rng: np.random.Generator, trials: int, epochs: int) -> list[Past]:
    """Run trials in a random order on three workers; what a study would hold in the middle of it."""
    curves: dict[int, dict[int, float]] = {}
    running: list[int] = []
    waiting: set[int] = set()
    ended: set[int] = set()
    for _ in range(int(rng.integers(1, trials * epochs))):
        while len(running) < 3 and ((number := judge.promote()) is not None or len(curves) < trials):
            if number is None:
                number = len(curves)
                curves[number] = {}
            waiting.discard(number)
            running.append(number)
        if not running:
            break
        number = running[int(rng.integers(len(running)))]
        epoch = max(curves[number], default=0) + 1
        curves[number][epoch] = math.nan if rng.random() < 0.02 else float(rng.integers(6)) / 5
        decision = judge.report(number, epoch, curves[number][epoch])
        assert judge.report(number, epoch, curves[number][epoch]) is decision
        if decision is Decision.PAUSE:
            waiting.add(number)
            running.remove(number)
        elif decision is Decision.STOP or epoch == epochs or rng.random() < 0.03:
            judge.end(number)
            ended.add(number)
            running.remove(number)
    return [Past(number, curve, number in ended, number in waiting) for number, curve in curves.items()]


@pytest.mark.parametrize("name", OURS)
@given(seed=st.integers(0, 10_000), brackets=st.integers(1, 3))
def test_a_restored_scheduler_stands_where_the_one_stands_that_lived_through_it(
    name: SchedulerName, seed: int, brackets: int
) -> None:
    settings = {"protected": frozenset({0, 3}), "brackets": brackets, "seed": seed}
    first, second = scheduler(name, **settings), scheduler(name, **settings)  # type: ignore[arg-type]
    rng = np.random.default_rng(seed)
    pasts = lived(first, rng, trials=20, epochs=9)
    rng.shuffle(pasts)
    second.restore(pasts)
    assert second.rungs() == first.rungs()
    for _ in range(20):
        assert second.promote() == first.promote()


@given(st.permutations([(number, epoch) for number in range(4) for epoch in (1, 2, 3)]))
def test_rungs_do_not_depend_on_who_reports_first(order: list[tuple[int, int]]) -> None:
    asha = scheduler(SchedulerName.ASHA, grace=1)
    epochs = dict.fromkeys(range(4), 0)
    for number, _ in order:  # each trial reports its epochs in their order, whichever trial's turn it is
        epochs[number] += 1
        asha.report(number, epochs[number], number * epochs[number] / 10)
    assert values(asha.rungs()) == [(0, 1, {n: n / 10 for n in range(4)}), (0, 3, {n: n * 3 / 10 for n in range(4)})]


@given(
    st.lists(st.tuples(st.floats(0, 1, width=16), st.booleans()), min_size=1, max_size=60),
    st.sampled_from([2.0, 2.5, 3.0, 4.0]),
)
def test_promotions_are_what_sorting_the_whole_rung_gives(steps: list[tuple[float, bool]], eta: float) -> None:
    """Against algorithm 2 of the paper, written down as it stands: sort, take the top, leave out the promoted."""
    asha = scheduler(SchedulerName.PROMOTION, epochs=4, grace=2, eta=eta)
    rung: dict[int, float] = {}
    promoted: set[int] = set()
    for number, (value, is_worker_free) in enumerate(steps):
        rung[number] = value
        asha.report(number, 2, value)
        if is_worker_free:
            ranked = sorted(rung, key=lambda trial: (-rung[trial], trial))
            top = ranked[: int(len(rung) / eta)]
            expected = next((trial for trial in top if trial not in promoted), None)
            promoted |= {expected} - {None}  # type: ignore[arg-type]
            assert asha.promote() == expected
