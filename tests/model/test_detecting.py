import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from data.boxes import Boxes
from data.dataset import Dataset
from data.errors import InputError, RecordingError
from data.events import Events, SensorSize
from data.formats.opening import open_recording
from data.manifest import Split
from model.checkpoint import Checkpoint
from model.detecting import detect
from model.prediction import EvaluationWindows, Validation
from model.predictions.predicted_boxes import PredictedBoxes
from tests.model.lively import LABELS, SIZE, lively_checkpoint

WINDOW_US = 50_000
LENGTH_US = 700_000
STREAMING = {"data.sampling": "stride", "data.order": "streaming", "data.overlap": 0.0}


def events_of(seed: int, length_us: int = LENGTH_US, count: int = 40_000) -> Events:
    """Random events from 0 to the last microsecond of the length."""
    random = np.random.default_rng(seed)
    t = np.sort(random.integers(0, length_us, count))
    t[0], t[-1] = 0, length_us - 1
    x, y = random.integers(0, SIZE.width, count), random.integers(0, SIZE.height, count)
    return Events(t, x.astype(np.uint16), y.astype(np.uint16), random.integers(0, 2, count).astype(np.uint8))


def chunks_of(events: Events, rows: int) -> list[Events]:
    return [events.take(slice(first, first + rows)) for first in range(0, len(events), rows)]


@pytest.fixture(scope="module")
def events() -> Events:
    return events_of(1)


@pytest.fixture(scope="module")
def dataset(
    tmp_path_factory: pytest.TempPathFactory,
    make_take: Callable[..., object],
    write_dataset: Callable[..., Dataset],
    events: Events,
) -> Dataset:
    """One recording, labelled with the last microsecond of each of its windows from half a second on."""
    times = np.arange(WINDOW_US - 1, LENGTH_US, WINDOW_US)
    ids = np.zeros(len(times), np.int64)
    boxes = Boxes(times, np.tile(np.array([10, 10, 20, 20], np.float32), (len(times), 1)), ids, ids + 1)
    take = make_take("one", Split.VAL, events, boxes)
    return write_dataset(tmp_path_factory.mktemp("labelled"), [take], SIZE, LABELS)


@pytest.fixture(scope="module", params=["windows", "streaming"])
def checkpoint(request: pytest.FixtureRequest) -> Checkpoint:
    return lively_checkpoint("lif", **(STREAMING if request.param == "streaming" else {}))


def same(a: PredictedBoxes, b: PredictedBoxes) -> bool:
    pairs = [(a.scores, b.scores), *((getattr(a.boxes, c), getattr(b.boxes, c)) for c in Boxes.__slots__)]
    return all(np.array_equal(one, other) for one, other in pairs)


def everything(checkpoint: Checkpoint, chunks: object, **how: object) -> PredictedBoxes:
    return detect(checkpoint, chunks, SIZE, least_score=0.0, **how)  # type: ignore[arg-type]


def test_a_recording_s_boxes_are_those_an_evaluation_finds_in_the_same_windows(
    checkpoint: Checkpoint, dataset: Dataset, events: Events
) -> None:
    found = everything(checkpoint, chunks_of(events, 997), tracked=False)
    windows = EvaluationWindows(dataset.shards(Split.VAL), checkpoint.config.data, Validation())
    results = windows.predict(checkpoint.detector, torch.device("cpu"))
    assert len(results) == 4
    for result in results:
        here = found.at(result.window.label_us)
        corners = np.concatenate([here.boxes.xywh[:, :2], here.boxes.xywh[:, :2] + here.boxes.xywh[:, 2:]], axis=1)
        assert len(here) > 5
        np.testing.assert_allclose(here.scores, result.found.scores, atol=1e-5)
        np.testing.assert_array_equal(here.boxes.class_id, result.found.classes)
        np.testing.assert_allclose(corners, result.found.corners, atol=1e-4)


def test_windows_lie_end_to_end_from_the_first_event_and_end_by_the_last(
    checkpoint: Checkpoint, events: Events
) -> None:
    found = everything(checkpoint, [events], tracked=False)
    assert found.boxes.times().tolist() == list(range(49_999, LENGTH_US, WINDOW_US))
    less = everything(checkpoint, [events.take(slice(-1))], tracked=False)
    assert less.boxes.times().tolist() == list(range(49_999, LENGTH_US - WINDOW_US, WINDOW_US))


def test_answers_may_be_asked_for_more_often_than_windows_end(checkpoint: Checkpoint, events: Events) -> None:
    often = everything(checkpoint, [events], tracked=False, every_us=12_500)
    assert often.boxes.times().tolist()[:4] == [49_999, 62_499, 74_999, 87_499]
    seldom = everything(checkpoint, [events], tracked=False)
    rows = np.isin(often.boxes.t, seldom.boxes.t)
    assert np.array_equal(often.boxes.t[rows], seldom.boxes.t)
    np.testing.assert_allclose(often.scores[rows], seldom.scores, atol=1e-5)
    boxes = [often.at(time_us).boxes.xywh.tolist() for time_us in (49_999, 62_499, 74_999)]
    streams = checkpoint.config.data.order != "random"
    assert (boxes[0] == boxes[1]) is streams  # no step of 16,667 µs has ended in between
    assert boxes[1] != boxes[2]


@pytest.mark.parametrize("rows", [1, 313, 39_999])
def test_the_chunks_events_come_in_make_no_difference(checkpoint: Checkpoint, rows: int) -> None:
    few = events_of(2, 300_000, 4_000)
    assert same(everything(checkpoint, chunks_of(few, rows)), everything(checkpoint, [few]))


def test_no_answer_knows_of_a_later_event(checkpoint: Checkpoint, events: Events) -> None:
    until_us = 400_000
    before = events.take(events.t < until_us)
    other = events_of(3)
    after = other.take(other.t >= until_us)
    changed = everything(checkpoint, [before, after])
    told = everything(checkpoint, [events])
    assert same(changed.take(changed.boxes.t < until_us), told.take(told.boxes.t < until_us))
    assert not same(changed, told)


def test_a_raw_file_and_its_shard_give_the_same_boxes(
    checkpoint: Checkpoint, dataset: Dataset, events: Events, tmp_path: Path
) -> None:
    path = tmp_path / "one_td.dat"
    words = events.x.astype(np.uint32) | events.y.astype(np.uint32) << 14 | events.p.astype(np.uint32) << 28
    rows = np.stack([events.t.astype(np.uint32), words], axis=1).astype("<u4")
    header = f"% Data file\n% Version 2\n% Width {SIZE.width}\n% Height {SIZE.height}\n".encode()
    path.write_bytes(header + b"\x0c\x08" + rows.tobytes())
    recording = open_recording(path)
    (shard,) = dataset.shards(Split.VAL)
    seconds = (shard.events(start, start + 70_000) for start in range(shard.first_us, shard.last_us + 1, 70_000))
    from_file = detect(checkpoint, (chunk for chunk, _ in recording.chunks()), recording.size, least_score=0.01)
    assert len(from_file) > 100
    assert same(from_file, detect(checkpoint, seconds, shard.size, least_score=0.01))


def test_what_was_read_is_forgotten_so_that_a_long_recording_needs_no_more_memory() -> None:
    checkpoint = lively_checkpoint("lif")
    alive: list[weakref.ref[object]] = []
    most = 0

    def endless() -> Iterator[Events]:
        nonlocal most
        for turn in range(60):  # 3 s, a chunk each window
            part = events_of(turn, WINDOW_US, 500)
            chunk = Events(part.t + turn * WINDOW_US, part.x, part.y, part.p)
            alive.append(weakref.ref(chunk.t))
            most = max(most, sum(held() is not None for held in alive))
            yield chunk

    everything(checkpoint, endless())
    assert len(alive) == 60
    assert most <= 8 + 3  # the windows that are rendered at once, and the chunks at their borders


def test_tracks_go_on_over_windows_and_boxes_in_none_are_told_by_their_score(
    checkpoint: Checkpoint, events: Events
) -> None:
    some = events.take(events.t < 300_000)
    every = everything(checkpoint, [some])
    told = detect(checkpoint, [some], SIZE, least_score=0.6)
    kept = (every.boxes.track_id > 0) | (every.scores >= 0.6)
    assert same(told, every.take(kept))
    assert 0 < len(told) < len(every)


def test_a_recording_shorter_than_a_window_is_one_window(checkpoint: Checkpoint) -> None:
    found = everything(checkpoint, [events_of(4, 20_000, 200)], tracked=False)
    assert found.boxes.times().tolist() == [49_999]


def test_without_an_event_there_are_no_boxes(checkpoint: Checkpoint) -> None:
    assert len(everything(checkpoint, [])) == 0
    assert len(everything(checkpoint, [events_of(1).take(slice(0, 0))])) == 0


def test_a_sensor_the_detector_was_not_trained_for_is_refused(checkpoint: Checkpoint, events: Events) -> None:
    with pytest.raises(InputError, match=r"sensor of 304x240, but .* trained for 90x60"):
        detect(checkpoint, [events], SensorSize(304, 240))


def test_times_of_more_than_a_day_are_refused(checkpoint: Checkpoint, events: Events) -> None:
    late = Events(events.t + 25 * 3_600_000_000, events.x, events.y, events.p)
    with pytest.raises(RecordingError, match="more than a day"):
        detect(checkpoint, [events, late], SIZE)


@pytest.mark.parametrize(("name", "said"), [("missing.dat", "no such file"), ("film.avi", "no file of events")])
def test_a_file_that_holds_no_events_by_its_name_or_is_missing_is_named(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(RecordingError, match=rf"{name}.*{said}"):
        open_recording(tmp_path / name)
