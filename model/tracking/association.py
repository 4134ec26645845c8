"""Which detection continues which track: costs of the pairs, and the cheapest assignment."""

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import linear_sum_assignment

from model.overlap import intersection_over_union
from model.tracking.kalman import Array, Motion, centred, squared_distance

MOTION_GATE = 9.4877  # chi-square of 4 degrees of freedom: motion explains 95 in 100 true pairs below it

Pairs = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]  # rows and columns


def overlaps(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> Array:
    """IoU `[N, M]` of corners `[N, 4]` and `[M, 4]`."""
    first, second = (torch.from_numpy(corners.astype(np.float64)) for corners in (a, b))
    return np.asarray(intersection_over_union(first[:, None], second[None]).numpy())


def cosine_distance(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> Array:
    """1 - cosine `[N, M]` of unit vectors `[N, E]` and `[M, E]`; what points apart by a right angle or more is 1."""
    return np.clip(1 - a.astype(np.float64) @ b.astype(np.float64).T, 0, 1)


def explained_by_motion(motion: Motion, corners: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """Which pairs `[N, M]` of a track and a detection (corners `[M, 4]`) its motion allows."""
    return np.asarray(squared_distance(motion, centred(corners)) <= MOTION_GATE)


def cheapest(cost: Array, allowed: npt.NDArray[np.bool_]) -> Pairs:
    """The assignment of least total cost among the allowed pairs; a row or a column left alone costs 1.

    Args:
        cost: of each pair, from 0 to 1 `[N, M]`.
        allowed: the pairs that may be matched `[N, M]`.
    """
    # At the price of the worst match: one perfect pair and one left alone beat two poor pairs, as in ByteTrack.
    rows, columns = linear_sum_assignment(np.where(allowed, cost, 1.0))
    kept = allowed[rows, columns]
    return rows[kept], columns[kept]
