"""Predictions as folders of files that other tools read, and read back."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from data.boxes import LabelSet
from data.errors import DatasetError
from data.events import SensorSize
from data.storage import partial_path
from model.predictions.coco_format import read_coco, write_coco
from model.predictions.mot_format import read_mot_results, write_mot
from model.predictions.predicted_boxes import PredictedBoxes, RecordingPredictions
from model.predictions.table_format import read_tables, write_tables


class PredictionFormat(StrEnum):
    """How predictions are written; the truth stands beside them."""

    NPY = "npy"  # predictions/NAME_bbox.npy, truth/NAME_bbox.npy: Prophesee's table, class_confidence is the score
    COCO = "coco"  # predictions.json for pycocotools' loadRes, truth.json
    MOT = "mot"  # predictions/NAME.txt, truth/NAME/: MOTChallenge text for TrackEval


def write_predictions(
    recordings: Sequence[RecordingPredictions],
    label_set: LabelSet,
    size: SensorSize,
    folder: Path,
    format: PredictionFormat,  # noqa: A002
) -> None:
    """Write the predictions of a split into a new folder, which appears when it is whole.

    Raises:
        DatasetError: the folder is there already, or a number does not fit the format.
        OSError: it cannot be written.
    """
    with _whole_folder(folder) as partial:
        if format is PredictionFormat.NPY:
            write_tables(recordings, partial)
        elif format is PredictionFormat.COCO:
            write_coco(recordings, label_set, size, partial)
        else:
            write_mot(recordings, label_set, size, partial)


def read_predictions(
    folder: Path,
    label_set: LabelSet,
    format: PredictionFormat,  # noqa: A002
) -> dict[str, PredictedBoxes]:
    """The predictions in a folder, by the names of their recordings.

    Raises:
        RecordingError: a file is missing, damaged, or of another label set; file and place in it are named.
    """
    if format is PredictionFormat.NPY:
        return read_tables(folder, label_set)
    if format is PredictionFormat.COCO:
        return read_coco(folder, label_set)
    return read_mot_results(folder, label_set)


def recording_predictions(folder: Path, label_set: LabelSet, name: str) -> PredictedBoxes:
    """What a folder of predictions, of whatever format, holds of one recording.

    Raises:
        DatasetError: the folder has no predictions, or none of that recording.
        RecordingError: a file is damaged, or of another label set.
    """
    found = read_predictions(folder, label_set, _format_of(folder))
    if name not in found:
        raise DatasetError(f"{folder}: has predictions of {', '.join(sorted(found)) or 'nothing'}, not of {name}")
    return found[name]


def _format_of(folder: Path) -> PredictionFormat:
    if (folder / "predictions.json").is_file():
        return PredictionFormat.COCO
    for format, ending in ((PredictionFormat.NPY, "*.npy"), (PredictionFormat.MOT, "*.txt")):  # noqa: A001
        if any((folder / "predictions").glob(ending)):
            return format
    raise DatasetError(f"{folder}: holds no predictions; `spiketune evaluate --predictions` writes such folders")


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into that becomes `folder` when the `with` block ends well, and is removed otherwise."""
    if folder.exists():
        raise DatasetError(f"{folder}: is there already; predictions go into a new folder: name another or remove it")
    partial = partial_path(folder)
    shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
    partial.mkdir(parents=True)
    try:
        yield partial
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
