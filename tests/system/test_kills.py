"""A training that is killed at random steps, again and again, comes to what one comes to that was left alone."""

import importlib
import multiprocessing
import os
import random
import signal
import sys
from pathlib import Path

import pytest
import torch

from data.dataset import Dataset
from model.checkpoint import load_checkpoint

# Processes find what they are to run by the name of its module.
sys.path.append(str(Path(__file__).parent))
killed_training = importlib.import_module("killed_training")
CONFIG = killed_training.CONFIG

pytestmark = pytest.mark.system

KILLS = 50


def one_life(dataset: str, out: Path, steps: int, delay: float) -> tuple[list[tuple[int, int]], bool]:
    """The steps that a process told before it was killed, some time after so many of them; and whether it finished."""
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=killed_training.live, args=(dataset, out, theirs))
    process.start()
    theirs.close()
    told: list[tuple[int, int]] = []
    while steps < 0 or len(told) < steps:
        try:
            word = ours.recv()
        except EOFError:
            pytest.fail("the training ended by itself, and not well")
        if word is None:
            process.join()
            return told, True
        told.append(word)
    process.join(delay)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    while ours.poll():
        try:
            told.append(ours.recv())
        except (EOFError, OSError):
            break
    return [word for word in told if word is not None], False


def test_fifty_kills_at_random_steps_change_nothing(tiny_dataset: Dataset, tmp_path: Path) -> None:
    multiprocessing.set_forkserver_preload(["model.training.run"])
    draws = random.Random(7)
    last = (1, 0)
    steps = (CONFIG.training.windows_per_epoch or 0) // CONFIG.training.windows_a_batch
    for kills in range(KILLS):
        told, finished = one_life(tiny_dataset.location, tmp_path / "killed", draws.randint(0, 2), draws.random() * 0.1)
        assert not finished, f"finished after {kills} kills: too short a training for this test"
        if told:
            # The step after the last one whose state was written, or that one again if it was killed before that.
            following = (last[0], last[1] + 1) if last[1] < steps else (last[0] + 1, 1)
            assert told[0] in (last, following)
            last = told[-1]
    told, finished = one_life(tiny_dataset.location, tmp_path / "killed", -1, 0)
    assert finished
    _, finished = one_life(tiny_dataset.location, tmp_path / "alone", -1, 0)
    assert finished
    names = sorted(path.name for path in (tmp_path / "alone").iterdir())
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == names
    for name in names:
        if name == "state.safetensors":
            continue
        ours, theirs = load_checkpoint(tmp_path / "killed" / name), load_checkpoint(tmp_path / "alone" / name)
        assert ours.epoch == theirs.epoch
        assert {k: v for k, v in ours.metrics.items() if k.startswith(("map", "loss"))} == {
            k: v for k, v in theirs.metrics.items() if k.startswith(("map", "loss"))
        }
        weights, others = ours.detector.state_dict(), theirs.detector.state_dict()
        assert all(torch.equal(weights[key], others[key]) for key in weights)
