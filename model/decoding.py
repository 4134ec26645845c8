"""Predictions become boxes: one answer a window, and non-maximum suppression keeps one box an object."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from model.head import Predictions
from model.suppression import unsuppressed

SCORE_THRESHOLD = 0.001  # Prophesee protocol; fixed, since the threshold alone moves AP by 1 to 3 points
NMS_OVERLAP = 0.45  # Prophesee protocol; the same for every trial
MAX_CANDIDATES = 3_000  # an untrained net offers tens of thousands, and suppression grows with their square
MAX_DETECTIONS = 300  # boxes a window


class Readout(StrEnum):
    """Which of a window's T answers counts."""

    LAST = "last"  # that of the last step, which has seen the whole window
    MEAN = "mean"  # the mean of all steps' scores and boxes
    MAX = "max"  # at each point that of its most confident step


@dataclass(frozen=True, slots=True)
class Detections:
    """D boxes found in one window, best first."""

    corners: npt.NDArray[np.float32]  # [D, 4] x1, y1, x2, y2 in output pixels
    scores: npt.NDArray[np.float32]  # [D] in [0, 1]
    classes: npt.NDArray[np.int64]  # [D]
    embeddings: npt.NDArray[np.float32]  # [D, E] of length 1: the more alike two are, the likelier one object

    def take(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_] | slice) -> "Detections":
        """The detections of these rows."""
        return Detections(self.corners[rows], self.scores[rows], self.classes[rows], self.embeddings[rows])


@torch.no_grad()
def decode(predictions: Predictions, readout: Readout = Readout.LAST) -> list[Detections]:
    """The boxes of each of the B windows."""
    corners_BN4, scores_BNK, embeddings_BNE = (part.cpu() for part in _read(predictions, readout))
    return [_suppress(*parts) for parts in zip(corners_BN4, scores_BNK, embeddings_BNE, strict=True)]


def _read(predictions: Predictions, readout: Readout) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One answer a window: corners `[B, N, 4]`, scores `[B, N, K]`, embeddings `[B, N, E]`."""
    if readout is Readout.LAST:
        predictions = predictions.part(slice(-1, None), slice(None))  # no other step is asked for anything
    corners, scores, embeddings = predictions.corners(), predictions.scores(), predictions.embeddings
    if readout is Readout.LAST:
        return corners[0], scores[0], embeddings[0]
    if readout is Readout.MEAN:
        return corners.mean(0), scores.mean(0), embeddings.mean(0)
    surest_1BN = scores.amax(-1).argmax(0, keepdim=True)

    def then(values_TBNX: torch.Tensor) -> torch.Tensor:
        rows = surest_1BN[..., None].expand(-1, -1, -1, values_TBNX.shape[-1])
        return values_TBNX.gather(0, rows)[0]

    return then(corners), then(scores), then(embeddings)


def _suppress(corners_N4: torch.Tensor, scores_NK: torch.Tensor, embeddings_NE: torch.Tensor) -> Detections:
    flat = scores_NK.flatten()
    scores, places = flat.topk(min(MAX_CANDIDATES, len(flat)))
    places = places[scores >= SCORE_THRESHOLD]
    points, classes = places // scores_NK.shape[1], places % scores_NK.shape[1]
    candidates = Detections(
        corners_N4[points].float().numpy(),
        flat[places].float().numpy(),
        classes.numpy(),
        F.normalize(embeddings_NE[points].float(), dim=-1).numpy(),
    )
    return suppress(candidates, NMS_OVERLAP)


def suppress(candidates: Detections, overlap: float) -> Detections:
    """Drop each box that overlaps a better one of its class by more than `overlap`, and all but the best 300."""
    corners, scores, classes = candidates.corners, candidates.scores, candidates.classes
    return candidates.take(unsuppressed(corners, scores, classes, overlap, MAX_DETECTIONS))
