"""Evaluation end to end against pycocotools, and suppression of what an untrained net offers."""

import contextlib
import io
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from benchmarks.synthetic_batch import CLASSES, STEPS
from benchmarks.table import Row, row
from benchmarks.timing import medians
from data.representation import RepresentationConfig
from model.decoding import decode
from model.detector import DetectorConfig, SpikingDetector
from model.evaluation.average_precision import LabelledBoxes, precision_by_size
from model.evaluation.coco import CocoBoxes

IMAGES, TRUE, FOUND = 500, 6, 100  # boxes an image
NMS_MS = 10.0
FRAME = (384, 640)  # of eTraM at half its resolution


def measure(rounds: int) -> list[Row]:
    return [_evaluation(rounds), _suppression(rounds)]


def _evaluation(rounds: int) -> Row:
    """From tables of boxes to AP, of all boxes and by size, and everything that lies between; both say the same."""
    truth, found = _boxes()
    if not np.allclose(_ours(truth, found), _pycocotools(truth, found), rtol=0, atol=1e-9):
        raise RuntimeError("AP is another one by pycocotools: the comparison means nothing")
    taken = medians(
        {"ours": lambda: _ours(truth, found), "pycocotools": lambda: _pycocotools(truth, found)}, max(3, rounds // 2)
    )
    figure = f"AP of {IMAGES} images by size, from boxes to numbers, ms, against pycocotools"
    return row(figure, taken["ours"] * 1e3, taken["pycocotools"] * 1e3, 4, smaller_is_better=True)


def _suppression(rounds: int) -> Row:
    """Predictions to boxes; the limit stands in the place of a peer."""
    torch.manual_seed(0)
    detector = SpikingDetector(DetectorConfig(), RepresentationConfig(), STEPS, CLASSES).eval()
    with torch.no_grad():
        predictions = detector(torch.randint(0, 2, (STEPS, 4, 2, *FRAME), dtype=torch.uint8))
    taken = medians({"decode": lambda: decode(predictions)}, rounds)["decode"] / 4 * 1e3
    points = predictions.points.shape[0] * CLASSES
    return {
        "figure": f"decoding and NMS of an untrained net, {points:,} candidates, ms an image",
        "ours": taken,
        "peer": NMS_MS,
        "ratio": taken / NMS_MS,
        "must": f"<= {NMS_MS:g}",
        "holds": taken <= NMS_MS,
    }


def _boxes() -> tuple[LabelledBoxes, LabelledBoxes]:
    """True boxes, and found ones scattered around them."""
    random = np.random.default_rng(0)
    size = random.uniform(20, 150, (IMAGES, TRUE, 2))
    true = np.concatenate([random.uniform(0, 400, (IMAGES, TRUE, 2)), size], axis=2)
    classes = random.integers(0, CLASSES, (IMAGES, TRUE))
    copied = random.integers(0, TRUE, (IMAGES, FOUND))
    rows = np.arange(IMAGES)[:, None]
    spread = random.choice([0.05, 0.2, 1.0], (IMAGES, FOUND, 1))
    near = true[rows, copied] + random.normal(0, 1, (IMAGES, FOUND, 4)) * spread * np.tile(size[rows, copied], 2)
    near[..., 2:] = np.maximum(near[..., 2:], 4)

    def table(xywh: Any, class_id: Any, score: Any) -> LabelledBoxes:
        image = np.repeat(np.arange(IMAGES), xywh.shape[1])
        return LabelledBoxes(image, xywh.reshape(-1, 4), class_id.ravel(), score.ravel())

    return table(true, classes, np.zeros((IMAGES, TRUE))), table(
        near, classes[rows, copied], random.uniform(0, 1, (IMAGES, FOUND))
    )


def _ours(truth: LabelledBoxes, found: LabelledBoxes) -> list[float]:
    """AP of all boxes, of the small, the medium and the large ones."""
    every, sized = precision_by_size(CocoBoxes(truth, found, CLASSES))
    return [part.ap for part in (every, *sized.values())]


def _pycocotools(truth: LabelledBoxes, found: LabelledBoxes) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": int(image)} for image in np.unique(truth.image)],
            "categories": [{"id": number} for number in range(CLASSES)],
            "annotations": _annotations(truth),
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(_annotations(found)), "bbox")
        evaluation.params.maxDets = [100]
        evaluation.evaluate()
        evaluation.accumulate()
    by_size = np.moveaxis(evaluation.eval["precision"][..., -1], 3, 0)
    return [float(precision[precision > -1].mean()) for precision in by_size]


def _annotations(boxes: LabelledBoxes) -> list[dict[str, Any]]:
    columns = (boxes.image.tolist(), boxes.xywh.tolist(), boxes.class_id.tolist(), boxes.score.tolist())
    return [
        {
            "id": number,
            "image_id": image,
            "bbox": xywh,
            "area": xywh[2] * xywh[3],
            "iscrowd": 0,
            "category_id": class_id,
            "score": score,
        }
        for number, (image, xywh, class_id, score) in enumerate(zip(*columns, strict=True), start=1)
    ]
