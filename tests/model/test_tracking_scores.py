"""Scores against paper and pencil, and against TrackEval's own numbers on the files that are written here.

TrackEval 1.3.0 is run where it is installed, and its recorded numbers are taken elsewhere. It asks for opencv-python,
which overwrites the headless build, so it is no requirement: `pip install --no-deps trackeval==1.3.0`.
"""

import contextlib
import importlib
import importlib.util
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from data.boxes import Boxes, LabelSet, label_set
from data.errors import DatasetError
from data.events import SensorSize
from data.windows import causal_window
from model.decoding import Detections
from model.prediction import WindowResult
from model.predictions.files import PredictionFormat, write_predictions
from model.predictions.predicted_boxes import PredictedBoxes, RecordingPredictions
from model.tracking.scores import TrackingScores, evaluate_tracks, track_scores
from model.tracking.tracker import TrackedWindow

SIZE = SensorSize(1280, 720)
RECORDED = json.loads((Path(__file__).parent / "trackeval_numbers.json").read_text())
INSTALLED = importlib.util.find_spec("trackeval") is not None
ONE_CLASS = LabelSet("one", ("pedestrian",))
Row = tuple[int, float]  # a track, and the left edge of its box of 100x100 px


def boxes(rows: Sequence[Row], time_us: int, classes: Sequence[int] | None = None) -> Boxes:
    xywh = np.array([[x, 100, 100, 100] for _, x in rows], np.float32).reshape(-1, 4)
    class_id = np.array(classes if classes is not None else [0] * len(rows), np.int64)
    return Boxes(np.full(len(rows), time_us), xywh, class_id, np.array([track for track, _ in rows], np.int64))


def window(truth: Boxes, found: Boxes, time_us: int, recording: int = 0) -> TrackedWindow:
    corners = np.concatenate([found.xywh[:, :2], found.xywh[:, :2] + found.xywh[:, 2:]], axis=1)
    scores, looks = np.full(len(found), 0.5, np.float32), np.zeros((len(found), 2), np.float32)
    detections = Detections(corners, scores, found.class_id, looks)
    return TrackedWindow(WindowResult(causal_window(recording, time_us, 1000), None, truth, detections), found.track_id)


def scene(frames: Sequence[tuple[Sequence[Row], Sequence[Row]]], recording: int = 0) -> list[TrackedWindow]:
    return [
        window(boxes(truth, time_us), boxes(found, time_us), time_us, recording)
        for time_us, (truth, found) in enumerate(frames, 1_000_000)
    ]


def test_perfect_tracks_score_one() -> None:
    frames = [([(1, 100), (2, 500)], [(7, 100), (3, 500)])] * 5
    scores = track_scores(scene(frames))
    assert scores == TrackingScores(1.0, 1.0, 1.0, 1.0, 1.0, 0, 0, 10, 2, 2)


def test_one_switch_in_the_middle_costs_what_paper_and_pencil_say() -> None:
    # One object over 4 frames, followed by track 1 for two and by track 2 for two. Every box is found, so DetA = 1. Of
    # each pair 2 frames are common, 2 of the object's are not: 2 / 4, so AssA = 0.5 and HOTA = sqrt(0.5).
    # MOTA = 1 - 1 / 4. IDTP = 2, IDFN = 2, IDFP = 2: IDF1 = 2 / 4.
    scores = track_scores(scene([([(1, 100)], [(1, 100)])] * 2 + [([(1, 100)], [(2, 100)])] * 2))
    assert (scores.hota, scores.det_a, scores.ass_a) == pytest.approx((0.5**0.5, 1.0, 0.5))
    assert (scores.mota, scores.idf1, scores.switches, scores.fragments) == (0.75, 0.5, 1, 0)


def test_a_gap_is_a_fragment_and_boxes_in_no_track_do_not_count() -> None:
    # Of track 1 two boxes of three, of track 2 all three: AssA = (2 * 2 / 3 + 3 * 1) / 5.
    both = [(1, 100.0), (2, 500.0)]
    scores = track_scores(scene([(both, both), (both, [(0, 100), (2, 500)]), (both, both)]))
    assert scores.fragments == 1
    assert (scores.mota, scores.det_a, scores.ass_a) == pytest.approx((5 / 6, 5 / 6, 13 / 15))


def test_counts_of_recordings_are_added_and_their_tracks_kept_apart() -> None:
    # Track 1 of both recordings is not one track: 4 boxes found of 4, and 4 of 4 missed.
    here = scene([([(1, 100)], [(1, 100)])] * 4)
    there = scene([([(1, 100)], [])] * 4, recording=1)
    scores = track_scores(here + there)
    assert (scores.det_a, scores.ass_a, scores.mota) == pytest.approx((0.5, 1.0, 0.5))
    assert scores.idf1 == pytest.approx(4 / 6)
    assert (scores.true_boxes, scores.true_tracks, scores.found_tracks) == (8, 2, 1)


def test_without_truth_there_is_no_score_and_without_tracks_it_is_zero() -> None:
    empty = track_scores(scene([([], [(1, 100)])] * 2))
    assert (empty.hota, empty.det_a, empty.ass_a, empty.mota, empty.idf1) == (None,) * 5
    assert track_scores([]).hota is None
    blind = track_scores(scene([([(1, 100)], [])] * 2))
    assert (blind.hota, blind.mota, blind.idf1, blind.true_boxes) == (0.0, 0.0, 0.0, 2)


def test_classes_are_scored_together_and_alone_and_small_boxes_only_without_the_filter() -> None:
    time_us = 1_000_000
    truth = boxes([(1, 100), (2, 500), (3, 900)], time_us, [0, 1, 0])
    truth.xywh[2, 2:] = 15  # below 20 px
    wrong_class = boxes([(1, 100), (2, 500)], time_us, [0, 0])
    scores = evaluate_tracks([window(truth, wrong_class, time_us)], label_set("etram3"), SIZE)
    assert (scores.overall.hota, scores.overall.true_boxes) == (1.0, 2)
    assert scores.unfiltered.true_boxes == 3
    assert scores.unfiltered.det_a == pytest.approx(2 / 3)
    assert scores.by_class["pedestrian"].det_a == pytest.approx(1 / 2)
    assert (scores.by_class["vehicle"].hota, scores.by_class["micromobility"].hota) == (0.0, None)
    printed = scores.as_dict()
    assert printed["hota"] == 1.0
    assert printed["per_class"]["micromobility"]["idf1"] is None


def test_where_the_filter_leaves_no_true_box_what_was_found_is_no_fault() -> None:
    seen = boxes([(1, 100)], 1_000_000)
    tiny = replace(seen, xywh=np.array([[100, 100, 15, 15]], np.float32))
    false = boxes([(1, 500)], 1_000_000)
    scores = evaluate_tracks([window(seen, seen, 1_000_000), window(tiny, false, 1_040_000)], ONE_CLASS, SIZE)
    assert (scores.overall.hota, scores.overall.mota, scores.overall.true_boxes) == (1.0, 1.0, 1)
    assert scores.unfiltered.mota == 0.0  # one of two found, and one false


def test_truth_that_names_two_boxes_alike_is_refused() -> None:
    with pytest.raises(DatasetError, match=r"recording 0 of the split at 1000000 µs: two labelled boxes"):
        track_scores(scene([([(1, 100), (1, 500)], [])]))


def random_scene(seed: int, recording: int) -> list[TrackedWindow]:
    """Objects that walk about; detections shifted, missed and invented; ids that switch now and then."""
    random = np.random.default_rng([seed, recording])
    places = random.uniform(50, 500, (6, 2))
    sides = random.uniform(40, 120, (6, 2))
    ids = np.arange(1, 7)
    windows = []
    for frame in range(int(random.integers(20, 40))):
        time_us = 600_000 + 40_000 * frame
        places += random.normal(0, 6, places.shape)
        there = random.uniform(size=6) < 0.85
        if random.uniform() < 0.2:
            pair = random.permutation(6)[:2]
            ids[pair] = ids[pair[::-1]] if seed % 2 else 7 + 2 * frame + np.arange(2)
        xywh = np.concatenate([places, sides], axis=1).astype(np.float32)
        truth = Boxes(np.full(6, time_us), xywh, np.arange(6) % 2, np.arange(6) + 1).take(there)
        seen = random.uniform(size=6) < 0.8
        shifted = (xywh + random.normal(0, 8, xywh.shape)).clip(5).astype(np.float32)
        found = Boxes(np.full(6, time_us), shifted, np.arange(6) % 2, ids.astype(np.int64)).take(seen)
        windows.append(window(truth, found, time_us, recording))
    return windows


def as_one_class(windows: Sequence[TrackedWindow], number: int | None) -> list[TrackedWindow]:
    """Only this class, or all of them taken for one: TrackEval's reader of MOTChallenge text knows one class."""
    kept = []
    for one in windows:
        truth, found = one.result.truth, one.result.found
        some_truth = np.full(len(truth), True) if number is None else truth.class_id == number
        some_found = np.full(len(found.scores), True) if number is None else found.classes == number
        truth, found = truth.take(some_truth), found.take(some_found)
        result = replace(
            one.result,
            truth=replace(truth, class_id=truth.class_id * 0),
            found=replace(found, classes=found.classes * 0),
        )
        kept.append(TrackedWindow(result, one.ids[some_found]))
    return kept


def recordings_of(windows: Sequence[TrackedWindow]) -> list[RecordingPredictions]:
    recordings = []
    for number in sorted({one.result.window.recording for one in windows}):
        part = [one for one in windows if one.result.window.recording == number]
        times_us = np.array([one.result.window.label_us for one in part])
        corners = np.concatenate([one.result.found.corners for one in part])
        found = Boxes(
            np.repeat(times_us, [len(one.ids) for one in part]),
            np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1),
            np.concatenate([one.result.found.classes for one in part]),
            np.concatenate([one.ids for one in part]),
        )
        truth = Boxes(*(np.concatenate([getattr(one.result.truth, name) for one in part]) for name in Boxes.__slots__))
        scores = np.full(len(found), 0.5, np.float32)
        recordings.append(RecordingPredictions(f"take_{number}", times_us, truth, PredictedBoxes(found, scores)))
    return recordings


def by_trackeval(folder: Path, names: Sequence[str]) -> dict[str, Any]:
    """TrackEval's own numbers over all sequences, read by its own reader from the files."""
    with contextlib.redirect_stdout(io.StringIO()):  # it tells what it cannot import, and how long each step took
        trackeval: Any = importlib.import_module("trackeval")

        dataset = trackeval.datasets.MotChallenge2DBox(
            {
                "GT_FOLDER": str(folder / "truth"),
                "TRACKERS_FOLDER": str(folder),
                "TRACKERS_TO_EVAL": ["predictions"],
                "TRACKER_SUB_FOLDER": "",
                "SKIP_SPLIT_FOL": True,
                "SEQ_INFO": dict.fromkeys(names),
                "PRINT_CONFIG": False,
            }
        )
        metrics = [
            trackeval.metrics.HOTA(),
            trackeval.metrics.CLEAR({"PRINT_CONFIG": False}),
            trackeval.metrics.Identity({"PRINT_CONFIG": False}),
        ]
        combined = {}
        for metric in metrics:
            parts = {}
            for name in names:
                raw = dataset.get_raw_seq_data("predictions", name)
                parts[name] = metric.eval_sequence(dataset.get_preprocessed_seq_data(raw, "pedestrian"))
            combined.update(metric.combine_sequences(parts))
        return combined


def case(seed: int) -> list[TrackedWindow]:
    windows = [one for recording in range(3) for one in random_scene(seed, recording)]
    if seed < 3:
        return windows
    changed = []  # one recording without any track, one without any truth
    for one in windows:
        if one.result.window.recording == 0:
            changed.append(replace(one, ids=one.ids * 0))
        elif one.result.window.recording == 1:
            changed.append(replace(one, result=replace(one.result, truth=Boxes.empty())))
        else:
            changed.append(one)
    return changed


def of_trackeval(seed: int, number: int | None, folder: Path) -> dict[str, float]:
    recordings = recordings_of(as_one_class(case(seed), number))
    write_predictions(recordings, ONE_CLASS, SIZE, folder, PredictionFormat.MOT)
    combined = by_trackeval(folder, [recording.name for recording in recordings])
    fields = ("HOTA", "DetA", "AssA", "MOTA", "IDF1", "IDSW", "Frag", "CLR_TP", "CLR_FN")
    return {field: float(np.mean(combined[field])) for field in fields}


CASES = [(seed, number) for seed in range(4) for number in (None, 0, 1)]


@pytest.mark.parametrize(("seed", "number"), CASES)
def test_scores_equal_those_of_trackeval_on_the_files_that_are_written(
    tmp_path: Path, seed: int, number: int | None
) -> None:
    theirs = of_trackeval(seed, number, tmp_path / "mot") if INSTALLED else RECORDED[f"{seed} {number}"]
    ours = track_scores(case(seed), number)
    assert ours.hota is not None
    assert 0.01 < ours.hota < 0.9
    assert ours.switches > 0
    assert ours.hota == pytest.approx(theirs["HOTA"], rel=1e-12)
    assert ours.det_a == pytest.approx(theirs["DetA"], rel=1e-12)
    assert ours.ass_a == pytest.approx(theirs["AssA"], rel=1e-12)
    assert ours.mota == pytest.approx(theirs["MOTA"], rel=1e-12)
    assert ours.idf1 == pytest.approx(theirs["IDF1"], rel=1e-12)
    assert (ours.switches, ours.fragments) == (theirs["IDSW"], theirs["Frag"])
    assert ours.true_boxes == theirs["CLR_TP"] + theirs["CLR_FN"]


@pytest.mark.skipif(not INSTALLED, reason="needs trackeval, installed as the top of this file says")
def test_the_recorded_numbers_are_those_of_trackeval(tmp_path: Path) -> None:
    for seed, number in CASES:
        theirs = of_trackeval(seed, number, tmp_path / f"{seed}_{number}")
        assert RECORDED[f"{seed} {number}"] == pytest.approx(theirs, rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_the_filter_is_the_one_of_detection_scores(seed: int) -> None:
    windows = random_scene(seed, 0)
    small = []
    for one in windows:
        truth, found = one.result.truth, one.result.found
        truth = truth.take(large(truth.xywh[:, 2:]))
        kept = large(found.corners[:, 2:] - found.corners[:, :2])
        if len(truth):
            small.append(TrackedWindow(replace(one.result, truth=truth, found=found.take(kept)), one.ids[kept]))
    scores = evaluate_tracks(windows, ONE_CLASS, SensorSize(2560, 1440))
    assert 0 < scores.overall.true_boxes < scores.unfiltered.true_boxes
    assert scores.overall == track_scores(small)


def large(sides: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Of a sensor 2560 px wide, boxes of 120 px across and sides of 40 px count."""
    return np.asarray((np.hypot(*sides.T) >= 120) & (sides.min(1) >= 40))
