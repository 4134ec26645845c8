from pathlib import Path

import cv2
import numpy as np
import pytest

from data.boxes import Boxes, LabelSet
from data.events import SensorSize
from data.windows import Window
from model.decoding import Detections
from model.evaluation.figures import write_curves
from model.evaluation.protocol import Evaluation, summarize
from model.prediction import WindowResult

LABELS = LabelSet("many", tuple(f"kind {number}" for number in range(12)))


def evaluation(found: int) -> Evaluation:
    """Two true boxes of the first class, of which the first so many are found."""
    xywh = np.array([[100, 100, 100, 100], [500, 300, 90, 90]], np.float32)
    corners = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)[:found]
    kinds = np.zeros(2, np.int64)
    truth = Boxes(np.full(2, 599_999), xywh, kinds, np.arange(2))
    detections = Detections(corners, np.full(found, 0.9, np.float32), kinds[:found], np.zeros((found, 4), np.float32))
    results = [WindowResult(Window(0, 550_000, 600_000, 599_999), False, truth, detections)]
    return summarize(results, LABELS, SensorSize(1280, 720))


def panels(path: Path) -> list[list[np.ndarray]]:
    """The picture cut in four, without its margins."""
    image = cv2.imread(str(path))
    assert image is not None
    height, width = image.shape[0] // 2, image.shape[1] // 2
    return [[image[y : y + height, x : x + width] for x in (0, width)] for y in (0, height)]


@pytest.mark.parametrize("found", [0, 1, 2])
def test_a_figure_is_written_whole_whatever_was_found(tmp_path: Path, found: int) -> None:
    write_curves(evaluation(found), tmp_path / "new" / "curves.png")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["curves.png"]
    assert all(panel.std() > 0 for row in panels(tmp_path / "new" / "curves.png") for panel in row)


def test_another_answer_gives_other_curves_bars_and_counts(tmp_path: Path) -> None:
    for found in (0, 1):
        write_curves(evaluation(found), tmp_path / f"{found}.png")
    none, one = panels(tmp_path / "0.png"), panels(tmp_path / "1.png")
    for row in range(2):
        for column in range(2):
            assert none[row][column].shape == one[row][column].shape
            assert (none[row][column] != one[row][column]).any()
