import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from data.batches import Batch
from data.boxes import Boxes, label_set
from data.data_config import DataConfig
from data.dataset import Dataset
from data.errors import DatasetError
from data.events import Events, SensorSize
from data.loading import EvaluationLoader, LoadingPlan, TrainingLoader, worker_count
from data.manifest import Split
from data.shards import Shard
from data.windows import Window

SENSOR = SensorSize(90, 60)


def config(**changes: Any) -> DataConfig:
    """Nothing is cached: what is made here is gone with the test."""
    return DataConfig.parse({"cache": {"mode": "off"}, **changes}, "test")


def training_loader(shards: tuple[Shard, ...], **changes: Any) -> TrainingLoader:
    given = {"batch_size": 4, "windows_per_epoch": None, "epochs": 10, "seed": 0}
    plan = {name: changes.pop(name, value) for name, value in given.items()}
    return TrainingLoader(shards, config(**changes), LoadingPlan(**plan))


def same(a: Batch, b: Batch) -> bool:
    names = ("frames_TBCHW", "targets", "tracks", "labelled", "continues")
    return a.windows == b.windows and all(torch.equal(getattr(a, name), getattr(b, name)) for name in names)


def test_the_same_seed_and_epoch_give_the_same_batches(tiny_dataset: Dataset) -> None:
    shards = tiny_dataset.shards(Split.TRAIN)
    first, second = (list(training_loader(shards, temporal_buffer=0.5, seed=5).epoch(2)) for _ in range(2))
    assert len(first) == 9
    assert all(same(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(("seed", "epoch"), [(5, 3), (6, 2)])
def test_another_epoch_or_seed_gives_other_batches(tiny_dataset: Dataset, seed: int, epoch: int) -> None:
    shards = tiny_dataset.shards(Split.TRAIN)
    first = list(training_loader(shards, seed=5).epoch(2))
    second = list(training_loader(shards, seed=seed).epoch(epoch))
    assert [batch.windows for batch in first] != [batch.windows for batch in second]


def test_an_epoch_does_not_depend_on_those_before_it(tiny_dataset: Dataset) -> None:
    shards = tiny_dataset.shards(Split.TRAIN)
    loader = training_loader(shards, temporal_buffer=0.5)
    list(loader.epoch(1))
    after, fresh = list(loader.epoch(2)), list(training_loader(shards, temporal_buffer=0.5).epoch(2))
    assert all(same(a, b) for a, b in zip(after, fresh, strict=True))


@pytest.mark.parametrize(
    ("batch_size", "windows_per_epoch", "batches"),
    [
        (4, None, 9),  # 18 label times in each of 2 recordings
        (8, None, 4),  # 4 windows are left out
        (4, 10, 2),
        (4, 1_000, 9),
        (100, None, 1),
    ],
)
def test_each_label_is_used_at_most_once_an_epoch(
    tiny_dataset: Dataset, batch_size: int, windows_per_epoch: int | None, batches: int
) -> None:
    loader = training_loader(
        tiny_dataset.shards(Split.TRAIN), batch_size=batch_size, windows_per_epoch=windows_per_epoch
    )
    seen = [batch.windows for batch in loader.epoch(1)]
    assert [len(windows) for windows in seen] == [min(batch_size, 36)] * batches
    assert len(loader) == batches
    labels = [(window.recording, window.label_us) for window in itertools.chain(*seen)]
    assert len(set(labels)) == len(labels)


def test_several_epochs_reach_every_label(tiny_dataset: Dataset) -> None:
    loader = training_loader(tiny_dataset.shards(Split.TRAIN), windows_per_epoch=12)
    seen = {
        (window.recording, window.label_us)
        for epoch in range(1, 16)
        for batch in loader.epoch(epoch)
        for window in batch.windows
    }
    assert len(seen) == 36


def test_a_training_window_moves_within_its_buffer_and_an_unbuffered_one_does_not(tiny_dataset: Dataset) -> None:
    shards = tiny_dataset.shards(Split.TRAIN)

    def shifts(temporal_buffer: float) -> npt.NDArray[np.int64]:
        batches = training_loader(shards, temporal_buffer=temporal_buffer, window_us=10_000).epoch(1)
        return np.array([window.end_us - 1 - window.label_us for batch in batches for window in batch.windows])

    assert not shifts(0.0).any()
    moved = shifts(0.4)
    assert np.abs(moved).max() <= 4_000
    assert moved.min() < -1_000
    assert moved.max() > 1_000


def test_evaluation_windows_are_causal_in_order_and_after_the_first_half_second(tiny_dataset: Dataset) -> None:
    loader = EvaluationLoader(tiny_dataset.shards(Split.VAL), config(window_us=50_000), 4, None)
    expected = [
        Window(recording, label - 49_999, label + 1, label)
        for recording in (0, 1)
        for label in range(550_000, 1_000_000, 50_000)
    ]
    assert [window for windows, _ in loader for window in windows] == expected
    assert len(loader) == 5  # 18 windows in batches of 4


def test_evaluation_frames_are_the_same_whatever_is_done_in_training(tiny_dataset: Dataset) -> None:
    shards = tiny_dataset.shards(Split.VAL)
    training = {"temporal_buffer": 1.0, "augment": {"flip": 1.0, "mosaic": 1.0, "multi_scale": 0.5, "event_drop": 0.9}}
    plain, other = (list(EvaluationLoader(shards, settings, 8, None)) for settings in (config(), config(**training)))
    for (windows, frames), (other_windows, other_frames) in zip(plain, other, strict=True):
        assert windows == other_windows
        assert torch.equal(frames, other_frames)


def test_a_window_counts_every_event_the_recording_has_in_it(tiny_dataset: Dataset) -> None:
    shards = tiny_dataset.shards(Split.VAL)
    for windows, frames_TBCHW in EvaluationLoader(shards, config(window_us=33_333, time_steps=3), 4, None):
        for row, window in enumerate(windows):
            events = shards[window.recording].events(window.start_us, window.end_us)
            on = int(events.p.sum())
            counts = frames_TBCHW[:, row].sum(dim=(0, 2, 3), dtype=torch.int64).tolist()
            assert counts == [len(events) - on, on]
            assert on > 50


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_make_the_batches_that_are_made_without_them(tiny_dataset: Dataset, workers: int) -> None:
    shards = tiny_dataset.shards(Split.TRAIN)
    everything = {"augment": {"mosaic": 0.5, "zoom_in": 0.5, "multi_scale": 0.3, "event_drop": 0.3, "time_flip": 0.3}}
    alone, helped = (
        training_loader(shards, temporal_buffer=0.5, workers=count, **everything) for count in (0, workers)
    )
    for epoch in (1, 2):
        batches = list(zip(alone.epoch(epoch), helped.epoch(epoch), strict=True))
        assert len(batches) == 9
        assert all(same(a, b) for a, b in batches)


def test_the_last_epochs_make_no_mosaics(tiny_dataset: Dataset) -> None:
    augment = {"flip": 0.0, "mosaic": 1.0, "close_mosaic": 2}
    loader = training_loader(tiny_dataset.shards(Split.TRAIN), epochs=3, augment=augment)
    plain = training_loader(tiny_dataset.shards(Split.TRAIN), epochs=3, augment={"flip": 0.0})
    closed = [
        all(same(a, b) for a, b in zip(loader.epoch(epoch), plain.epoch(epoch), strict=True)) for epoch in (1, 2, 3)
    ]
    assert closed == [False, True, True]


def test_a_second_training_finds_every_window_in_the_cache(
    tiny_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPIKETUNE_CACHE", str(tmp_path))
    shards = tiny_dataset.shards(Split.TRAIN)
    settings: dict[str, Any] = {"cache": {"mode": "disk", "limit_gb": 0.1}, "temporal_buffer": 0.1}
    first = list(training_loader(shards, **settings).epoch(1))

    def unrendered(*_: object) -> None:
        raise AssertionError("a window was rendered anew")

    monkeypatch.setattr("data.rendering.render", unrendered)
    again = list(training_loader(shards, **settings, batch_size=4).epoch(1))
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    with pytest.raises(AssertionError, match="rendered anew"):  # another window length is another window
        list(training_loader(shards, **settings, window_us=40_000).epoch(1))


def test_on_a_cpu_no_workers_are_started_and_beside_a_gpu_one_less_than_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    assert worker_count(None, "cpu") == 0
    assert worker_count(None, "cuda") == 4
    assert worker_count(3, "cpu") == 3


def test_workers_beside_a_gpu_fit_into_half_of_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 32)
    monkeypatch.setattr("data.loading.available_memory", lambda: 5 << 30)  # half of it holds two workers of 1 GiB
    assert worker_count(None, "cuda") == 2


def test_fewer_evaluation_windows_are_spread_from_the_first_to_the_last(tiny_dataset: Dataset) -> None:
    loader = EvaluationLoader(tiny_dataset.shards(Split.VAL), config(), 8, 2)
    windows = [window for shown, _ in loader for window in shown]
    assert [(window.recording, window.label_us) for window in windows] == [(0, 550_000), (1, 950_000)]


@pytest.fixture
def unlabelled(tmp_path: Path, write_dataset: Callable[..., Dataset], make_take: Callable[..., Any]) -> Dataset:
    t = np.arange(0, 600_000, 50_000, dtype=np.int64)
    events = Events(t, np.full(12, 6, np.uint16), np.full(12, 9, np.uint16), np.ones(12, np.uint8))
    ids = np.zeros(2, np.int64)
    boxes = Boxes(np.array([100_000, 500_000]), np.array([[5, 8, 20, 12]] * 2, np.float32), ids, ids)
    takes = [
        make_take("train_day_0001", Split.TRAIN, events, Boxes.empty()),
        make_take("val_day_0001", Split.VAL, events, boxes),
    ]
    return write_dataset(tmp_path, takes, SENSOR, label_set("pedro"))


def test_a_training_split_without_labels_is_refused(unlabelled: Dataset) -> None:
    with pytest.raises(DatasetError, match="training split has no labels; ingest"):
        training_loader(unlabelled.shards(Split.TRAIN))


def test_a_split_labelled_in_its_first_half_second_alone_cannot_be_evaluated(unlabelled: Dataset) -> None:
    with pytest.raises(DatasetError, match=r"no label after its first 0\.5 s"):
        EvaluationLoader(unlabelled.shards(Split.VAL), DataConfig(), 8, None)
