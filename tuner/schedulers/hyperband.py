"""Asynchronous Hyperband: successive halving with every grace there is, so that a bad choice of it costs little."""

from collections.abc import Sequence

from tuner.schedulers.asha import StoppingASHA
from tuner.schedulers.levels import Brackets


def asynchronous_hyperband(
    rungs: Sequence[int], *, epochs: int, reduction_factor: float, seed: int, protected: frozenset[int]
) -> StoppingASHA:
    """ASHA with all brackets, as Li et al. 2020 compare it with: from all rungs down to none at all."""
    brackets = Brackets(rungs, len(rungs) + 1, reduction_factor, seed)
    return StoppingASHA(brackets, epochs=epochs, reduction_factor=reduction_factor, protected=protected)
