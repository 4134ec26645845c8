"""A run's folder: bounded, whole after a kill at any moment, and no end of a training where a disk or a store fails."""

import errno
import functools
import logging
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, cast

import pytest
import torch
from torch import nn

from data import object_storage
from data.boxes import LabelSet
from data.errors import DatasetError, InputError
from data.events import SensorSize
from data.storage import open_storage
from model.checkpoint import CHECKPOINT, Checkpoint, load_checkpoint
from model.detector import SpikingDetector
from model.sealed_file import read_sealed
from model.training.config import CheckpointConfig
from model.training.run_folder import BEST, LAST, STATE, RunFolder
from model.trial_config import TrialConfig
from tests.model.small_disk import files_up_to
from tests.object_store import KEYS, Proxy, S3Server, s3_server

SCORES = [0.1, 0.5, 0.3, 0.4, 0.6, 0.2]  # of epochs 1 to 6
ALL = CheckpointConfig(every_epochs=2, most=2, top=2)
PLAIN = CheckpointConfig()


def checkpoint(epoch: int) -> Checkpoint:
    """A checkpoint whose weights tell its epoch; what learns is no detector, for the folder does not look at it."""
    net = nn.Linear(2, 2)
    with torch.no_grad():
        net.weight.fill_(epoch)
        net.bias.fill_(-epoch)
    labels = LabelSet("mine", ("cat",))
    return Checkpoint(cast(SpikingDetector, net), TrialConfig(), labels, SensorSize(96, 64), epoch, {"map": epoch / 10})


def epoch_of(path: Path) -> int:
    """The epoch of a checkpoint, by its weights and by its metadata."""
    weights, metadata = read_sealed(path, CHECKPOINT)
    epoch = int(metadata["epoch"])
    assert (weights["weight"] == epoch).all()
    return epoch


def train(location: str | Path, config: CheckpointConfig = ALL, epochs: int = len(SCORES)) -> RunFolder:
    """A training that resumes from what is there."""
    folder = RunFolder(location, config)
    state = folder.load_state() or {"epoch": 0, "best": -1.0, "momentum": torch.zeros(3)}
    for epoch in range(state["epoch"] + 1, epochs + 1):
        score = SCORES[epoch - 1]
        best, momentum = max(state["best"], score), state["momentum"] * 0.9 + epoch
        folder.keep(checkpoint(epoch), score > state["best"], score)
        state = {"epoch": epoch, "best": best, "momentum": momentum}
        folder.save_state(state)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    """All there is, also what is hidden."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# What is kept


def test_after_each_epoch_there_are_the_best_and_the_last_checkpoint(tmp_path: Path) -> None:
    for epochs, best in enumerate([1, 2, 2, 2, 5, 5], 1):
        folder = train(tmp_path / "run", PLAIN, epochs)
        assert (epoch_of(folder.best), epoch_of(folder.last)) == (best, epochs)
        assert sorted(content(tmp_path / "run")) == [BEST, LAST, STATE]
    assert (folder.best, folder.last) == (tmp_path / "run" / BEST, tmp_path / "run" / LAST)


def test_periodic_and_top_checkpoints_stay_in_their_number(tmp_path: Path) -> None:
    folder = train(tmp_path)
    named = {
        "epoch-0004.safetensors": 4,
        "epoch-0006.safetensors": 6,
        "top-0.500000-epoch-0002.safetensors": 2,
        "top-0.600000-epoch-0005.safetensors": 5,
    }
    assert content(tmp_path).keys() == {BEST, LAST, STATE} | named.keys()
    assert {name: epoch_of(folder.path(name)) for name in named} == named


def test_a_detector_that_was_kept_can_be_used(tmp_path: Path) -> None:
    config = TrialConfig()
    detector = SpikingDetector(config.model, config.data.representation, config.data.time_steps, classes=1)
    kept = Checkpoint(detector, config, LabelSet("mine", ("cat",)), SensorSize(96, 64), 3, {"map": 0.5})
    folder = RunFolder(tmp_path, PLAIN)
    folder.keep(kept, best=True, score=0.5)
    again = load_checkpoint(folder.best)
    assert (again.epoch, again.metrics) == (3, {"map": 0.5})
    ours, theirs = detector.state_dict(), again.detector.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_state_comes_back_and_there_is_none_at_first(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", PLAIN)
    assert folder.load_state() is None
    folder.save_state({"epoch": 7, "best": 0.1 + 0.2})
    assert RunFolder(str(tmp_path / "run"), PLAIN).load_state() == {"epoch": 7, "best": 0.1 + 0.2}


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    train(tmp_path, PLAIN, 1)
    whole = (tmp_path / STATE).read_bytes()
    (tmp_path / STATE).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DatasetError, match=r"state\.safetensors: is damaged.*--init-from"):
        RunFolder(tmp_path, PLAIN).load_state()


# Killed


class Killed(BaseException):
    """What ends a process at once, so that nothing it wants to do after it is done."""


@contextmanager
def killed_after(changes: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A life that ends before its next change of a name in a folder."""
    left = iter(range(changes))

    def mortal(change: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(change)
        def changed(*arguments: Any, **options: Any) -> Any:
            if next(left, None) is None:
                raise Killed
            return change(*arguments, **options)

        return changed

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", mortal(Path.replace))
        patch.setattr(Path, "unlink", mortal(Path.unlink))
        yield


def test_a_run_that_is_killed_between_any_two_changes_ends_like_one_that_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tmp_path / "whole")
    for changes in range(1000):
        run = tmp_path / str(changes)
        try:
            with killed_after(changes, monkeypatch):
                train(run)
            break
        except Killed:
            train(run)
            assert content(run) == content(tmp_path / "whole"), changes
    assert 40 < changes < 1000  # the names of 3 to 5 files an epoch, twice each


@pytest.mark.parametrize("seed", range(3))
def test_a_run_that_is_killed_again_and_again_ends_like_one_that_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    train(tmp_path / "whole")
    chance, lives = random.Random(seed), 1
    while True:
        try:
            with killed_after(chance.randint(1, 15), monkeypatch):
                train(tmp_path / "run")
            break
        except Killed:
            lives += 1
    assert lives > 3
    assert content(tmp_path / "run") == content(tmp_path / "whole")


KILLED = """
import os, signal, sys
from pathlib import Path
from model.training.state_file import save_state
import torch
Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
save_state({"epoch": 8, "x": torch.ones(100_000)}, Path(sys.argv[1]))
"""


def test_a_process_killed_before_its_file_has_its_name_leaves_the_old_one(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, PLAIN)
    folder.save_state({"epoch": 7})
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / STATE)], timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(content(tmp_path)) == 2, "it had written the new one"
    assert folder.load_state() == {"epoch": 7}
    folder.save_state({"epoch": 8})
    assert folder.load_state() == {"epoch": 8}
    assert content(tmp_path).keys() == {STATE}


# A full disk


def large_state(epoch: int) -> dict[str, Any]:
    return {"epoch": epoch, "x": torch.full((20_000,), float(epoch))}


def test_a_full_disk_is_said_once_and_keeps_what_was_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = train(tmp_path, ALL, 2)
    before = content(tmp_path)
    with files_up_to(500):
        for epoch in (3, 4, 5):
            folder.keep(checkpoint(epoch), True, 0.9)
            folder.save_state(large_state(epoch))
    assert content(tmp_path) == before
    assert folder.failed_writes == 6
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"{tmp_path}: the checkpoints cannot be written" in record.message
    assert "File too large" in record.message


def test_a_full_disk_is_said_again_after_a_success_in_between(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = train(tmp_path, PLAIN, 1)
    for said in (1, 2):
        with files_up_to(10_000):  # room for a checkpoint, and none for such a state
            for epoch in (2, 3):
                folder.keep(checkpoint(epoch), False, 0.0)
                folder.save_state(large_state(epoch))
        assert len(caplog.records) == said
        folder.save_state(large_state(4))
        state = folder.load_state()
        assert state is not None
        assert state["epoch"] == 4
    assert folder.failed_writes == 4


def test_a_best_checkpoint_that_found_no_room_is_written_before_the_next_state(tmp_path: Path) -> None:
    folder = train(tmp_path, PLAIN, 1)
    second = checkpoint(2)
    with files_up_to(500):
        folder.keep(second, True, 0.5)
        folder.save_state({"epoch": 2})  # it would speak of a best that is not there
    assert RunFolder(tmp_path, PLAIN).load_state() != {"epoch": 2}
    with torch.no_grad():
        second.detector.weight.zero_()  # type: ignore[operator]  # the training goes on
    with files_up_to(500):
        folder.keep(checkpoint(3), False, 0.3)
    folder.save_state({"epoch": 3})
    assert (epoch_of(folder.best), epoch_of(folder.last)) == (2, 3)
    assert folder.load_state() == {"epoch": 3}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_room_and_no_quota_are_a_full_disk_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    def full(_: int) -> None:
        raise OSError(number, os.strerror(number))

    folder = RunFolder(tmp_path, PLAIN)
    folder.save_state({"epoch": 1})
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        folder.save_state({"epoch": 2})
    assert (folder.failed_writes, folder.load_state()) == (1, {"epoch": 1})
    assert os.strerror(number) in caplog.text
    assert content(tmp_path).keys() == {STATE}


def test_another_error_of_the_disk_ends_the_training(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, PLAIN)
    (tmp_path / STATE).mkdir()
    with pytest.raises(IsADirectoryError):
        folder.save_state({"epoch": 1})
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        RunFolder(tmp_path / "file" / "run", PLAIN).keep(checkpoint(1), True, 0.5)


# An object store


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(object_storage, "PAUSES_S", (0.01, 0.02))


@pytest.mark.usefixtures("credentials")
def test_a_run_in_a_store_leaves_what_it_leaves_in_a_folder(tmp_path: Path, server: S3Server) -> None:
    train(tmp_path / "near")
    location = server.url(f"{tmp_path.name}/far")
    train(location, epochs=3)
    far = train(location)  # resumes
    assert far.failed_writes == 0
    near = content(tmp_path / "near")
    objects = set(server.objects(f"{tmp_path.name}/far")) - {""}  # what pyarrow marks the folder by
    assert objects == near.keys()
    assert all(far.path(name).read_bytes() == near[name] for name in near)
    assert (epoch_of(far.best), epoch_of(far.last)) == (5, 6)


@pytest.mark.usefixtures("credentials")
def test_a_file_out_of_a_store_stays_when_its_run_folder_is_gone(tmp_path: Path, server: S3Server) -> None:
    location = server.url(tmp_path.name)
    train(location, PLAIN, 2)
    assert epoch_of(RunFolder(location, PLAIN).best) == 2
    with pytest.raises(InputError, match="there is no such file"):
        RunFolder(location, PLAIN).path("epoch-0001.safetensors")


@pytest.mark.usefixtures("credentials")
def test_a_damaged_state_in_a_store_is_named_by_its_place_there(tmp_path: Path, server: S3Server) -> None:
    location = server.url(tmp_path.name)
    folder = RunFolder(location, PLAIN)
    assert folder.load_state() is None
    folder.save_state({"epoch": 1})
    open_storage(location).write(b"else", PurePosixPath(STATE))
    with pytest.raises(DatasetError, match=rf"^s3://recordings/{tmp_path.name}/state\.safetensors: not a readable"):
        folder.load_state()


@pytest.mark.usefixtures("credentials")
def test_a_store_that_stops_answering_does_not_end_the_training(
    tmp_path: Path, server: S3Server, caplog: pytest.LogCaptureFixture
) -> None:
    between = Proxy(server.port, up=True, after_bytes=1 << 40, times=1 << 40)
    try:
        folder = train(server.url(tmp_path.name, between.port), PLAIN, 1)
        between._after = 0  # from now on each connection is cut
        folder.keep(checkpoint(2), True, 0.5)
        folder.save_state({"epoch": 2})
        assert folder.failed_writes == 2
        (record,) = caplog.records
        assert f"s3://recordings/{tmp_path.name}" in record.message
        near = RunFolder(server.url(tmp_path.name), PLAIN)
        state = near.load_state()
        assert state is not None
        assert (state["epoch"], epoch_of(near.best), epoch_of(near.last)) == (1, 1, 1)
        between._after = 1 << 40
        folder.save_state({"epoch": 2})
        assert (near.load_state(), epoch_of(near.best), epoch_of(near.last)) == ({"epoch": 2}, 2, 2)
    finally:
        between.close()


@pytest.mark.usefixtures("credentials")
def test_a_store_that_never_took_a_file_ends_the_training(server: S3Server) -> None:
    with pytest.raises(InputError, match=r"failed 3 times.*127\.0\.0\.1:1"):
        RunFolder(server.url("x", port=1), PLAIN).keep(checkpoint(1), True, 0.5)
