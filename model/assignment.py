"""Which prediction answers for which box: task-aligned assignment (TOOD, Feng et al. 2021)."""

from dataclasses import dataclass

import torch

_NONE = -1.0  # rank where there is no pair: below every metric, which is at least 0


@dataclass(frozen=True, slots=True)
class Assignment:
    """For each of I images and N points, the box it answers for."""

    positive: torch.Tensor  # bool [I, N]
    box: torch.Tensor  # int64 [I, N] row of the image's boxes; 0 where not positive
    quality: torch.Tensor  # float [I, N] target score in [0, 1]; 0 where not positive


@dataclass(frozen=True, slots=True)
class Pairs:
    """The P pairs of a box and a point that may answer for it, in order of their boxes."""

    image: torch.Tensor  # int64 [P]
    box: torch.Tensor  # int64 [P]
    point: torch.Tensor  # int64 [P]
    shape: tuple[int, int, int]  # I images, M boxes in the fullest of them, N points

    @classmethod
    def of(cls, near: torch.Tensor) -> "Pairs":
        """Those of a table, bool `[I, M, N]`."""
        image, box, point = near.nonzero(as_tuple=True)
        images, M, N = near.shape
        return cls(image, box, point, (images, M, N))


@torch.no_grad()
def assign(
    pairs: Pairs, scores: torch.Tensor, overlaps: torch.Tensor, top_k: int, alpha: float, beta: float
) -> Assignment:
    """Give each box its `top_k` best-aligned points.

    The alignment of a point with a box is score^alpha * IoU^beta. A point wanted by several boxes answers for the one
    it overlaps most. Its target score is its alignment, scaled so that a box's best point gets the box's best IoU.

    Args:
        pairs: which points may answer for which boxes.
        scores: [P] predicted probability of the box's class at the point.
        overlaps: [P] IoU of the box predicted at the point with the box, in [0, 1].
        top_k: points a box at most.
        alpha: exponent of the score.
        beta: exponent of the overlap.
    """
    (images, M, N), box = pairs.shape, pairs.box
    owner, cell = pairs.image * M + box, pairs.image * N + pairs.point
    alignment = scores.pow(alpha) * overlaps.pow(beta)
    wanted = _top(alignment, owner, images * M, top_k).nonzero().flatten()
    wanted = wanted[_uncontested(overlaps[wanted], cell[wanted], box[wanted], images * N)]
    owner, cell, alignment = owner[wanted], cell[wanted], alignment[wanted]
    peak, best = (_highest(values, owner, images * M) for values in (alignment, overlaps[wanted]))
    positive = torch.zeros(images * N, dtype=torch.bool, device=box.device)
    answers = torch.zeros(images * N, dtype=torch.int64, device=box.device)
    quality = alignment.new_zeros(images * N)
    positive[cell], answers[cell] = True, box[wanted]
    quality[cell] = alignment / peak[owner].clamp(min=1e-9) * best[owner]
    return Assignment(positive.view(images, N), answers.view(images, N), quality.view(images, N))


def _top(alignment: torch.Tensor, owner: torch.Tensor, boxes: int, top_k: int) -> torch.Tensor:
    """Which pairs `[P]` are among the best of their box; pairs stand in order of their boxes."""
    counts = torch.bincount(owner, minlength=boxes)
    most = max(1, int(counts.max()))
    place = torch.arange(len(owner), device=owner.device) - (counts.cumsum(0) - counts)[owner]
    table = alignment.new_full((boxes, most), _NONE)
    table[owner, place] = alignment
    rows = table.topk(min(top_k, most), dim=-1).indices
    return torch.zeros_like(table, dtype=torch.bool).scatter_(-1, rows, value=True)[owner, place]


def _uncontested(overlaps: torch.Tensor, cell: torch.Tensor, box: torch.Tensor, cells: int) -> torch.Tensor:
    """Which pairs `[P]` a point keeps: of the boxes that want it the one it overlaps most, the first of equal ones."""
    best = overlaps == _highest(overlaps, cell, cells)[cell]
    first = box.new_full((cells,), torch.iinfo(box.dtype).max)
    first = first.scatter_reduce(0, cell[best], box[best], "amin")
    return best & (box == first[cell])


def _highest(values: torch.Tensor, group: torch.Tensor, groups: int) -> torch.Tensor:
    """The highest value of each group, 0 of an empty one."""
    return values.new_zeros(groups).scatter_reduce(0, group, values, "amax")
