from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from data.boxes import Boxes
from data.errors import ConfigError
from data.windows import causal_window
from model.decoding import Detections
from model.prediction import WindowResult
from model.tracking.config import TrackingConfig
from model.tracking.tracker import Tracker, track_windows

FRAME_US = 33_333
Box = tuple[float, float]  # the centre of a box, of 40x40 where nothing else is said

RED, BLUE = np.eye(2, dtype=np.float32)

# ByteTrack's own scores: .9 is sure, .3 may keep a track alive.
BYTETRACK = TrackingConfig(high_score=0.5, low_score=0.1, new_score=0.6)


def found(
    centres: Sequence[Box],
    scores: Sequence[float] | None = None,
    classes: Sequence[int] | None = None,
    looks: Sequence[npt.NDArray[np.float32]] | None = None,
    side: float = 40,
) -> Detections:
    centre = np.array(centres, np.float32).reshape(-1, 2)
    return Detections(
        np.concatenate([centre - side / 2, centre + side / 2], axis=1),
        np.array(scores if scores is not None else [0.9] * len(centre), np.float32),
        np.array(classes if classes is not None else [0] * len(centre), np.int64),
        np.array(looks if looks is not None else [RED] * len(centre), np.float32).reshape(-1, 2),
    )


def follow(steps: Sequence[Detections], config: TrackingConfig | None = None) -> list[list[int]]:
    tracker = Tracker(config or BYTETRACK)
    return [tracker.update(frame * FRAME_US, step).tolist() for frame, step in enumerate(steps)]


def test_two_objects_that_cross_keep_their_ids() -> None:
    # One goes right, one left, 10 px apart in height; at frame 10 they stand above each other. The detector's order
    # changes halfway.
    right = [(100 + 8.0 * frame, 100.0) for frame in range(21)]
    left = [(260 - 8.0 * frame, 110.0) for frame in range(21)]
    steps = [
        found([a, b]) if frame < 10 else found([b, a]) for frame, (a, b) in enumerate(zip(right, left, strict=True))
    ]
    ids = follow(steps, TrackingConfig(embedding_weight=0))
    assert ids == [[1, 2]] * 10 + [[2, 1]] * 11


def test_an_object_that_is_hardly_seen_keeps_its_track_alive_but_begins_none() -> None:
    at = [(100.0, 100.0)]
    config = TrackingConfig(max_lost_us=2 * FRAME_US)
    faint = [found(at, [0.2])] * 6
    assert follow([found(at), *faint, found(at)], config) == [[1]] * 8
    assert follow([found(at), *[found([])] * 6, found(at), found(at)], config)[-2:] == [[0], [2]]
    assert follow(faint, config) == [[0]] * 6


def test_what_scores_below_the_low_threshold_counts_for_nothing() -> None:
    at = [(100.0, 100.0)]
    assert follow([found(at), found(at, [0.09]), found(at, [0.1])]) == [[1], [0], [0]]  # lost: low scores do not recall


def test_low_scores_take_what_high_scores_left() -> None:
    # The faint box lies nearer to the track, and yet the clear one goes on.
    steps = [found([(100, 100)]), found([(100, 100), (104, 100)], [0.3, 0.9])]
    assert follow(steps) == [[1], [0, 1]]


@pytest.mark.parametrize(("missing", "last"), [(8, 1), (9, 1), (10, 2)])
def test_an_object_out_of_sight_keeps_its_id_until_its_time_is_up(missing: int, last: int) -> None:
    at = [(100.0, 100.0)]
    config = TrackingConfig(max_lost_us=10 * FRAME_US)
    steps = [*[found(at)] * 5, *[found([])] * missing, *[found(at)] * 2]
    assert follow(steps, config)[-1] == [last]


def test_a_moving_object_out_of_sight_is_met_where_it_should_be() -> None:
    steps = [found([(100 + 6.0 * frame, 100)] if not 10 <= frame < 20 else []) for frame in range(30)]
    ids = follow(steps, TrackingConfig(embedding_weight=0))
    assert ids == [[1]] * 10 + [[]] * 10 + [[1]] * 10


def test_objects_that_swap_places_faster_than_motion_explains_are_told_apart_by_their_looks() -> None:
    # 24 px apart; boxes of 40x40 overlap by 16 / 64 = 0.25, and a swap in one frame looks like no motion at all.
    steps = [found([(100, 100), (124, 100)], looks=[RED, BLUE])] * 2
    swapped = [found([(100, 100), (124, 100)], looks=[BLUE, RED])]
    assert follow(steps + swapped, TrackingConfig(embedding_weight=0)) == [[1, 2]] * 3
    assert follow(steps + swapped, TrackingConfig(embedding_weight=0.7)) == [[1, 2]] * 2 + [[2, 1]]


def test_a_lost_object_is_known_again_by_its_looks_where_overlap_is_gone_but_motion_could_be() -> None:
    seen, gap = [found([(100, 100)], looks=[BLUE])] * 10, [found([])] * 14
    back = [found([(140, 130)], looks=[BLUE])] * 2  # touches the old place in nothing
    far = [found([(400, 130)], looks=[BLUE])] * 2
    other = [found([(140, 130)], looks=[RED])] * 2
    assert follow(seen + gap + back)[-1] == [1]
    assert follow(seen + gap + back, TrackingConfig(embedding_weight=0))[-1] == [2]
    assert follow(seen + gap + far)[-1] == [2]
    assert follow(seen + gap + other)[-1] == [2]
    # 50 px are within reach after 15 steps of noise, not after one and a half.
    assert follow(seen + gap + back, TrackingConfig(frame_us=10 * FRAME_US))[-1] == [2]


@pytest.mark.parametrize(("score", "threshold"), [(0.9, "match_iou"), (0.3, "low_match_iou")])
def test_boxes_must_overlap_enough_to_be_one_object(score: float, threshold: str) -> None:
    steps = [found([(100, 100)]), found([(112, 100)], [score])]  # of 40x40: they overlap by 28 / 52 = 0.54
    for least, ids in ((0.5, [1]), (0.6, [0])):
        config = BYTETRACK.with_leaves({"embedding_weight": 0, threshold: least}, "test")
        assert follow(steps, config) == [[1], ids]


def test_looks_are_weighed_halfway_between_overlap_and_cosine() -> None:
    # The track looks red. The near box looks blue: 0.5 * 0 + 0.5 * 1. The far one overlaps by 28 / 52 and looks red:
    # 0.5 * 24 / 52 + 0. At a weight of 0.3 they are 0.3 and 0.32, so the near one is taken.
    steps = [found([(100, 100)]), found([(100, 100), (112, 100)], looks=[BLUE, RED])]
    assert follow(steps, TrackingConfig(embedding_weight=0.5)) == [[1], [0, 1]]
    assert follow(steps, TrackingConfig(embedding_weight=0.3)) == [[1], [1, 0]]


def test_looks_fade_into_new_ones_by_the_momentum() -> None:
    # With momentum 0 the track looks like its last detection, with 0.99 like its first.
    turned = [found([(100, 100)], looks=[look]) for look in (RED, BLUE)]
    back = [found([(112, 100)], looks=[RED])]  # overlaps by 28 / 52 = 0.54
    at_once = TrackingConfig(match_iou=0.6, embedding_gate=0.2, confirm_hits=1, embedding_momentum=0)
    slow = TrackingConfig(match_iou=0.6, embedding_gate=0.2, confirm_hits=1, embedding_momentum=0.99)
    assert follow(turned + back, at_once)[-1] == [2]
    assert follow(turned + back, slow)[-1] == [1]


def test_what_is_hardly_detected_does_not_tell_how_its_object_looks() -> None:
    steps = [
        found([(100, 100)], looks=[RED]),
        found([(100, 100)], [0.2], looks=[BLUE]),
        found([(112, 100)], looks=[RED]),
    ]
    config = TrackingConfig(match_iou=0.6, embedding_momentum=0)  # they overlap by 0.54, so looks alone decide
    assert follow(steps, config) == [[1]] * 3


def test_a_growing_object_out_of_sight_is_expected_at_the_size_it_had() -> None:
    # From 40 to 80 px in ten windows; grown on for ten more it would have 120 px, and 80² / 120² = 0.44.
    at = [(300.0, 300.0)]
    growing = [found(at, side=40.0 + 4 * frame) for frame in range(11)]
    steps = [*growing, *[found([])] * 9, found(at, side=80.0)]
    assert follow(steps, TrackingConfig(embedding_weight=0, match_iou=0.6))[-1] == [1]


def test_motion_goes_by_the_time_that_passes_not_by_windows() -> None:
    # 300 px a second, seen at irregular times up to 0.23 s apart, in which the object leaves its old box.
    times_us = np.cumsum([0, 33, 33, 33, 33, 100, 33, 230, 50, 200, 33, 150, 220]) * 1000
    tracker = Tracker(TrackingConfig(embedding_weight=0))
    ids = [tracker.update(int(t), found([(100 + 300e-6 * t, 100)])).tolist() for t in times_us]
    assert ids == [[1]] * 13


def test_a_track_keeps_its_class() -> None:
    at = [(100.0, 100.0)]
    assert follow([found(at, classes=[0]), *[found(at, classes=[1])] * 2]) == [[1], [0], [2]]


def test_a_new_object_gets_its_id_when_it_is_found_in_a_row() -> None:
    first, both = found([(100, 100)]), found([(100, 100), (300, 100)])
    assert follow([first, both, first, both, both]) == [[1], [1, 0], [1], [1, 0], [1, 2]]
    assert follow([first, both, first, both], TrackingConfig(confirm_hits=1)) == [[1], [1, 2], [1], [1, 2]]


def test_a_track_begins_only_with_a_score_that_is_high_enough() -> None:
    at = [(100.0, 100.0)]
    assert follow([found(at, [0.59])] * 3) == [[0]] * 3
    assert follow([found(at, [0.6]), found(at, [0.5])]) == [[1], [1]]


def result(recording: int, time_us: int, detections: Detections) -> WindowResult:
    return WindowResult(causal_window(recording, time_us, 50_000), None, Boxes.empty(), detections)


def test_each_recording_is_tracked_alone_and_in_time_order() -> None:
    at = found([(100, 100)])
    results = [result(1, FRAME_US * frame, at) for frame in (2, 1, 3)] + [result(0, FRAME_US, found([(100, 100)] * 0))]
    results += [result(0, 2 * FRAME_US, at), result(0, 3 * FRAME_US, at)]
    tracked = track_windows(results, BYTETRACK)
    order = [(window.result.window.recording, window.result.window.label_us // FRAME_US) for window in tracked]
    assert order == [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3)]
    assert [window.ids.tolist() for window in tracked] == [[], [0], [1], [1], [1], [1]]


def test_scores_that_do_not_rise_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"low_score=0.6, high_score=0.25"):
        TrackingConfig.parse({"low_score": 0.6}, "x")
