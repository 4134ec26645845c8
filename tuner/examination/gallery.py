"""Windows to look at: where the winner is best, where worst, and some drawn at random."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import PIL.Image

from data.boxes import LabelSet
from data.drawing import Image
from data.shards import Shard
from model.evaluation.coco import CocoBoxes
from model.evaluation.protocol import tables
from model.picture import window_picture
from model.prediction import WindowResult

SCORE = 0.25  # found boxes below it are neither drawn nor counted
OVERLAP = 0.5  # IoU from which a found box is right
EACH = 4  # best, worst and random windows
QUALITY = 80  # of the WebP; lines and letters stay sharp
WIDTH = 480  # px
KINDS = ("best", "worst", "random")


@dataclass(frozen=True)
class Picture:
    """One window's picture."""

    file: str
    kind: str  # one of KINDS
    recording: str
    time_s: float  # on the recording's clock
    f1: float  # of boxes from SCORE on, at an IoU of OVERLAP
    true: int  # boxes
    found: int  # boxes from SCORE on


def write_gallery(
    results: Sequence[WindowResult], shards: Sequence[Shard], label_set: LabelSet, folder: Path, seed: int = 0
) -> list[Picture]:
    """Draw windows with true boxes green and found ones magenta, as WebP files in a folder."""
    shown = [replace(result, found=result.found.take(result.found.scores >= SCORE)) for result in results]
    f1 = window_f1(shown, label_set)
    pictures = []
    for kind, rows in _chosen(shown, f1, seed).items():
        for place, row in enumerate(rows):
            result, shard = shown[row], shards[shown[row].window.recording]
            name = f"{kind}-{place + 1}.webp"
            write_webp(window_picture(result, shard, label_set, SCORE), folder / name)
            time_s = (result.window.label_us - shard.first_us) / 1e6
            pictures.append(
                Picture(name, kind, shard.name, time_s, float(f1[row]), len(result.truth), len(result.found.scores))
            )
    return pictures


def window_f1(shown: Sequence[WindowResult], label_set: LabelSet) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """F1 of each window: twice the right boxes by the true and found ones; NaN where there are neither."""
    truth, found = tables(shown)
    right_rows, _ = CocoBoxes(truth, found, len(label_set.classes)).matches(OVERLAP)
    right = np.bincount(found.image[right_rows], minlength=len(shown))
    boxes = np.array([len(result.truth) + len(result.found.scores) for result in shown])
    return np.asarray(np.divide(2 * right, boxes, out=np.full(len(shown), np.nan), where=boxes > 0))


def write_webp(image: Image, path: Path) -> None:
    """Write a picture no wider than WIDTH."""
    picture = PIL.Image.fromarray(np.ascontiguousarray(image[..., ::-1]))
    if picture.width > WIDTH:
        picture = picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), PIL.Image.Resampling.LANCZOS)
    picture.save(path, "WEBP", quality=QUALITY, method=6)


def _chosen(
    shown: Sequence[WindowResult], f1: "np.ndarray[tuple[int], np.dtype[np.float64]]", seed: int
) -> dict[str, list[int]]:
    """Rows by kind; of windows as good those with more true boxes, and no window twice."""
    truths = np.array([len(result.truth) for result in shown])
    rows = np.flatnonzero(truths > 0)
    order = rows[np.lexsort((-truths[rows], -f1[rows]))]
    best = order[: min(EACH, len(order) // 2)]
    worst = rows[np.lexsort((-truths[rows], f1[rows]))]
    worst = worst[~np.isin(worst, best)][:EACH]
    left = np.setdiff1d(rows, np.concatenate([best, worst]))
    drawn = np.random.default_rng(seed).permutation(left)[:EACH]
    return {"best": best.tolist(), "worst": worst.tolist(), "random": np.sort(drawn).tolist()}
