"""How many trials each of the searches on a cluster may run, so that all have their part of it."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

_EXACT = 1e-9  # parts of a cluster are sums of fractions


@dataclass(frozen=True)
class Claim:
    """What a search asks of the cluster.

    Args:
        weight: of its priority.
        fits: how many of its trials the cluster holds where it runs nothing else.
        busy: trials that are on workers.
        most: trials at a time that it shall never exceed.
        wants: trials at a time that it has work for; None: as many as it is given.
    """

    weight: int
    fits: int
    busy: int = 0
    most: int | None = None
    wants: int | None = None


@dataclass(frozen=True)
class Share:
    """What a search is given.

    Args:
        trials: at a time, which fit.
        more: further ones that it may ask for and that wait until a node comes; 0 or 1.
    """

    trials: int
    more: int


def shares(claims: Sequence[Claim]) -> list[Share]:
    """Divide the cluster: a trial each, as far as they fit, then always one to whom is furthest below its weight.

    Searches of one weight and one size of trial differ by one at most, and all together have no more than the cluster;
    what a search cannot use, others have. In equal need, the first of the list comes first.
    """
    given, free = _first_ones(claims)
    waiting = [(_need(claim, given[index]), index) for index, claim in enumerate(claims) if given[index]]
    heapq.heapify(waiting)
    following: int | None = None
    while waiting:
        _, index = heapq.heappop(waiting)
        claim = claims[index]
        if not _takes_more(claim, given[index]):
            continue
        if _size(claim) > free + _EXACT:
            following = index if following is None else following
            continue  # a search with smaller trials may still find room
        given[index], free = given[index] + 1, free - _size(claim)
        heapq.heappush(waiting, (_need(claim, given[index]), index))
    hungry = [claim.busy < count for claim, count in zip(claims, given, strict=True)]
    found = []
    for index, claim in enumerate(claims):
        others_hungry = any(hungry[:index] + hungry[index + 1 :])
        found.append(_share(claim, given[index], grows=following == index and not others_hungry))
    return found


def _first_ones(claims: Sequence[Claim]) -> tuple[list[int], float]:
    """A trial for each search, the weightiest first; and what is left of the cluster."""
    given, free = [0] * len(claims), 1.0
    for index in sorted(range(len(claims)), key=lambda index: -claims[index].weight):
        if _takes_more(claims[index], 0) and _size(claims[index]) <= free + _EXACT:
            given[index], free = 1, free - _size(claims[index])
    return given, free


def _share(claim: Claim, given: int, *, grows: bool) -> Share:
    """One search at a time asks for more than there is, so that an autoscaler has something to start a node for.

    It waits in the queue, and would take what another's trial leaves: none does while another is short of its share.
    A search without a trial always has one in the queue, and one that had no work may look whether it has some now.
    """
    if claim.most is not None and given >= claim.most:
        return Share(given, 0)
    return Share(given, int(grows or given == 0 or claim.wants is not None))


def _size(claim: Claim) -> float:
    """The part of the cluster that a trial takes."""
    return 1 / claim.fits if claim.fits else float("inf")


def _need(claim: Claim, given: int) -> float:
    """The part of the cluster that it would have for each unit of its weight; the smallest comes first."""
    return (given + 1) * _size(claim) / claim.weight


def _takes_more(claim: Claim, given: int) -> bool:
    return all(given < bound for bound in (claim.most, claim.wants) if bound is not None)
