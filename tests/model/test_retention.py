"""The latest periodic checkpoints and the best epochs' stay, whatever was cut short before."""

import math
import random

import pytest

from model.training.config import CheckpointConfig
from model.training.retention import Turn, periodic_name, top_name, turn

SCORES = [0.10, 0.50, 0.30, 0.50, 0.20, 0.60, 0.05, 0.50]  # of epochs 1 to 8


def run(config: CheckpointConfig, present: set[str], epochs: range) -> set[str]:
    """What is there after these epochs."""
    for epoch in epochs:
        due = turn(config, epoch, SCORES[epoch - 1], present)
        present = (present | set(due.write)) - set(due.remove)
    return present


def test_the_latest_periodic_checkpoints_stay() -> None:
    config = CheckpointConfig(every_epochs=2, most=2)
    assert run(config, set(), range(1, 8)) == {"epoch-0004.safetensors", "epoch-0006.safetensors"}


def test_the_best_epochs_stay_and_of_equals_the_earlier_ones() -> None:
    kept = run(CheckpointConfig(top=3), set(), range(1, 9))
    assert kept == {
        "top-0.600000-epoch-0006.safetensors",
        "top-0.500000-epoch-0002.safetensors",
        "top-0.500000-epoch-0004.safetensors",
    }


def test_an_epoch_that_is_not_among_the_best_is_not_written() -> None:
    present = {top_name(0.5, 1), top_name(0.4, 2)}
    assert turn(CheckpointConfig(top=2), 3, 0.3, present) == Turn((), ())


def test_an_epoch_that_is_displaces_the_worst() -> None:
    present = {top_name(0.5, 1), top_name(0.4, 2)}
    assert turn(CheckpointConfig(top=2), 3, 0.45, present) == Turn((top_name(0.45, 3),), (top_name(0.4, 2),))


def test_a_score_that_is_no_number_is_not_among_the_best() -> None:
    config = CheckpointConfig(top=2, every_epochs=1)
    assert turn(config, 3, math.nan, {top_name(0.5, 1)}).write == (periodic_name(3),)


@pytest.mark.parametrize("done", range(1, 9))
@pytest.mark.parametrize("again_from", range(1, 9))
def test_epochs_that_are_done_again_leave_what_they_left_before(done: int, again_from: int) -> None:
    config = CheckpointConfig(every_epochs=2, most=2, top=3)
    present = run(config, set(), range(1, done + 1))
    assert run(config, present, range(min(again_from, done + 1), 9)) == run(config, set(), range(1, 9))


def test_scores_that_come_out_otherwise_the_second_time_leave_nothing_of_the_first() -> None:
    config = CheckpointConfig(top=2, every_epochs=1)
    present = {top_name(0.9, 4), top_name(0.8, 5), top_name(0.3, 2), periodic_name(3), periodic_name(4)}
    assert turn(config, 4, 0.7, present) == Turn(
        (periodic_name(4), top_name(0.7, 4)), (top_name(0.8, 5), top_name(0.9, 4))
    )


def test_what_is_not_asked_for_and_what_is_not_ours_is_left_alone() -> None:
    others = {"best.safetensors", "history.csv", "epoch-0001.txt", "top-x-epoch-0001.safetensors", "deep/epoch-0001"}
    assert turn(CheckpointConfig(), 9, 0.5, others | {periodic_name(1), top_name(0.1, 1)}) == Turn((), ())
    assert turn(CheckpointConfig(top=1, every_epochs=5), 9, 0.0, others).remove == ()


@pytest.mark.parametrize("seed", range(20))
def test_the_number_is_bounded_and_the_best_are_the_best(seed: int) -> None:
    chance = random.Random(seed)
    scores = [round(chance.random(), 2) for _ in range(40)]
    every, most, top = chance.randint(1, 4), chance.randint(1, 4), chance.randint(1, 5)
    config, present = CheckpointConfig(every_epochs=every, most=most, top=top), set[str]()
    for epoch, score in enumerate(scores, 1):
        due = turn(config, epoch, score, present)
        present = (present | set(due.write)) - set(due.remove)
    ranked = sorted(range(40), key=lambda index: scores[index], reverse=True)[:top]  # a stable sort: the earlier first
    latest = [epoch for epoch in range(1, 41) if epoch % every == 0][-most:]
    assert present == {top_name(scores[at], at + 1) for at in ranked} | {periodic_name(epoch) for epoch in latest}
