"""Where trials are compared, and in which bracket each of them is."""

import itertools
import math
from collections.abc import Sequence

import numpy as np

from data.errors import ConfigError

_ROUNDING = 1e-9  # what a power or a quotient of floats may be off a whole number by
_BRACKET_STREAM = 0xB4AC  # keeps these draws apart from a sampler's, which has the same seed and number


def rung_epochs(epochs: int, grace: int, reduction_factor: float, ends: Sequence[int] = ()) -> tuple[int, ...]:
    """The epochs below the last one after which trials are compared, ascending.

    Args:
        epochs: of a whole training.
        grace: the first rung.
        reduction_factor: between the epochs of two rungs; a rung between two epochs is at the later one.
        ends: the rungs themselves, in place of grace and its multiples.

    Raises:
        ConfigError: the rungs are not at positive, ascending epochs.
    """
    if ends:
        if ends[0] < 1 or any(later <= earlier for earlier, later in itertools.pairwise(ends)):
            raise ConfigError(f"rungs at {list(ends)} must be positive and ascending")
        return tuple(end for end in ends if end < epochs)
    if grace < 1 or reduction_factor <= 1:
        raise ConfigError(f"grace={grace} must be at least 1, and reduction_factor={reduction_factor:g} exceed 1")
    rungs: list[int] = []
    exact = float(grace)
    while (rung := math.ceil(exact - _ROUNDING)) < epochs:
        if not rungs or rung > rungs[-1]:
            rungs.append(rung)
        exact *= reduction_factor
    return tuple(rungs)


def best_share(trials: int, reduction_factor: float) -> int:
    """How many of a rung's trials are its best 1/eta, rounded down."""
    return math.floor(trials / reduction_factor + _ROUNDING)


class Brackets:
    """Which bracket a trial is in: bracket s leaves out the first s rungs.

    A bracket is drawn as often as Hyperband (Li et al. 2018) starts trials in it: eta^r / (r + 1) for r rungs, with
    which all brackets cost the same. The last one may have no rung at all.

    Raises:
        ConfigError: there are more brackets than rungs and one.
    """

    def __init__(self, rungs: Sequence[int], brackets: int, reduction_factor: float, seed: int) -> None:
        if not 1 <= brackets <= len(rungs) + 1:
            raise ConfigError(
                f"brackets={brackets} must lie between 1 and {len(rungs) + 1}: one for each rung {list(rungs)} to "
                "begin at, and one without; lower it, or grace"
            )
        self.rungs = tuple(tuple(rungs[skipped:]) for skipped in range(brackets))
        shares = np.array([reduction_factor ** len(own) / (len(own) + 1) for own in self.rungs])
        self._upper = np.cumsum(shares / shares.sum())
        self._seed = seed
        self._drawn: dict[int, int] = {}

    def of(self, number: int) -> int:
        """The bracket of a trial; the same whenever it is asked for."""
        if len(self.rungs) == 1:
            return 0
        if number not in self._drawn:
            drawn = np.random.default_rng((self._seed, number, _BRACKET_STREAM)).random()
            self._drawn[number] = min(int(np.searchsorted(self._upper, drawn, side="right")), len(self.rungs) - 1)
        return self._drawn[number]
