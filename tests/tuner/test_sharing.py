"""How a cluster is divided among the searches on it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.shares import SILENT_S, Living
from tuner.sharing import Claim, Share, shares
from tuner.spec.sections import Priority

WEIGHTS = [priority.weight for priority in Priority]
claims_of_one_size = st.integers(0, 40).flatmap(
    lambda fits: st.lists(
        st.builds(
            Claim,
            weight=st.sampled_from(WEIGHTS),
            fits=st.just(fits),
            busy=st.integers(0, fits),
            most=st.none() | st.integers(1, 50),
            wants=st.none() | st.integers(0, 50),
        ),
        min_size=1,
        max_size=8,
    )
)
claims_of_any_size = st.lists(
    st.builds(Claim, weight=st.sampled_from(WEIGHTS), fits=st.integers(0, 30), most=st.none() | st.integers(1, 40)),
    min_size=1,
    max_size=8,
)


def trials(claims: list[Claim]) -> list[int]:
    return [share.trials for share in shares(claims)]


@pytest.mark.parametrize(
    ("weights", "fits", "expected"),
    [
        ([2], 7, [7]),
        ([2, 2], 8, [4, 4]),
        ([2, 2, 2], 8, [3, 3, 2]),
        ([1, 2, 4], 14, [2, 4, 8]),
        ([1, 4], 2, [1, 1]),  # each has one first
        ([1, 4], 1, [0, 1]),
        ([2, 2], 0, [0, 0]),
    ],
)
def test_the_cluster_is_divided_by_weight(weights: list[int], fits: int, expected: list[int]) -> None:
    assert trials([Claim(weight, fits) for weight in weights]) == expected


def test_what_a_search_may_not_or_cannot_use_others_have() -> None:
    assert trials([Claim(2, 10, most=2), Claim(2, 10)]) == [2, 8]
    assert trials([Claim(2, 10, wants=1), Claim(2, 10)]) == [1, 9]


def test_trials_of_several_sizes_take_equal_parts_of_the_cluster() -> None:
    """4 trials of a whole GPU, or 16 of a quarter, are the cluster: half of it is 2 of these and 8 of those."""
    assert trials([Claim(2, 4), Claim(2, 16)]) == [2, 8]


@given(claims_of_one_size)
def test_together_they_never_have_more_than_the_cluster(claims: list[Claim]) -> None:
    found = shares(claims)
    assert sum(share.trials for share in found) <= claims[0].fits
    assert all(share.more in (0, 1) for share in found)
    for claim, share in zip(claims, found, strict=True):
        assert claim.most is None or share.trials + share.more <= claim.most
        assert claim.wants is None or share.trials <= claim.wants


@given(claims_of_any_size)
def test_also_of_several_sizes(claims: list[Claim]) -> None:
    parts = [count / claim.fits for count, claim in zip(trials(claims), claims, strict=True) if claim.fits]
    assert sum(parts) <= 1 + 1e-6


@given(claims_of_one_size)
def test_each_has_a_trial_if_there_are_enough(claims: list[Claim]) -> None:
    with_work = [claim for claim in claims if claim.wants != 0]
    if len(with_work) <= claims[0].fits:
        assert all(count >= 1 for count, claim in zip(trials(claims), claims, strict=True) if claim.wants != 0)


@given(claims_of_one_size)
def test_equal_searches_differ_by_one_at_most(claims: list[Claim]) -> None:
    equal = [replace(claim, weight=2, most=None, wants=None) for claim in claims]
    found = trials(equal)
    assert max(found) - min(found) <= 1
    assert sum(found) == claims[0].fits


@given(claims_of_one_size)
def test_nothing_is_left_while_somebody_could_use_it(claims: list[Claim]) -> None:
    found = trials(claims)
    unmet = [
        claim
        for claim, count in zip(claims, found, strict=True)
        if all(count < bound for bound in (claim.most, claim.wants) if bound is not None)
    ]
    assert not unmet or sum(found) == claims[0].fits


def test_one_search_asks_for_a_node_more_unless_another_is_short_of_its_share() -> None:
    full = [Claim(2, 4, busy=2), Claim(2, 4, busy=2)]
    assert shares(full) == [Share(2, 1), Share(2, 0)]
    assert shares([full[0], replace(full[1], busy=1)]) == [Share(2, 0), Share(2, 0)]


def test_a_search_without_a_trial_waits_in_the_queue() -> None:
    assert shares([Claim(2, 0)]) == [Share(0, 1)]
    assert shares([Claim(2, 1, busy=1), Claim(2, 1)])[1] == Share(0, 1)


def test_a_search_that_had_no_work_may_look_for_some() -> None:
    assert shares([Claim(2, 4, busy=1, wants=1), Claim(2, 4, busy=3)])[0] == Share(1, 1)


def test_a_search_that_is_silent_for_long_has_no_share() -> None:
    now = [0.0]
    living = Living(lambda: now[0])
    claim = Claim(2, 4)
    assert living.beat("a", claim) == (Share(4, 1), 1)
    assert living.beat("b", claim)[0].trials == 2
    now[0] = SILENT_S / 2
    assert living.beat("a", claim)[1] == 2
    now[0] = SILENT_S + 1
    assert living.beat("a", claim) == (Share(4, 1), 1)


def test_a_search_that_leaves_gives_its_share_back() -> None:
    living = Living(lambda: 0.0)
    living.beat("a", Claim(2, 4))
    living.beat("b", Claim(2, 4))
    living.leave("a")
    assert living.beat("b", Claim(2, 4))[0].trials == 4
