"""Loader workers that die, and shards that are damaged."""

import os
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from data.batches import Batch
from data.data_config import DataConfig
from data.dataset import Dataset
from data.errors import ConfigError, DatasetError, TrainingError
from data.loading import LoadingPlan, TrainingLoader
from data.manifest import Split, shard_path
from data.worker_pool import MOST_DEATHS


def loader_of(
    dataset: Dataset, *, workers: int = 0, plan: dict[str, Any] | None = None, **leaves: Any
) -> TrainingLoader:
    config = DataConfig.parse({"time_steps": 2, "workers": workers, "cache": {"mode": "off"}, **leaves}, "test")
    given = {"batch_size": 2, "windows_per_epoch": 16, "epochs": 4, "seed": 3, **(plan or {})}
    return TrainingLoader(dataset.shards(Split.TRAIN), config, LoadingPlan(**given))


def same(one: Batch, other: Batch) -> bool:
    names = ("frames_TBCHW", "targets", "tracks", "labelled", "continues")
    return one.windows == other.windows and all(torch.equal(getattr(one, n), getattr(other, n)) for n in names)


ORDERS: dict[str, dict[str, Any]] = {
    "random with mosaics": {"augment": {"mosaic": 0.7, "multi_scale": 0.2}},
    "streaming": {"sampling": "stride", "overlap": 0.0, "order": "streaming"},
    "mixed": {"sampling": "stride", "overlap": 0.0, "order": "mixed"},
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("start", [0, 1, 5, 8])
def test_an_epoch_from_a_batch_on_has_the_very_batches_of_the_whole_one(
    order: str, start: int, tiny_dataset: Dataset
) -> None:
    loader = loader_of(tiny_dataset, **ORDERS[order])
    whole = list(loader.epoch(2))
    rest = list(loader.epoch(2, start))
    assert len(rest) == len(whole) - start
    assert all(same(one, other) for one, other in zip(rest, whole[start:], strict=True))


@pytest.mark.parametrize("order", ORDERS)
def test_the_rows_of_all_ranks_are_the_batch(order: str, tiny_dataset: Dataset) -> None:
    if "multi_scale" in str(ORDERS[order]):
        pytest.skip("its size is drawn for a batch; the rows are compared where sizes agree")
    whole = list(loader_of(tiny_dataset, plan={"batch_size": 4}, **ORDERS[order]).epoch(1))
    parts = [
        list(loader_of(tiny_dataset, plan={"batch_size": 4, "rank": rank, "ranks": 2}, **ORDERS[order]).epoch(1))
        for rank in range(2)
    ]
    for batch, first, second in zip(whole, *parts, strict=True):
        assert torch.equal(batch.frames_TBCHW, torch.cat([first.frames_TBCHW, second.frames_TBCHW], 1))
        assert batch.windows == first.windows + second.windows
        assert len(batch.targets) == len(first.targets) + len(second.targets)


def test_a_batch_that_the_ranks_cannot_share_is_refused(tiny_dataset: Dataset) -> None:
    with pytest.raises(ConfigError, match=r"training\.batch_size=3 must be a multiple of the 2 processes"):
        loader_of(tiny_dataset, plan={"batch_size": 3, "ranks": 2})


def test_the_rows_of_a_batch_have_its_targets_each_once(tiny_dataset: Dataset) -> None:
    batch = next(loader_of(tiny_dataset, plan={"batch_size": 4}).epoch(1))
    parts = [batch.rows(0, 1), batch.rows(1, 4)]
    seen = []
    for part, first in zip(parts, (0, 1), strict=True):
        rows = len(part.windows)
        for target, track in zip(part.targets, part.tracks, strict=True):
            step, row = divmod(int(target[0]), rows)
            seen.append((step * 4 + row + first, *target[1:].tolist(), int(track)))
    wanted = [(int(t[0]), *t[1:].tolist(), int(k)) for t, k in zip(batch.targets, batch.tracks, strict=True)]
    assert sorted(seen) == sorted(wanted)
    assert torch.equal(torch.cat([part.frames_TBCHW for part in parts], 1), batch.frames_TBCHW)


def test_a_smaller_share_of_the_recordings_is_a_part_of_a_larger_one(tiny_dataset: Dataset) -> None:
    def recordings(share: float) -> set[int]:
        loader = loader_of(tiny_dataset, plan={"recordings": share, "windows_per_epoch": None})
        return {window.recording for batch in loader.epoch(1) for window in batch.windows}

    assert len(recordings(0.1)) == 1
    assert recordings(0.1) < recordings(1.0) == {0, 1}


def children() -> list[int]:
    """The processes of loaders' workers, which a fork server of ours has made."""
    import psutil

    made = [each for each in psutil.Process().children(recursive=True) if each.ppid() != os.getpid()]
    return [each.pid for each in made if "forkserver" in " ".join(each.cmdline())]


def test_a_worker_that_is_killed_is_replaced_and_no_batch_is_lost(
    tiny_dataset: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = list(loader_of(tiny_dataset).epoch(1))
    loader = loader_of(tiny_dataset, workers=1)
    batches = loader.epoch(1)
    made = [next(batches)]
    for pid in children():
        os.kill(pid, signal.SIGKILL)
    made += list(batches)
    assert len(made) == len(wanted)
    assert all(same(one, other) for one, other in zip(made, wanted, strict=True))
    assert loader.restarts == 1
    assert "a loader worker died" in caplog.text


def test_workers_that_keep_dying_end_the_training_with_the_remedy(
    tiny_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = loader_of(tiny_dataset)

    class Dying:
        def __iter__(self) -> Any:
            raise RuntimeError("DataLoader worker (pid(s) 1234) exited unexpectedly")

    monkeypatch.setattr(loader._pool, "_new", Dying)
    loader._pool._loader = Dying()  # type: ignore[assignment]
    with pytest.raises(TrainingError, match=r"loader workers died in one epoch.*lower data\.workers"):
        next(loader.epoch(1))
    assert loader.restarts == MOST_DEATHS + 1


@pytest.fixture
def damaged(tiny_dataset: Dataset, tmp_path: Path) -> Callable[[float], Dataset]:
    """A copy of the dataset with one flipped byte in the events of its first training recording."""

    def make(place: float) -> Dataset:
        folder = tmp_path / "damaged"
        shutil.copytree(tiny_dataset.location, folder)
        path = shard_path(folder, Split.TRAIN, "train_day_0001")
        content = bytearray(path.read_bytes())
        content[int(len(content) * place)] ^= 0xFF
        path.write_bytes(content)
        return Dataset.open(folder)

    return make


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_shard_fails_with_its_name_on_one_line(damaged: Callable[[float], Dataset], workers: int) -> None:
    loader = loader_of(damaged(0.3), workers=workers)
    with pytest.raises(DatasetError, match=r"train_day_0001\.arrow: the shard is damaged") as told:
        list(loader.epoch(1))
    assert "\n" not in str(told.value)


def test_a_damaged_shard_that_may_be_skipped_is_replaced_by_other_windows_and_named_once(
    damaged: Callable[[float], Dataset], caplog: pytest.LogCaptureFixture
) -> None:
    loader = loader_of(damaged(0.3), on_bad_shard="skip")
    batches: Sequence[Batch] = list(loader.epoch(1))
    assert len(batches) == 8
    assert list(loader.bad) == ["train_day_0001"]
    assert caplog.text.count("left out, as data.on_bad_shard=skip asks") == 1
    again = list(loader_of(damaged_again(loader), on_bad_shard="skip").epoch(1))
    assert all(same(one, other) for one, other in zip(batches, again, strict=True))
    # The damaged recording is number 0: only a row whose every other window is its, too, stays blank.
    hopeless = [
        not any((sample.window.recording, *(other.recording for other in sample.others)))
        for plan in loader._plan.epoch(1)
        for sample in plan.samples
    ]
    blank = [not frames.any() for batch in batches for frames in batch.frames_TBCHW.unbind(1)]
    unlabelled = [not labelled.any() for batch in batches for labelled in batch.labelled.unbind(1)]
    assert 0 < sum(hopeless) < 8
    assert blank == unlabelled == hopeless


def damaged_again(loader: TrainingLoader) -> Dataset:
    """The same dataset, opened anew: what one loader has learnt of it another must not need."""
    return Dataset.open(loader._shards[0].path.parent.parent)
