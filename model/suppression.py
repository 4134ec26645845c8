"""Non-maximum suppression: of boxes that cover each other, the best remains."""

import numba
import numpy as np
import numpy.typing as npt


def unsuppressed(
    corners: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    classes: npt.NDArray[np.int64],
    overlap: float,
    most: int,
) -> npt.NDArray[np.int64]:
    """The rows, best first, of boxes `[N, 4]` that no better one of their class overlaps by more than `overlap`.

    Of equal scores the earlier row counts as the better. Libraries (OpenCV, torchvision) compare on to the last
    candidate; this ends with the `most`-th kept box, so its time is bounded by N * `most` and not by N².
    """
    order = np.argsort(-scores, kind="stable")
    kept: npt.NDArray[np.int64] = order[_first_kept(corners[order].astype(np.float64), classes[order], overlap, most)]
    return kept


@numba.njit(cache=True, nogil=True)
def _first_kept(
    corners: npt.NDArray[np.float64], classes: npt.NDArray[np.int64], overlap: float, most: int
) -> npt.NDArray[np.int64]:  # pragma: no cover - compiled
    kept = np.empty(min(most, len(corners)), np.int64)
    count = 0
    for row in range(len(corners)):
        if count == len(kept):
            break
        left, top, right, bottom = corners[row, 0], corners[row, 1], corners[row, 2], corners[row, 3]
        area = (right - left) * (bottom - top)
        covered = False
        for place in range(count):
            best = kept[place]
            width = min(right, corners[best, 2]) - max(left, corners[best, 0])
            height = min(bottom, corners[best, 3]) - max(top, corners[best, 1])
            if classes[best] != classes[row] or width <= 0 or height <= 0:
                continue
            best_area = (corners[best, 2] - corners[best, 0]) * (corners[best, 3] - corners[best, 1])
            if width * height > overlap * (area + best_area - width * height):
                covered = True
                break
        if not covered:
            kept[count] = row
            count += 1
    return kept[:count]
