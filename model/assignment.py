"""Which prediction answers for which box: task-aligned assignment (TOOD, Feng et al. 2021)."""

from dataclasses import dataclass

import torch

_FAR = -1.0  # rank of a point outside a box: below every metric, which is at least 0


@dataclass(frozen=True, slots=True)
class Assignment:
    """For each of I images and N points, the box it answers for."""

    positive: torch.Tensor  # bool [I, N]
    box: torch.Tensor  # int64 [I, N] row of the image's boxes; 0 where not positive
    quality: torch.Tensor  # float [I, N] target score in [0, 1]; 0 where not positive


@torch.no_grad()
def assign(
    scores: torch.Tensor,
    overlaps: torch.Tensor,
    inside: torch.Tensor,
    top_k: int,
    alpha: float,
    beta: float,
) -> Assignment:
    """Give each box its `top_k` best-aligned points.

    The alignment of a point with a box is score^alpha * IoU^beta. A point wanted by several boxes answers for the one
    it overlaps most. Its target score is its alignment, scaled so that a box's best point gets the box's best IoU.

    Args:
        scores: [I, M, N] predicted probability of box m's class at point n.
        overlaps: [I, M, N] IoU of the box predicted at n with box m, in [0, 1].
        inside: bool [I, M, N], whether point n lies in box m; False for the rows that only pad M.
        top_k: points a box at most.
        alpha: exponent of the score.
        beta: exponent of the overlap.
    """
    alignment = scores.pow(alpha) * overlaps.pow(beta) * inside
    wanted = _top(alignment, inside, top_k)
    contested = wanted.sum(1, keepdim=True) > 1
    best = torch.zeros_like(wanted).scatter_(1, (overlaps * wanted).argmax(1, keepdim=True), value=True)
    wanted = torch.where(contested, wanted & best, wanted)
    alignment = alignment * wanted
    peak = alignment.amax(-1, keepdim=True)
    quality = alignment / peak.clamp(min=1e-9) * (overlaps * wanted).amax(-1, keepdim=True)
    return Assignment(wanted.any(1), wanted.int().argmax(1), quality.amax(1))


def _top(alignment: torch.Tensor, inside: torch.Tensor, top_k: int) -> torch.Tensor:
    ranks = torch.where(inside, alignment, _FAR)
    rows = ranks.topk(min(top_k, ranks.shape[-1]), dim=-1).indices
    return torch.zeros_like(inside).scatter_(-1, rows, value=True) & inside
