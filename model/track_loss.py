"""The loss of track embeddings: alike within a track, unlike between the tracks of a recording."""

from collections import deque
from collections.abc import Sequence

import torch
from torch.nn import functional as F

from model.head import precise
from model.team import ALONE, Team

_NEVER = -1e4  # likeness of what is not compared: far below what vectors of length 1 can have
TEMPERATURE = 0.1  # of the contrastive loss (Khosla et al. 2020 use 0.07 to 0.1)


class TrackMemory:
    """One embedding of each object of the last batches, which new ones are compared with too (XBM, Wang et al. 2020).

    A batch shows an object for one window; the memory shows it at other times, and other objects of its recording.
    """

    def __init__(self, batches: int) -> None:
        self._kept: deque[tuple[torch.Tensor, torch.Tensor]] = deque(maxlen=batches)

    def remember(self, vectors: torch.Tensor, tracks: torch.Tensor) -> None:
        """Keep a batch's embeddings `[K, E]`, one of each track `[K]`."""
        self._kept.append((F.normalize(vectors.detach(), dim=-1), tracks))

    def recall(self, vectors: torch.Tensor, tracks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """These embeddings and tracks followed by the kept ones."""
        kept_vectors, kept_tracks = zip((vectors, tracks), *self._kept, strict=True)
        return torch.cat(kept_vectors), torch.cat(kept_tracks)

    def state(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """What is kept, embeddings `[K, E]` and tracks `[K]` of each batch, the oldest first; never written into."""
        return list(self._kept)

    def restore(self, state: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Keep this and nothing else."""
        self._kept.clear()
        self._kept.extend(state)


def track_loss(
    embeddings: torch.Tensor, tracks: torch.Tensor, positive: torch.Tensor, memory: TrackMemory, team: Team = ALONE
) -> torch.Tensor:
    """Supervised contrastive loss (Khosla et al. 2020, eq. 2) within each recording.

    Args:
        embeddings: [I, N, E], not normalised.
        tracks: int64 [I, N] the track each point answers for; its upper 32 bits number the recording.
        positive: bool [I, N] which points answer for a box; those of one box and image count as one, by their mean.
        memory: what was seen before; this batch is added to it.
        team: whose processes' objects are compared with each other, too; all have the same loss then.
    """
    image, _ = positive.nonzero(as_tuple=True)
    known, track = torch.unique(tracks[positive], return_inverse=True)
    # By one number each: unique pairs take torch ten times as long.
    keys, member = torch.unique(image * len(known) + track, return_inverse=True)
    shown_at = precise(embeddings[positive])
    summed = shown_at.new_zeros(len(keys), shown_at.shape[-1]).index_add(0, member, shown_at)
    summed, shown = team.rows(summed), team.rows(known[keys % max(len(known), 1)])
    vectors = F.normalize(summed, dim=-1)
    others, other_tracks = memory.recall(vectors, shown)
    known, track = torch.unique(shown, return_inverse=True)
    memory.remember(summed.new_zeros(len(known), summed.shape[-1]).index_add(0, track, summed), known)
    comparable = torch.isin(other_tracks >> 32, shown >> 32)  # the others are of no use: in large data sets most
    others, other_tracks = others[comparable], other_tracks[comparable]
    itself = torch.eye(len(vectors), len(others), dtype=torch.bool, device=vectors.device)
    compared = (shown[:, None] >> 32 == other_tracks >> 32) & ~itself
    alike = (shown[:, None] == other_tracks) & ~itself
    # Not minus infinity: a row that is compared with nothing would have no softmax.
    likeness = (vectors @ others.T / TEMPERATURE).masked_fill(~compared, _NEVER)
    partners = alike.sum(1)
    told = (partners > 0) & (partners < compared.sum(1))  # nothing is told apart without another track
    share = likeness.log_softmax(-1).masked_fill(~alike, 0).sum(-1) / partners.clamp(min=1)
    mean: torch.Tensor = -(share * told).sum() / told.sum().clamp(min=1)
    return mean
