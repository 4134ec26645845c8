"""Class balance: weights that let rare classes count as much as frequent ones."""

import numpy as np
import numpy.typing as npt

MOST = 10.0  # a class of a handful of boxes must not rule the loss


def balanced_weights(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Weights [K] in inverse proportion to the boxes of each class, n / (K * n_k) over the classes that have any.

    At most 10; a class without a box weighs 1, since nothing is known of it.
    """
    present = counts > 0
    even = counts.sum() / max(1, int(present.sum()))
    weights = np.ones(len(counts), np.float32)
    weights[present] = np.minimum(even / counts[present], MOST)
    return weights
