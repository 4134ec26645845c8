import io
from contextlib import redirect_stdout

import numpy as np
import numpy.typing as npt
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from data.boxes import Boxes, LabelSet
from data.events import SensorSize
from data.windows import Window
from model.decoding import Detections
from model.evaluation import bootstrap as module
from model.evaluation.bootstrap import Bootstrap, MatchedBoxes, bootstrap
from model.evaluation.protocol import summarize, tables
from model.prediction import WindowResult

LABELS = LabelSet("two", ("a", "b"))
SIZE = SensorSize(64, 64)  # counts boxes from a diagonal of 3 px


def window(random: np.random.Generator, number: int, recording: int, sure: float = 0.7) -> WindowResult:
    """Up to four true boxes, most of them found somewhere near, among some that are made up."""
    count = int(random.integers(0, 5))
    xywh = np.concatenate([random.uniform(0, 40, (count, 2)), random.uniform(8, 20, (count, 2))], axis=1)
    classes = random.integers(0, 2, count)
    hit = random.random(count) < sure
    near = xywh[hit] + random.normal(0, 1.2, (int(hit.sum()), 4))
    wild = np.concatenate([random.uniform(0, 40, (3, 2)), random.uniform(8, 20, (3, 2))], axis=1)
    boxes = np.concatenate([near, wild])
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1).astype(np.float32)
    kinds = np.concatenate([classes[hit], random.integers(0, 2, 3)])
    scores = np.sort(random.random(len(boxes)))[::-1].astype(np.float32)
    t = np.full(count, number + 1)
    truth = Boxes(t, xywh.astype(np.float32), classes, np.arange(count) + 1)
    found = Detections(corners, scores, kinds, np.ones((len(boxes), 1), np.float32))
    return WindowResult(Window(recording, number, number + 2, number + 1), None, truth, found)


def windows(seed: int, count: int = 12, recordings: int = 3) -> list[WindowResult]:
    random = np.random.default_rng(seed)
    return [window(random, number, number * recordings // count) for number in range(count)]


def by_pycocotools(results: list[WindowResult], times: npt.NDArray[np.int64]) -> float:
    """mAP by the reference implementation, with each window written down as often as it was drawn."""
    images: list[dict[str, int]] = []
    truths: list[dict[str, object]] = []
    found: list[dict[str, object]] = []
    for result in [result for result, n in zip(results, times, strict=True) for _ in range(n) if len(result.truth)]:
        image = len(images) + 1
        images.append({"id": image})
        for xywh, kind in zip(result.truth.xywh.astype(float).tolist(), result.truth.class_id.tolist(), strict=True):
            box = {"id": len(truths) + 1, "image_id": image, "category_id": kind, "bbox": xywh, "iscrowd": 0}
            truths.append({**box, "area": xywh[2] * xywh[3]})
        for corners, score, kind in zip(result.found.corners, result.found.scores, result.found.classes, strict=True):
            x1, y1, x2, y2 = corners.astype(float).tolist()
            box = {"image_id": image, "category_id": int(kind), "bbox": [x1, y1, x2 - x1, y2 - y1]}
            found.append({**box, "score": float(score)})
    with redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {"info": {}, "images": images, "annotations": truths, "categories": [{"id": 0}, {"id": 1}]}
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    precision_TRK = evaluation.eval["precision"][:, :, :, 0, -1]
    return float(precision_TRK[precision_TRK > -1].mean())


def matched(results: list[WindowResult]) -> MatchedBoxes:
    return MatchedBoxes(*tables(results), 2, len(results))


@pytest.mark.parametrize("seed", range(6))
def test_the_ap_of_drawn_windows_is_pycocotools_ap_of_the_same_windows_written_down_so_often(seed: int) -> None:
    results, random = windows(seed), np.random.default_rng(seed)
    for _ in range(4):
        times = np.bincount(random.integers(0, len(results), len(results)), minlength=len(results))
        expected = by_pycocotools(results, times)
        assert 0.05 < expected < 0.95
        assert matched(results).average_precision(times) == pytest.approx(expected, abs=1e-9)


def test_each_window_once_is_the_evaluation_s_own_ap() -> None:
    results = windows(3, 40)
    once = np.ones(len(results), np.int64)
    whole = summarize(results, LABELS, SensorSize(64, 64)).overall.ap
    assert matched(results).average_precision(once) == pytest.approx(whole, abs=1e-9)


def perfect_or_blind(number: int, seen: bool) -> WindowResult:
    """One true box, found exactly or not at all."""
    truth = Boxes(np.array([number + 1]), np.array([[10, 10, 20, 20]], np.float32), np.array([0]), np.array([1]))
    corners = np.array([[10, 10, 30, 30]], np.float32)[: int(seen)]
    found = Detections(
        corners, np.full(int(seen), 0.9, np.float32), np.zeros(int(seen), int), np.ones((int(seen), 1), np.float32)
    )
    return WindowResult(Window(0, number, number + 2, number + 1), None, truth, found)


def test_the_interval_is_the_binomial_s_where_each_window_is_found_wholly_or_not_at_all() -> None:
    """AP is then the share of windows found (to COCO's 1/101), whose standard error is sqrt(p (1 - p) / n)."""
    results = [perfect_or_blind(number, number % 2 == 0) for number in range(100)]
    low, high = bootstrap([results], LABELS, SIZE).interval(0)
    margin = 1.96 * np.sqrt(0.5 * 0.5 / 100)
    assert low == pytest.approx(0.5 - margin, abs=0.025)
    assert high == pytest.approx(0.5 + margin, abs=0.025)


def test_the_interval_covers_the_truth_about_as_often_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 40 samples of 80 windows found with a chance of .5, the interval holds .5 in 95 %, give or take."""
    monkeypatch.setattr(module, "RESAMPLES", 60)
    random = np.random.default_rng(1)
    covered = 0
    for sample in range(40):
        results = [perfect_or_blind(number, bool(random.random() < 0.5)) for number in range(80)]
        low, high = bootstrap([results], LABELS, SIZE, sample).interval(0)
        covered += low - 0.005 <= 0.5 <= high + 0.005  # a 101st of recall
    assert 33 <= covered <= 40  # below that a binomial of 40 and .95 comes once in 1,000 times


def test_a_detector_differs_from_itself_by_nothing_in_every_draw() -> None:
    results = windows(5, 30)
    drawn = bootstrap([results, results], LABELS, SIZE)
    assert drawn.difference(0, 1) == (0.0, 0.0)
    low, high = drawn.interval(0)
    assert low < high


def test_the_same_seed_draws_the_same() -> None:
    results = windows(6, 30)
    first, again, other = (bootstrap([results], LABELS, SIZE, seed) for seed in (1, 1, 2))
    assert np.array_equal(first.values[0], again.values[0])
    assert not np.array_equal(first.values[0], other.values[0])


def test_recordings_are_drawn_where_there_are_eight_and_windows_otherwise() -> None:
    def unit(recordings: int) -> Bootstrap:
        random = np.random.default_rng(7)
        results = [perfect_or_blind(number, bool(random.random() < 0.5)) for number in range(32)]
        spread = [
            WindowResult(Window(number % recordings, number, number + 2, number + 1), None, one.truth, one.found)
            for number, one in enumerate(results)
        ]
        return bootstrap([spread], LABELS, SIZE)

    assert (unit(8).unit, unit(8).units) == ("recordings", 8)
    assert (unit(7).unit, unit(7).units) == ("windows", 32)
