"""Asynchronous successive halving as published: every trial waits at a rung until it is among the best there."""

import heapq
import math
from collections.abc import Iterable

from tuner.schedulers.decision import Decision, Past, Rung
from tuner.schedulers.levels import Brackets, best_share
from tuner.schedulers.standing import Ladder, Standing


class PromotionASHA:
    """ASHA (Li et al. 2020, algorithm 2): a free worker goes on with a trial that waits among a rung's best 1/eta.

    The share is rounded down, as published. The highest rung with such a trial comes first, and there the best one. A
    trial that trains on beyond a rung unasked, as the protected ones do, counts as promoted.
    """

    def __init__(self, brackets: Brackets, *, epochs: int, reduction_factor: float, protected: frozenset[int]) -> None:
        self._brackets = brackets
        self._epochs = epochs
        self._reduction_factor = reduction_factor
        self._protected = protected  # they count at the rungs, and never wait
        self._begin()

    def _begin(self) -> None:
        self._ladder = Ladder(self._brackets)
        self._last: dict[int, int] = {}  # the last epoch of each trial
        self._ended: set[int] = set()
        self._waiting: dict[int, Standing] = {}
        # Heaps of who waits at a rung, best first; of a trial that has left, the entry stays until it comes up.
        self._queues: list[tuple[Standing, list[tuple[float, int]]]] = [
            (standing, []) for standing in sorted(self._ladder, key=lambda one: (-one.epoch, one.bracket))
        ]
        self._queue_of = {id(standing): queue for standing, queue in self._queues}

    def report(self, number: int, epoch: int, value: float) -> Decision:
        """Take in an epoch's value; PAUSE at a rung until promoted, STOP for a value that is not a finite number."""
        reached = self._ladder.climb(number, epoch, value)
        if number in self._protected:
            self._last[number] = max(epoch, self._last.get(number, 0))
            return Decision.CONTINUE
        if epoch > self._last.get(number, 0):
            self._last[number] = epoch
            self._waiting.pop(number, None)
            if reached is not None and epoch < self._epochs and math.isfinite(value):
                self._wait(number, reached)
        if not math.isfinite(value):
            self._ended.add(number)
            return Decision.STOP
        waits = number in self._waiting and epoch == self._last[number]
        return Decision.PAUSE if waits else Decision.CONTINUE

    def end(self, number: int) -> None:
        """The trial keeps counting where it got to, and will not be promoted."""
        self._ended.add(number)
        self._waiting.pop(number, None)

    def promote(self) -> int | None:
        """The best trial that waits in the best share of the highest rung that has one; it runs from now on."""
        for standing, queue in self._queues:
            while queue and self._waiting.get(queue[0][1]) is not standing:
                heapq.heappop(queue)
            if queue and standing.better(queue[0][1]) < best_share(len(standing), self._reduction_factor):
                _, number = heapq.heappop(queue)
                del self._waiting[number]
                return number
        return None

    def restore(self, trials: Iterable[Past]) -> None:
        """Begin where the study stands; a trial that runs was promoted out of every rung it has reached."""
        self._begin()
        for past in trials:
            self._ladder.recall(past.number, past.curve)
            self._last[past.number] = last = max(past.curve, default=0)
            lost = bool(past.curve) and not math.isfinite(past.curve[last]) and past.number not in self._protected
            top = self._ladder.top(past.number)
            if past.ended or lost:
                self._ended.add(past.number)
            elif past.waiting and top is not None:
                self._wait(past.number, top)

    def rungs(self) -> list[Rung]:
        """The rungs of all brackets, lowest first in each, with those who went on from there."""
        return [
            standing.as_rung(frozenset(number for number in standing.entered if self._went_on(number, standing)))
            for standing in self._ladder
        ]

    def _wait(self, number: int, standing: Standing) -> None:
        self._waiting[number] = standing
        heapq.heappush(self._queue_of[id(standing)], (-standing.worth(number), number))

    def _went_on(self, number: int, standing: Standing) -> bool:
        if self._ladder.top(number) is not standing:
            return True
        if number in self._ended:
            return self._last[number] > standing.entered[number]
        return self._waiting.get(number) is not standing
