"""A dataset of two tiny recordings, made once."""

from pathlib import Path

import pytest

from tests.tuner.tiny_dataset import make_dataset


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One recording each to train and validate on."""
    target = tmp_path_factory.mktemp("data") / "dataset"
    make_dataset(tmp_path_factory.mktemp("etram"), target)
    return target
