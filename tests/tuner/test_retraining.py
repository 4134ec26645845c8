"""A winner trained again: with fresh seeds, until there are enough, by the search's own machinery."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.boxes import Boxes, LabelSet, label_set
from data.dataset import Dataset
from data.events import Events, SensorSize
from data.manifest import Split
from model.checkpoint import load_checkpoint
from tests.tuner.promoted_search import WINNER, make_search
from tuner.promotion import retraining as retraining_module
from tuner.promotion.challenger import configured, repeats_of
from tuner.promotion.retraining import SEEDS, Retraining
from tuner.result import read_result

Write = Callable[[Path, Sequence[Any], SensorSize, LabelSet], Dataset]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, make_take: Any, write_dataset: Write) -> Dataset:
    """A second of noise for each split, with boxes."""
    random = np.random.default_rng(0)
    takes = []
    for split in Split:
        t = np.sort(random.integers(0, 1_000_000, 4000))
        x, y = random.integers(0, 96, 4000).astype(np.uint16), random.integers(0, 64, 4000).astype(np.uint16)
        times = np.arange(100_000, 1_000_000, 100_000)
        ids = np.zeros(len(times), np.int64)
        boxes = Boxes(times, np.tile(np.array([[10, 10, 30, 20]], np.float32), (len(times), 1)), ids, ids + 1)
        events = Events(t, x, y, random.integers(0, 2, 4000).astype(np.uint8))
        takes.append(make_take(f"{split.value}_day_0001", split, events, boxes, False))
    return write_dataset(tmp_path_factory.mktemp("noise"), takes, SensorSize(96, 64), label_set("gen1"))


def retraining(search: Path, with_val: bool = False) -> Retraining:
    result = read_result(search)
    config = configured(result.trials[WINNER].config, with_val)
    return Retraining(result.spec, config, WINNER, search / "promotion" / f"{WINNER:04d}")


def test_what_is_trained_again_is_the_winner_s_configuration_at_the_full_budget(
    tmp_path: Path, dataset: Dataset
) -> None:
    search = make_search(tmp_path / "search", dataset)
    spec = retraining(search)._written(3)
    winner = read_result(search).trials[WINNER].config
    assert spec.default.leaves() == {**winner, "training.seed": SEEDS[0]}
    assert list(spec.space.leaves) == ["training.seed"]
    assert (spec.file.budget.trials, spec.file.budget.epochs) == (3, 2)


def test_a_training_on_val_too_is_measured_on_train_and_waits_for_no_gain(tmp_path: Path, dataset: Dataset) -> None:
    spec = retraining(make_search(tmp_path / "search", dataset), with_val=True)._written(2)
    assert spec.default.training.with_val
    assert spec.default.training.patience is None
    assert spec.file.objective.split is Split.TRAIN


def test_trainings_are_added_until_there_are_so_many_and_none_is_done_twice(
    tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.chdir(tmp_path)
    search = make_search(tmp_path / "search", dataset, repeats=1)
    again = retraining(search)
    assert again.done() == []
    trained = again.run(dataset, 2, progress_on_stderr=True)
    seeds = [training.seed for training in trained]
    assert len(set(seeds)) == 2
    assert min(seeds) >= SEEDS[0]
    for training in trained:
        checkpoint = load_checkpoint(training.checkpoint)
        assert checkpoint.config.training.seed == training.seed
        assert checkpoint.config.loss.box == 5.0
    monkeypatch.setattr(retraining_module, "run_search", None)  # nothing is left for it to do
    assert again.run(dataset, 2, progress_on_stderr=True) == trained
    assert [training.seed for training in repeats_of(read_result(search), WINNER)] == [1]
