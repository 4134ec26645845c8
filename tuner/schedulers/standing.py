"""The trials of a bracket at one epoch in the order of their values, and the ladder of all such rungs."""

import math
from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping

from tuner.schedulers.decision import Rung
from tuner.schedulers.levels import Brackets


class Standing:
    """A rung: what each trial had when it first reported at or past its epoch.

    Of equal values, the trial with the lower number stands first, so the order does not depend on who came when. A
    value that is not a finite number stands last.
    """

    def __init__(self, bracket: int, level: int, epoch: int) -> None:
        self.bracket = bracket
        self.level = level  # of the bracket, from 0
        self.epoch = epoch
        self.entered: dict[int, int] = {}  # the epoch of each trial's value
        self._values: dict[int, float] = {}
        self._order: list[tuple[float, int]] = []  # negated value and number, best first

    def enter(self, number: int, epoch: int, value: float) -> None:
        """Take in a trial that is not here yet."""
        worth = value if math.isfinite(value) else -math.inf
        self.entered[number] = epoch
        self._values[number] = worth
        insort(self._order, (-worth, number))

    def better(self, number: int) -> int:
        """How many trials stand before this one, which is here."""
        return bisect_left(self._order, (-self._values[number], number))

    def worth(self, number: int) -> float:
        """The value that a trial stands here with."""
        return self._values[number]

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, number: int) -> bool:
        return number in self._values

    def as_rung(self, promoted: frozenset[int] = frozenset()) -> Rung:
        """This rung for reports and tests."""
        return Rung(self.bracket, self.epoch, dict(self._values), promoted)


class Ladder:
    """The rungs of all brackets, which trials climb with their reports."""

    def __init__(self, brackets: Brackets) -> None:
        self._brackets = brackets
        self.standings = [
            [Standing(bracket, level, epoch) for level, epoch in enumerate(epochs)]
            for bracket, epochs in enumerate(brackets.rungs)
        ]

    def of(self, number: int) -> list[Standing]:
        """The rungs of the trial's bracket, lowest first."""
        return self.standings[self._brackets.of(number)]

    def climb(self, number: int, epoch: int, value: float) -> Standing | None:
        """Enter every rung that this report is the first to reach; the highest of them, if any."""
        highest = None
        for standing in self.of(number):
            if standing.epoch <= epoch and number not in standing:
                standing.enter(number, epoch, value)
                highest = standing
        return highest

    def recall(self, number: int, curve: Mapping[int, float]) -> None:
        """Enter every rung that the curve has reached, as its reports one by one would have."""
        epochs = sorted(curve)
        for standing in self.of(number):
            place = bisect_left(epochs, standing.epoch)
            if place < len(epochs):
                standing.enter(number, epochs[place], curve[epochs[place]])

    def top(self, number: int) -> Standing | None:
        """The highest rung that the trial has reached, if any."""
        return next((standing for standing in reversed(self.of(number)) if number in standing), None)

    def __iter__(self) -> Iterator[Standing]:
        return (standing for bracket in self.standings for standing in bracket)
