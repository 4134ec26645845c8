"""The picture of evaluated windows: one panel each, with the true and the found boxes on the events."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from data.boxes import Boxes
from data.dataset import Dataset
from data.drawing import CAPTION, GREEN, OFF, ON, Colour
from data.manifest import Split
from data.windows import causal_window
from model.decoding import Detections
from model.picture import FOUND, write_picture
from model.prediction import WindowResult

ZOOM = 5  # 96 px of the sensor become at least 480
BORDER = 2
PANEL = (64 * ZOOM + CAPTION + 2 * BORDER, 96 * ZOOM + 2 * BORDER)


def result(label_us: int, score: float) -> WindowResult:
    truth = Boxes(np.array([label_us]), np.array([[10, 20, 30, 20]], np.float32), np.array([0]), np.array([1]))
    box = np.array([[50, 30, 80, 60]], np.float32)
    found = Detections(box, np.array([score], np.float32), np.array([1]), np.empty((1, 0), np.float32))
    return WindowResult(causal_window(0, label_us, 50_000), None, truth, found)


def drawn(dataset: Dataset, path: Path, results: list[WindowResult]) -> npt.NDArray[np.uint8]:
    write_picture(results, dataset.shards(Split.VAL), dataset.label_set, path)
    image: npt.NDArray[np.uint8] | None = cv2.imread(str(path))
    assert image is not None
    return image


def coloured(image: npt.NDArray[np.uint8], colour: Colour) -> npt.NDArray[np.bool_]:
    """Where a panel has this colour, without its border and its caption."""
    mask: npt.NDArray[np.bool_] = (
        image[BORDER + CAPTION : PANEL[0] - BORDER, BORDER : PANEL[1] - BORDER] == colour
    ).all(2)
    return mask


def test_a_panel_shows_events_and_both_kinds_of_boxes_at_their_places(tiny_dataset: Dataset, tmp_path: Path) -> None:
    image = drawn(tiny_dataset, tmp_path / "new" / "windows.png", [result(500_000, 0.9)])
    assert image.shape == (*PANEL, 3)
    assert coloured(image, ON).any()
    assert coloured(image, OFF).any()
    true, found = coloured(image, GREEN), coloured(image, FOUND)
    assert true[20 * ZOOM, 10 * ZOOM : 40 * ZOOM].all()
    assert true[20 * ZOOM : 40 * ZOOM, 10 * ZOOM].all()
    assert found[60 * ZOOM, 50 * ZOOM : 80 * ZOOM].all()
    assert found[30 * ZOOM : 60 * ZOOM, 80 * ZOOM].all()


def test_a_box_that_the_detector_hardly_believes_in_is_not_drawn(tiny_dataset: Dataset, tmp_path: Path) -> None:
    image = drawn(tiny_dataset, tmp_path / "windows.png", [result(500_000, 0.29)])
    assert not coloured(image, FOUND).any()
    assert coloured(image, GREEN).any()


def test_at_most_six_windows_stand_in_rows_of_three(tiny_dataset: Dataset, tmp_path: Path) -> None:
    times = [result(label_us, 0.9) for label_us in range(100_000, 900_000, 100_000)]
    for count, shape in ((1, (1, 1)), (2, (1, 2)), (4, (2, 3)), (8, (2, 3))):
        image = drawn(tiny_dataset, tmp_path / "windows.png", times[:count])
        assert image.shape == (PANEL[0] * shape[0], PANEL[1] * shape[1], 3)
    assert [path.name for path in tmp_path.iterdir()] == ["windows.png"]
