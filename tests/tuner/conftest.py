"""A dataset of two tiny recordings, made once; and a store in place of MLflow's, for those who ask for it."""

from pathlib import Path

import pytest

from tests.tuner.recorded_search import new_search
from tests.tuner.recording_store import Store
from tests.tuner.tiny_dataset import make_dataset
from tuner.recording import background, writer


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One recording each to train and validate on."""
    target = tmp_path_factory.mktemp("data") / "dataset"
    make_dataset(tmp_path_factory.mktemp("etram"), target)
    return target


@pytest.fixture
def impatient_writer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """MLflow's writer waits for thousandths of a second, in a folder without a store."""
    monkeypatch.setattr(writer, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(writer, "LONGEST_WAIT_S", 0.002)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    """What the writer writes to."""
    kept = Store()
    monkeypatch.setattr(background, "connect", lambda _: kept)
    return kept


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a search that has just begun."""
    return new_search(tmp_path / "search")
