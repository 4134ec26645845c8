"""Predictions become boxes: the last time step answers, and non-maximum suppression keeps one box an object."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch

from model.head import Predictions

SCORE_THRESHOLD = 0.001  # Prophesee protocol; fixed, since the threshold alone moves AP by 1 to 3 points
NMS_OVERLAP = 0.45  # Prophesee protocol; the same for every trial
MAX_CANDIDATES = 3_000  # an untrained net offers tens of thousands, and suppression grows with their square
MAX_DETECTIONS = 300  # boxes a window


@dataclass(frozen=True, slots=True)
class Detections:
    """D boxes found in one window, best first."""

    corners: npt.NDArray[np.float32]  # [D, 4] x1, y1, x2, y2 in output pixels
    scores: npt.NDArray[np.float32]  # [D] in [0, 1]
    classes: npt.NDArray[np.int64]  # [D]


@torch.no_grad()
def decode(predictions: Predictions) -> list[Detections]:
    """The boxes of each of the B windows, read from the last time step."""
    corners_BN4 = predictions.corners()[-1].cpu()
    scores_BNK = predictions.classes[-1].sigmoid().cpu()
    return [_suppress(corners, scores) for corners, scores in zip(corners_BN4, scores_BNK, strict=True)]


def _suppress(corners_N4: torch.Tensor, scores_NK: torch.Tensor) -> Detections:
    flat = scores_NK.flatten()
    scores, places = flat.topk(min(MAX_CANDIDATES, len(flat)))
    scores, places = scores[scores >= SCORE_THRESHOLD], places[: int((scores >= SCORE_THRESHOLD).sum())]
    points, classes = places // scores_NK.shape[1], places % scores_NK.shape[1]
    corners = corners_N4[points].numpy()
    return suppress(Detections(corners, scores.numpy(), classes.numpy()), NMS_OVERLAP)


def suppress(candidates: Detections, overlap: float) -> Detections:
    """Drop each box that overlaps a better one of its class by more than `overlap` (OpenCV's suppression)."""
    if not len(candidates.scores):
        return candidates
    corners = candidates.corners
    # OpenCV keeps classes apart by moving each to the right and down, which fails left of or above 0.
    positive = corners.astype(np.float64) - corners.min()
    xywh = np.concatenate([positive[:, :2], positive[:, 2:] - positive[:, :2]], axis=1)
    kept = np.asarray(
        cv2.dnn.NMSBoxesBatched(
            xywh.tolist(),
            candidates.scores.tolist(),
            candidates.classes.tolist(),
            0.0,
            overlap,
        ),
        np.int64,
    ).ravel()
    kept = kept[np.argsort(-candidates.scores[kept], kind="stable")][:MAX_DETECTIONS]
    return Detections(corners[kept], candidates.scores[kept], candidates.classes[kept])
