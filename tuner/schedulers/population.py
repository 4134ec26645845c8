"""Population-based training (Jaderberg et al. 2017) as trials of a study: a weak one ends, and an heir takes its place.

Ray's own cannot be used: it refuses a search algorithm, changes the settings of a trial under its number, draws from
the global generator, and forgets everything with its process. Here no trial's settings ever change: the heir is a trial
of its own, with the weights of a strong one and settings near to its.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.training.inheriting import can_change
from tuner.domains import Choice, Domain
from tuner.samplers.axes import Line, axis
from tuner.schedulers.decision import Decision, Past, Rung
from tuner.schedulers.levels import best_share
from tuner.space import Branch, Leaves, Space

SHARE = 4  # one in so many ends at a comparison, and one in so many gives its weights away; as published
RESAMPLE = 0.25  # of an heir's settings are drawn anew, as in Ray
FACTORS = (0.8, 1.25)  # for a range over a logarithm; as published, but that two moves can cancel each other out
SHIFT = 0.1  # of any other range
_HEIR_STREAM = 0x4E1


@dataclass(frozen=True)
class Heir:
    """What a new trial begins with."""

    donor: int  # whose weights it goes on with, from the epoch where that one now is
    leaves: Leaves


class Population:
    """A scheduler whose trials are a population: at each of its comparisons a trial of the worst quarter ends.

    It is compared with what all that are alive had at this comparison, or at their last one before; of fewer than four
    none ends. The first `size` trials come from a sampler, all others are heirs. A trial that fails leaves no heir.
    Where not all can run at once they take turns: at a comparison a trial waits for those that are not as far.
    """

    def __init__(
        self, space: Space, *, size: int, epochs: int, interval: int, seed: int, protected: frozenset[int] = frozenset()
    ) -> None:
        self._space = space
        self._size = size
        self._comparisons = range(interval, epochs, interval)  # epochs
        self._seed = seed
        self._protected = protected  # they are compared with and give their weights away, but never end or wait
        self._begin()

    def _begin(self) -> None:
        self._values: dict[int, dict[int, float]] = {}  # by trial and comparison
        self._alive: set[int] = set()
        self._waiting: dict[int, int] = {}  # at a comparison
        self._lost: dict[int, int] = {}  # the comparison at which a trial was among the worst

    def report(self, number: int, epoch: int, value: float) -> Decision:
        """Take in an epoch's value; STOP for the worst at a comparison, and for a value that is no finite number."""
        if number not in self._values:
            self._values[number] = {}
            self._alive.add(number)
        if epoch > self._waiting.get(number, epoch):
            del self._waiting[number]  # it has gone on unasked
        values = self._values[number]
        if epoch in self._comparisons and epoch not in values:
            values[epoch] = value if math.isfinite(value) else -math.inf
            if number not in self._protected:
                self._compare(number, epoch)
        diverged = not math.isfinite(value) and number not in self._protected
        if diverged or epoch >= self._lost.get(number, epoch + 1):
            self._waiting.pop(number, None)
            return Decision.STOP
        return Decision.PAUSE if self._waiting.get(number) == epoch else Decision.CONTINUE

    def _compare(self, number: int, epoch: int) -> None:
        ranked = self.ranked(epoch)
        if number in ranked[len(ranked) - best_share(len(ranked), SHARE) :]:
            self._lost[number] = epoch
            self._alive.discard(number)
        elif len(self._values) < self._size or any(other <= epoch for other in self._waiting.values()):
            self._waiting[number] = epoch

    def end(self, number: int) -> None:
        """The trial is compared with no more, and gives its weights to nobody."""
        self._values.setdefault(number, {})
        self._alive.discard(number)
        self._waiting.pop(number, None)

    def promote(self) -> int | None:
        """The trial that waits and is the least far; it runs from now on."""
        number = min(self._waiting, key=lambda one: (self._waiting[one], one), default=None)
        if number is not None:
            del self._waiting[number]
        return number

    def restore(self, trials: Iterable[Past]) -> None:
        """Begin where the study stands."""
        self._begin()
        for past in trials:
            if not past.curve and not past.ended:
                continue  # as one that has yet to report for the first time
            self._values[past.number] = {
                epoch: value if math.isfinite(value) else -math.inf
                for epoch, value in past.curve.items()
                if epoch in self._comparisons
            }
            if not past.ended:
                self._alive.add(past.number)
            if past.waiting:
                self._waiting[past.number] = max(past.curve)

    def rungs(self) -> list[Rung]:
        """The comparisons, first one first."""
        return [
            Rung(0, epoch, {number: values[epoch] for number, values in self._values.items() if epoch in values})
            for epoch in self._comparisons
        ]

    def heir(self, number: int, epoch: int, config: Callable[[int], Mapping[str, Any]]) -> Heir | None:
        """What a new trial begins with that takes a loser's place; None if nobody is alive to inherit from.

        Args:
            number: of the heir.
            epoch: of the comparison that was lost.
            config: the whole configuration of a trial, the default's too, of which nothing was sampled.
        """
        ranked = self.ranked(epoch)
        if not ranked:
            return None
        rng = np.random.default_rng((self._seed, number, _HEIR_STREAM))
        donors = ranked[: max(1, best_share(len(ranked), SHARE))]
        donor = donors[int(rng.integers(len(donors)))]
        return Heir(donor, near(self._space, config(donor), rng))

    def ranked(self, epoch: int) -> list[int]:
        """Who is alive and has been compared up to this epoch, best first."""
        latest = {}
        for number in self._alive:
            reached = [comparison for comparison in self._values[number] if comparison <= epoch]
            if reached:
                latest[number] = self._values[number][max(reached)]
        return sorted(latest, key=lambda number: (-latest[number], number))


def near(space: Space, config: Mapping[str, Any], rng: np.random.Generator) -> Leaves:
    """Settings near to these: what weights can live on with is moved or drawn anew, the rest stays."""
    fixed = _fixed(space)
    before: Leaves = {}  # what the space gave of this configuration
    found: Leaves = {}
    for branch in space.branches:
        if branch.active(before):
            before[branch.leaf] = config[branch.leaf]
        if branch.active(found):
            found[branch.leaf] = before[branch.leaf] if branch.leaf in fixed else _changed(branch, before, rng)
    return found


def _fixed(space: Space) -> set[str]:
    """The leaves that cannot change, and those that decide whether one of them holds."""
    fixed: set[str] = set()
    for branch in reversed(space.branches):  # conditions come after the leaves they decide on
        if branch.leaf in fixed or not can_change(branch.leaf):
            fixed |= {branch.leaf, *branch.when}
    return fixed


def _changed(branch: Branch, before: Leaves, rng: np.random.Generator) -> Any:
    value = before.get(branch.leaf)
    if branch.domain.contains(value) and rng.random() >= RESAMPLE:
        return _moved(branch.domain, value, rng)
    drawn = axis(branch.domain)
    return drawn.value(float(drawn.numbers(rng.random(1))[0]))


def _moved(domain: Domain, value: Any, rng: np.random.Generator) -> Any:
    """One move up or down, at least a step; an option stays, for it has no neighbours."""
    if isinstance(domain, Choice):
        return value
    way = int(rng.integers(2))
    moved = value * FACTORS[way] if domain.log else value + (-SHIFT, SHIFT)[way] * (domain.high - domain.low)
    if domain.step is not None and abs(moved - value) < domain.step:
        moved = value + (-domain.step, domain.step)[way]
    line = Line(domain)
    return line.value(float(line.numbers(line.units(np.array([min(max(moved, domain.low), domain.high)])))[0]))
