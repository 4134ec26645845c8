"""Which configuration to try next: expected improvement, and the search for its maximum."""

from collections.abc import Callable

import numpy as np
from scipy.special import erfcx, ndtr

from tuner.samplers.axes import Floats
from tuner.samplers.encoding import Encoding
from tuner.samplers.surrogate import Points, Surrogate

RANDOM_CANDIDATES, NEAR_CANDIDATES, FINE_CANDIDATES = 800, 400, 100
PARENTS = 6
REACHES = (0.1, 0.03)  # of the steps around the best candidates so far, round by round


def log_improvement(means_N: Floats, deviations_N: Floats, best: float) -> Floats:
    """Logarithm of the expected improvement over `best`, exact far below it too (Ament et al. 2023)."""
    z_N = (means_N - best) / deviations_N
    near_N = np.maximum(z_N, -1.0)
    direct_N = np.log(near_N * ndtr(near_N) + np.exp(-0.5 * near_N**2) / np.sqrt(2 * np.pi))
    far_N = np.clip(z_N, -1e6, -1.0)
    ratio_N = np.maximum(1 + far_N * np.sqrt(np.pi / 2) * erfcx(-far_N / np.sqrt(2)), 1e-15)
    tail_N = -0.5 * far_N**2 - 0.5 * np.log(2 * np.pi) + np.log(ratio_N)
    logs: Floats = np.log(deviations_N) + np.where(z_N > -1, direct_N, tail_N)
    return logs


def best_candidate(
    encoding: Encoding, score: Callable[[Floats], Floats], tried_NB: Floats, parents_NB: Floats, seed: list[int]
) -> Floats:
    """The row with the highest score among random ones, neighbours of the parents, and neighbours of the best of them.

    Rows already tried count only if there is nothing else.
    """
    generator = np.random.default_rng(seed)
    candidates_NB = encoding.drawn(RANDOM_CANDIDATES, generator)
    if len(parents_NB):
        near_NB = encoding.perturbed(parents_NB, NEAR_CANDIDATES, generator)
        candidates_NB = np.concatenate([candidates_NB, near_NB])
    known = {row.tobytes() for row in np.nan_to_num(tried_NB, nan=-1.0)}
    candidates_NB, scores_N = _scored(candidates_NB, score, known)
    for reach in REACHES:
        best = np.argsort(-scores_N)[:PARENTS]
        finer_NB = encoding.perturbed(candidates_NB[best], FINE_CANDIDATES, generator, reach)
        finer_NB, finer_N = _scored(finer_NB, score, known)
        candidates_NB = np.concatenate([candidates_NB, finer_NB])
        scores_N = np.concatenate([scores_N, finer_N])
    chosen: Floats = candidates_NB[int(np.argmax(scores_N))]
    return chosen


def _scored(candidates_NB: Floats, score: Callable[[Floats], Floats], known: set[bytes]) -> tuple[Floats, Floats]:
    new = [row.tobytes() not in known for row in np.nan_to_num(candidates_NB, nan=-1.0)]
    scores_N = score(candidates_NB)
    return candidates_NB, np.where(new, scores_N, scores_N - 1e6)


def improvement_of(surrogate: Surrogate, asked: Callable[[Floats], Points], best: float) -> Callable[[Floats], Floats]:
    """The log expected improvement of rows."""

    def score(points_NB: Floats) -> Floats:
        return log_improvement(*surrogate.predicted(asked(points_NB)), best)

    return score
