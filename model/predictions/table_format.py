"""Predictions as Prophesee's box tables: NAME_bbox.npy, one structured row a box."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data.boxes import BOX_DTYPE, Boxes, LabelSet
from data.errors import DatasetError, RecordingError
from data.formats.numpy_file import read_array
from data.formats.prophesee_boxes import read_boxes
from model.predictions.predicted_boxes import PredictedBoxes, RecordingPredictions

PREDICTIONS, TRUTH, ENDING = "predictions", "truth", "_bbox.npy"
SCORE = "class_confidence"


def write_tables(recordings: Sequence[RecordingPredictions], folder: Path) -> None:
    """Write predictions/NAME_bbox.npy and truth/NAME_bbox.npy of each recording.

    Raises:
        DatasetError: a track id does not fit the table's 32 bits.
    """
    for recording in recordings:
        truth_scores = np.ones(len(recording.truth), np.float32)
        for kind, boxes, scores in (
            (PREDICTIONS, recording.found.boxes, recording.found.scores),
            (TRUTH, recording.truth, truth_scores),
        ):
            path = folder / kind / f"{recording.name}{ENDING}"
            path.parent.mkdir(exist_ok=True)
            np.save(path, box_table(boxes, scores, recording.name), allow_pickle=False)


def read_tables(folder: Path, label_set: LabelSet) -> dict[str, PredictedBoxes]:
    """The predictions in predictions/NAME_bbox.npy, by name.

    Raises:
        RecordingError: there is none, or one is no table of boxes with scores.
    """
    paths = sorted((folder / PREDICTIONS).glob(f"*{ENDING}"))
    if not paths:
        raise RecordingError(f"{folder}: holds no {PREDICTIONS}/NAME{ENDING}; give the folder predictions are in")
    return {path.name.removesuffix(ENDING): read_table(path, label_set) for path in paths}


def read_table(path: Path, label_set: LabelSet) -> PredictedBoxes:
    """The predictions of one recording.

    Raises:
        RecordingError: the file is no table of boxes with scores.
    """
    boxes = read_boxes(path, label_set)
    table = read_array(path)
    names = table.dtype.names or ()
    if SCORE not in names or table.dtype[SCORE].kind != "f" or table.dtype[SCORE].shape:
        raise RecordingError(f"{path}: has no field '{SCORE}' of numbers, which holds the scores; export it with one")
    order = np.argsort(table["t" if "t" in names else "ts"], kind="stable")  # as read_boxes sorts
    scores = table[SCORE]
    strange = ~((scores >= 0) & (scores <= 1))
    if strange.any():
        row = int(np.argmax(strange))
        raise RecordingError(f"{path}: row {row}: {SCORE}={scores[row]}, but a score lies in [0, 1]; mend the row")
    found = PredictedBoxes(boxes, scores[order].astype(np.float32))
    return found.checked(lambda row: f"{path}: row {order[row]}")


def box_table(boxes: Boxes, scores: npt.NDArray[np.float32], name: str) -> npt.NDArray[np.void]:
    """Boxes and scores as Prophesee's rows.

    Raises:
        DatasetError: a track id does not fit the table's 32 bits; `name` is that of the recording.
    """
    largest = np.iinfo(BOX_DTYPE["track_id"]).max
    if len(boxes) and not 0 <= boxes.track_id.min() <= boxes.track_id.max() <= largest:
        raise DatasetError(
            f"recording {name}: has track ids from {boxes.track_id.min()} to {boxes.track_id.max()}, but the table "
            f"holds 0 to {largest}; write another format"
        )
    table = np.zeros(len(boxes), BOX_DTYPE)
    table["t"], table["class_id"], table["track_id"], table[SCORE] = boxes.t, boxes.class_id, boxes.track_id, scores
    for column, field in enumerate("xywh"):
        table[field] = boxes.xywh[:, column]
    return table
