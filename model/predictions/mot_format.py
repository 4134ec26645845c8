"""Predictions as MOTChallenge text: one line a box, beside the truth as TrackEval wants it."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, localcontext
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from data.boxes import Boxes, LabelSet
from data.errors import RecordingError
from data.events import SensorSize
from data.formats.box_rows import check_class_names, class_number, comma_rows, number, text_lines, whole
from data.formats.motchallenge import FIELDS, NO_TRACK
from model.predictions.predicted_boxes import PredictedBoxes, RecordingPredictions
from model.tracking.tracker import UNTRACKED

PREDICTIONS, TRUTH = "predictions", "truth"
GT, INFO, TIMES, NAMES = "gt/gt.txt", "seqinfo.ini", "times_us.txt", "gt/labels.txt"  # below truth/NAME/
DIGITS = 100  # of exact decimal arithmetic: from the least to the largest float32 there are 84
UNKNOWN = "-1"  # visibility of what was found


def write_mot(recordings: Sequence[RecordingPredictions], label_set: LabelSet, size: SensorSize, folder: Path) -> None:
    """Write predictions/NAME.txt and truth/NAME/{gt/gt.txt, gt/labels.txt, seqinfo.ini, times_us.txt}.

    Frame n is the nth evaluated label time, which line n of times_us.txt tells: label times need not be regular, and
    frameRate is that of their median distance. Frames, classes and pixels count from 1. If any box is in a track, boxes
    in no track are left out, since TrackEval takes no box without an id; otherwise all have the id -1.
    """
    tracked = any((recording.found.boxes.track_id != UNTRACKED).any() for recording in recordings)
    (folder / PREDICTIONS).mkdir()
    for recording in recordings:
        place = folder / TRUTH / recording.name
        (place / "gt").mkdir(parents=True)
        frames = {time_us: frame for frame, time_us in enumerate(recording.times_us.tolist(), 1)}
        truth, found = recording.truth, recording.found
        if tracked:
            found = found.take(found.boxes.track_id != UNTRACKED)
        ids = np.where(found.boxes.track_id == UNTRACKED, NO_TRACK, found.boxes.track_id)
        lines = _lines(found.boxes, ids, [_text(score) for score in found.scores], frames, UNKNOWN)
        (folder / PREDICTIONS / f"{recording.name}.txt").write_text(lines, "utf-8")
        (place / GT).write_text(_lines(truth, truth.track_id, ["1"] * len(truth), frames, "1"), "utf-8")
        (place / NAMES).write_text("".join(f"{name}\n" for name in label_set.classes), "utf-8")
        (place / INFO).write_text(_sequence_info(recording, size), "utf-8")
        (place / TIMES).write_text("".join(f"{time_us}\n" for time_us in recording.times_us.tolist()), "utf-8")


def read_mot_results(folder: Path, label_set: LabelSet) -> dict[str, PredictedBoxes]:
    """The predictions in predictions/NAME.txt, by name, at the times that truth/NAME/times_us.txt gives frames.

    Raises:
        RecordingError: there is none, or a line breaks the format.
    """
    paths = sorted((folder / PREDICTIONS).glob("*.txt"))
    if not paths:
        raise RecordingError(f"{folder}: holds no {PREDICTIONS}/NAME.txt; give the folder predictions are in")
    found = {}
    for path in paths:
        place = folder / TRUTH / path.stem
        check_class_names(place / NAMES, label_set)
        rows = list(_rows(path, _times(place / TIMES), label_set))
        found[path.stem] = _predicted(rows)
    return found


class _Row(NamedTuple):
    time_us: int
    xywh: tuple[float, ...]
    class_id: int
    track_id: int
    score: float
    where: str


def _lines(
    boxes: Boxes, ids: npt.NDArray[np.int64], confidences: Sequence[str], frames: Mapping[int, int], visibility: str
) -> str:
    lines = []
    columns = (boxes.t.tolist(), ids.tolist(), boxes.xywh, confidences, boxes.class_id.tolist())
    with localcontext(prec=DIGITS):
        for time_us, track, (x, y, w, h), confidence, class_id in zip(*columns, strict=True):
            box = (_text(x, 1), _text(y, 1), _text(w), _text(h))
            fields = (str(frames[time_us]), str(track), *box, confidence, str(class_id + 1), visibility)
            lines.append(",".join(fields) + "\n")
    return "".join(lines)


def _text(value: np.float32, more: int = 0) -> str:
    """The shortest decimal number that is this float32 and no other, and then so much more, exactly."""
    return format(Decimal(str(value)) + more, "f")


def _sequence_info(recording: RecordingPredictions, size: SensorSize) -> str:
    gaps_us = np.diff(recording.times_us)
    rate = 1e6 / float(np.median(gaps_us)) if len(gaps_us) else 1.0
    settings = {
        "name": recording.name,
        "frameRate": f"{rate:.6f}",
        "seqLength": len(recording.times_us),
        "imWidth": size.width,
        "imHeight": size.height,
    }
    return "[Sequence]\n" + "".join(f"{key}={value}\n" for key, value in settings.items())


def _times(path: Path) -> list[int]:
    times_us = [whole(text.strip(), "time", f"{path}:{line}") for line, text in enumerate(text_lines(path), 1)]
    for line, (before, after) in enumerate(pairwise(times_us), 2):
        if after <= before:
            raise RecordingError(f"{path}:{line}: time {after} µs does not follow {before} µs; mend the file")
    return times_us


def _rows(path: Path, times_us: Sequence[int], labels: LabelSet) -> Iterator[_Row]:
    for where, row in comma_rows(path, FIELDS, "a line", "mend the file"):
        frame = whole(row["frame"], "frame", where, least=1)
        if frame > len(times_us):
            raise RecordingError(f"{where}: frame={frame}, but {TIMES} has {len(times_us)} lines; mend one of them")
        track = whole(row["id"], "id", where, least=NO_TRACK)
        score = number(row["conf"], "conf", where, "score", 0)
        if score > 1:
            raise RecordingError(f"{where}: conf={row['conf']}, but a score lies in [0, 1]; mend the file")
        number(row["visibility"], "visibility", where)
        corner = tuple(_pixel(row[field], field, where) for field in ("bb_left", "bb_top"))
        sides = tuple(number(row[field], field, where, "number of pixels", 0) for field in ("bb_width", "bb_height"))
        class_id = class_number(row["class"], "class", where, labels, first=1)
        yield _Row(times_us[frame - 1], corner + sides, class_id, max(track, UNTRACKED), score, where)


def _pixel(text: str, field: str, where: str) -> float:
    """A place that the file counts from 1, counted from 0."""
    number(text, field, where, "number of pixels")
    with localcontext(prec=DIGITS):
        return float(Decimal(text) - 1)


def _predicted(rows: Sequence[_Row]) -> PredictedBoxes:
    boxes = Boxes(
        np.array([row.time_us for row in rows], np.int64),
        np.array([row.xywh for row in rows], np.float32).reshape(-1, 4),
        np.array([row.class_id for row in rows], np.int64),
        np.array([row.track_id for row in rows], np.int64),
    )
    scores = np.array([row.score for row in rows], np.float32)
    return PredictedBoxes(boxes, scores).checked(lambda row: rows[row].where)
