"""Whether classes were found under each other's names."""

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment


def permutation(met: list[list[int]]) -> tuple[float, float, dict[int, int]]:
    """Mean share of each true class that was found as itself, and as the class that the best renaming gives it.

    Classes weigh alike, so that a detector which knows one name only does not pass for a renaming. Also that renaming.
    """
    counts = np.array(met, np.float64)
    present = np.flatnonzero(counts.sum(1))
    if not len(present):
        return 0.0, 0.0, {}
    shares = counts[present] / counts[present].sum(1, keepdims=True)
    straight = float(shares[np.arange(len(present)), present].mean())
    columns = _best_columns(shares)
    permuted = float(shares[np.arange(len(present)), columns].mean())
    return straight, permuted, dict(zip(present.tolist(), columns, strict=True))


def _best_columns(shares: npt.NDArray[np.float64]) -> list[int]:
    """A column of its own for each row, of the largest sum (Hungarian method)."""
    return [int(column) for column in linear_sum_assignment(shares, maximize=True)[1]]
