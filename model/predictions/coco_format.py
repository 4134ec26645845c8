"""Predictions as COCO JSON: a list of results, and a dataset of truth that tells their images."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import numpy as np
from pydantic import BaseModel, Field, FiniteFloat, TypeAdapter, ValidationError

from data.boxes import Boxes, LabelSet
from data.errors import RecordingError
from data.events import SensorSize
from data.formats.box_rows import LARGEST
from model.predictions.predicted_boxes import PredictedBoxes, RecordingPredictions
from model.tracking.tracker import UNTRACKED

PREDICTIONS, TRUTH = "predictions.json", "truth.json"
FIRST_CATEGORY = 1  # COCO keeps 0 for the background

Whole = Annotated[int, Field(ge=0, lt=2**63)]
Pixels = Annotated[FiniteFloat, Field(ge=-LARGEST, le=LARGEST)]
Anything = TypeVar("Anything")


class _Result(BaseModel):
    image_id: Whole
    category_id: Whole
    bbox: tuple[Pixels, Pixels, Pixels, Pixels]
    score: Annotated[float, Field(ge=0, le=1)]
    track_id: Whole = UNTRACKED


class _Image(BaseModel):
    id: Whole
    recording: str
    time_us: Whole


class _Category(BaseModel):
    id: Whole
    name: str


class _Truth(BaseModel):
    images: list[_Image]
    categories: list[_Category]


class _Row(NamedTuple):
    place: int
    time_us: int
    result: _Result


def write_coco(recordings: Sequence[RecordingPredictions], label_set: LabelSet, size: SensorSize, folder: Path) -> None:
    """Write predictions.json and truth.json. Images are numbered from 1 by recording's name, then by time."""
    images: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for recording in sorted(recordings, key=lambda recording: recording.name):
        numbers = {}
        for time_us in recording.times_us.tolist():
            numbers[time_us] = len(images) + 1
            images.append({"id": len(images) + 1, **_about(recording.name, time_us, size)})
        found = recording.found
        results += _scored(found, numbers)
        for box in _boxes(recording.truth, numbers):
            area = box["bbox"][2] * box["bbox"][3]
            annotations.append({"id": len(annotations) + 1, **box, "area": area, "iscrowd": 0})
    truth = {"info": {}, "images": images, "categories": _categories(label_set), "annotations": annotations}
    (folder / TRUTH).write_text(json.dumps(truth), "utf-8")
    (folder / PREDICTIONS).write_text(json.dumps(results), "utf-8")


def found_document(found: PredictedBoxes, recording: str, label_set: LabelSet, size: SensorSize) -> dict[str, Any]:
    """What was found in one recording as one COCO dataset, whose annotations have scores; images are times of boxes."""
    numbers = {time_us: number for number, time_us in enumerate(found.boxes.times().tolist(), 1)}
    images = [{"id": number, **_about(recording, time_us, size)} for time_us, number in numbers.items()]
    annotations = [{"id": number, **box} for number, box in enumerate(_scored(found, numbers), 1)]
    return {"info": {}, "images": images, "categories": _categories(label_set), "annotations": annotations}


def read_coco(folder: Path, label_set: LabelSet) -> dict[str, PredictedBoxes]:
    """The predictions in predictions.json, by the recordings that truth.json names.

    Raises:
        RecordingError: a file is missing, no such JSON, or of another label set.
    """
    truth = _parsed(TypeAdapter(_Truth), folder / TRUTH)
    _check_categories(truth.categories, label_set, folder / TRUTH)
    images = {image.id: image for image in truth.images}
    path = folder / PREDICTIONS
    rows: dict[str, list[_Row]] = {image.recording: [] for image in truth.images}
    for place, result in enumerate(_parsed(TypeAdapter(list[_Result]), path)):
        if result.image_id not in images:
            raise RecordingError(f"{path}: entry {place}: image_id={result.image_id} is not in {TRUTH}; mend one")
        if not 0 <= result.category_id - FIRST_CATEGORY < len(label_set.classes):
            raise RecordingError(f"{path}: entry {place}: category_id={result.category_id} is not in {TRUTH}; mend one")
        image = images[result.image_id]
        rows[image.recording].append(_Row(place, image.time_us, result))
    return {name: _predicted(part, path) for name, part in rows.items()}


def _about(recording: str, time_us: int, size: SensorSize) -> dict[str, Any]:
    about = {"file_name": f"{recording}/{time_us}", "recording": recording, "time_us": time_us}
    return {**about, "width": size.width, "height": size.height}


def _categories(label_set: LabelSet) -> list[dict[str, Any]]:
    return [{"id": number, "name": name} for number, name in enumerate(label_set.classes, FIRST_CATEGORY)]


def _scored(found: PredictedBoxes, numbers: dict[int, int]) -> list[dict[str, Any]]:
    boxes = zip(_boxes(found.boxes, numbers), found.scores.tolist(), strict=True)
    return [{**box, "score": score} for box, score in boxes]


def _boxes(boxes: Boxes, numbers: dict[int, int]) -> list[dict[str, Any]]:
    columns = (boxes.t.tolist(), boxes.xywh.tolist(), boxes.class_id.tolist(), boxes.track_id.tolist())
    return [
        {
            "image_id": numbers[time_us],
            "category_id": class_id + FIRST_CATEGORY,
            "bbox": xywh,
            "track_id": track_id,
        }
        for time_us, xywh, class_id, track_id in zip(*columns, strict=True)
    ]


def _predicted(rows: Sequence[_Row], path: Path) -> PredictedBoxes:
    boxes = Boxes(
        np.array([row.time_us for row in rows], np.int64),
        np.array([row.result.bbox for row in rows], np.float32).reshape(-1, 4),
        np.array([row.result.category_id - FIRST_CATEGORY for row in rows], np.int64),
        np.array([row.result.track_id for row in rows], np.int64),
    )
    scores = np.array([row.result.score for row in rows], np.float32)
    return PredictedBoxes(boxes, scores).checked(lambda row: f"{path}: entry {rows[row].place}")


def _check_categories(categories: Sequence[_Category], label_set: LabelSet, path: Path) -> None:
    wanted = dict(enumerate(label_set.classes, FIRST_CATEGORY))
    named = {category.id: category.name for category in categories}
    if named != wanted:
        raise RecordingError(
            f"{path}: has the categories {named}, but label set '{label_set.name}' has {wanted}; name the set these "
            "boxes were made with"
        )


def _parsed(wanted: TypeAdapter[Anything], path: Path) -> Anything:
    try:
        return wanted.validate_json(path.read_bytes())
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read ({error.strerror}); fetch it again") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(step) for step in first["loc"])
        where = f"{path}: entry {place}" if place else str(path)
        raise RecordingError(f"{where}: {first['msg']}; mend the file or export it again") from None
