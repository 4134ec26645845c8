import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from data.boxes import Boxes, label_set
from data.dataset import Dataset
from data.errors import DatasetError
from data.events import Events, SensorSize
from data.manifest import Split
from data.sampling import BatchPlan, Order, Sample, TrainingPlan, tolerance_us, training_windows
from data.shards import Shard
from data.windows import Sampling, Window, WindowConfig

STRIDE = WindowConfig(window_us=10_000, sampling=Sampling.STRIDE, overlap=0.0)


def recorded(recordings: int, each: int) -> list[Window]:
    """Windows of 10 ms, end to end."""
    return [
        Window(recording, first, first + 10_000, first + 9_999)
        for recording in range(recordings)
        for first in range(0, each * 10_000, 10_000)
    ]


def epoch(plan: TrainingPlan, number: int = 1) -> list[BatchPlan]:
    return list(plan.epoch(number))


def rows(plans: Sequence[BatchPlan], row: int) -> list[Sample]:
    return [plan.samples[row] for plan in plans]


def test_a_stream_shows_consecutive_windows_of_a_recording_and_says_where_one_begins() -> None:
    plans = epoch(TrainingPlan(recorded(3, 8), STRIDE, Order.STREAMING, 2, None, 0))
    assert len(plans) == 12  # 24 windows in 2 rows
    for row in range(2):
        samples = rows(plans, row)
        assert not samples[0].continues
        for before, after in itertools.pairwise(samples):
            follows = (before.window.recording, before.window.end_us) == (after.window.recording, after.window.start_us)
            assert after.continues == follows
        assert sum(sample.continues for sample in samples) >= 12 - 3


def test_streams_show_every_window_once_an_epoch_and_recordings_in_another_order_in_the_next() -> None:
    plan = TrainingPlan(recorded(4, 6), STRIDE, Order.STREAMING, 3, None, 0)
    shown = [[sample.window for part in epoch(plan, number) for sample in part.samples] for number in (1, 2)]
    assert [Counter(windows) for windows in shown] == [Counter(recorded(4, 6))] * 2
    assert shown[0] != shown[1]


def test_a_streamed_recording_keeps_its_look() -> None:
    plans = epoch(TrainingPlan(recorded(2, 10), STRIDE, Order.STREAMING, 1, None, 0))
    looks = {(sample.window.recording, sample.look) for sample in rows(plans, 0)}
    assert len(looks) == 2


def test_half_of_the_rows_streams_in_mixed_order() -> None:
    plans = epoch(TrainingPlan(recorded(2, 50), STRIDE, Order.MIXED, 4, None, 0))
    assert [any(sample.continues for sample in rows(plans, row)) for row in range(4)] == [True, True, False, False]
    assert [bool(plans[0].samples[row].others) for row in range(4)] == [False, False, True, True]


@pytest.mark.parametrize("order", list(Order))
def test_an_epoch_has_exactly_as_many_batches_as_it_says(order: Order) -> None:
    for windows, batch_size, most in ((24, 5, None), (24, 4, 10), (3, 8, None), (24, 2, 1_000)):
        plan = TrainingPlan(recorded(1, windows), STRIDE, order, batch_size, most, 0)
        plans = epoch(plan)
        size = min(batch_size, most or windows, windows)
        assert len(plans) == len(plan) == min(most or windows, windows) // size
        assert {len(part.samples) for part in plans} == {size}


@pytest.mark.parametrize("order", list(Order))
def test_the_same_seed_gives_the_same_plans_and_another_seed_others(order: Order) -> None:
    def made(seed: int) -> list[BatchPlan]:
        return epoch(TrainingPlan(recorded(3, 9), STRIDE, order, 2, None, seed), 4)

    assert made(7) == made(7)
    assert made(7) != made(8)


@pytest.fixture(scope="module")
def shards(
    tmp_path_factory: pytest.TempPathFactory, write_dataset: Callable[..., Dataset], make_take: Callable[..., Any]
) -> tuple[Shard, ...]:
    """A second of events; one object labelled from 300 to 600 ms, 20 times a second, another at 450 ms alone."""
    t = np.arange(0, 1_000_000, 500, dtype=np.int64)
    zeros = np.zeros(len(t), np.uint16)
    events = Events(t, zeros, zeros, zeros.astype(np.uint8))
    times = [*range(300_000, 600_001, 50_000)]
    rows = sorted([(time, 0, 1) for time in times] + [(450_000, 1, 2)])
    column = np.array(rows, np.int64).T
    boxes = Boxes(column[0], np.array([[1, 1, 9, 9]] * len(rows), np.float32), column[1], column[2])
    folder = tmp_path_factory.mktemp("sampling")
    take = make_take("train_day_0001", Split.TRAIN, events, boxes)
    return write_dataset(folder, [take], SensorSize(32, 32), label_set("gen1")).shards(Split.TRAIN)


def test_windows_at_a_stride_are_kept_where_a_label_answers_for_them(shards: tuple[Shard, ...]) -> None:
    config = WindowConfig(window_us=50_000, sampling=Sampling.STRIDE, overlap=0.0, label_gap_us=60_000)
    # Windows end every 50 ms, from 49.999 ms on; a label within 50 ms answers for a window, or one before and after.
    kept = [window.label_us for window in training_windows(shards, config, every=False, seed=0)]
    assert kept == list(range(299_999, 650_000, 50_000))
    assert len(training_windows(shards, config, every=True, seed=0)) == 19  # the last event is at 999.5 ms


def test_a_buffer_lets_labels_answer_from_further_away(shards: tuple[Shard, ...]) -> None:
    config = WindowConfig(window_us=50_000, sampling=Sampling.STRIDE, overlap=0.0, temporal_buffer=1.0)
    assert tolerance_us(config) == 100_000
    kept = [window.label_us for window in training_windows(shards, config, every=False, seed=0)]
    assert kept == list(range(249_999, 700_000, 50_000))


def test_a_recording_gives_its_rarest_class_even_when_it_may_give_few_windows(shards: tuple[Shard, ...]) -> None:
    config = WindowConfig(window_us=50_000, max_windows_per_recording=2)
    drawn = [training_windows(shards, config, every=False, seed=seed) for seed in range(20)]
    assert {len(windows) for windows in drawn} == {2}
    # The second class is in one window of seven: drawn evenly, 2 of 7 draws would have it.
    assert sum(any(window.label_us == 450_000 for window in windows) for windows in drawn) > 12
    assert drawn[0] == training_windows(shards, config, every=False, seed=0)
    assert any(windows != drawn[0] for windows in drawn)


def test_recordings_without_any_label_are_refused(
    tmp_path_factory: pytest.TempPathFactory, write_dataset: Callable[..., Dataset], make_take: Callable[..., Any]
) -> None:
    nowhere = np.zeros(3, np.uint16)
    events = Events(np.zeros(3, np.int64), nowhere, nowhere, np.zeros(3, np.uint8))
    folder = tmp_path_factory.mktemp("bare")
    take = make_take("train_day_0001", Split.TRAIN, events, Boxes.empty())
    bare = write_dataset(folder, [take], SensorSize(32, 32), label_set("gen1")).shards(Split.TRAIN)
    for sampling in Sampling:
        with pytest.raises(DatasetError, match="training split has no labels"):
            training_windows(bare, WindowConfig(sampling=sampling), every=False, seed=0)
