import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch

from data.dataset import Dataset
from data.errors import TrainingError
from model.training.batch_size import largest_batch, resolve_batch_size
from model.trial_config import TrialConfig

CPU = torch.device("cpu")


class Meter:
    """Steps whose peak is a line in the windows, on a device that may have an end."""

    def __init__(self, fixed: int, window: int, end: float = float("inf")) -> None:
        self.fixed, self.window, self.end = fixed, window, end
        self.tried: list[int] = []

    def __call__(self, windows: int) -> int:
        self.tried.append(windows)
        taken = self.fixed + self.window * windows
        if taken > self.end:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return taken


@pytest.mark.parametrize(
    ("room", "most", "expected"),
    [
        (1000, 64, 8),  # 100 + 8 * 100 fits, 100 + 10 * 100 does not
        (1100, 64, 10),
        (1199, 64, 10),  # 10.99 windows
        (1299, 64, 10),  # 11.99: odd
        (400, 64, 2),
        (399, 64, 1),  # two may take twice as much as one, for all that is known of it
        (1, 64, 1),  # nothing fits, and less than one window cannot be tried
        (10**6, 64, 64),
        (10**6, 13, 12),
        (10**6, 1, 1),
    ],
)
def test_the_largest_even_batch_that_fits_is_found_without_ever_taking_more_than_there_is(
    room: int, most: int, expected: int
) -> None:
    meter = Meter(100, 100)
    assert largest_batch(meter, room, most) == expected
    assert meter.tried[-1] == expected
    assert all(100 + 100 * windows <= room for windows in meter.tried[1:])


def test_sizes_are_doubled() -> None:
    meter = Meter(0, 10)
    largest_batch(meter, 10**6, 40)
    assert meter.tried == [1, 2, 4, 8, 16, 32, 40]


@pytest.mark.parametrize(("end", "expected"), [(1000, 8), (1100, 10), (1300, 12), (1500, 14), (150, None), (250, 1)])
def test_memory_that_ends_before_the_room_bounds_the_batch(end: int, expected: int | None) -> None:
    meter = Meter(100, 100, end)
    if expected is None:
        with pytest.raises(TrainingError, match=r"with a single window; lower data\.scale"):
            largest_batch(meter, 10**6, 64)
    else:
        assert largest_batch(meter, 10**6, 64) == expected


def test_a_peak_that_bends_upwards_is_believed_rather_than_the_line() -> None:
    assert largest_batch(lambda windows: windows**2, 150, 64) == 12  # 144 of 150; the lines went further


def test_a_meter_that_sees_no_growth_is_no_reason_to_stop() -> None:
    assert largest_batch(lambda _: 0, 100, 16) == 16


def test_another_error_of_a_step_is_not_taken_for_one_of_memory() -> None:
    def broken(windows: int) -> int:
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        largest_batch(broken, 100, 16)


def asking(**leaves: Any) -> TrialConfig:
    settings = {
        "data.time_steps": 2,
        "model.width": 0.25,
        "training.batch_size": "auto",
        "training.windows_per_epoch": 12,
        "training.compile": "off",
    }
    return TrialConfig().with_leaves(
        settings | {key.replace("__", "."): value for key, value in leaves.items()}, "test"
    )


Resolve = Callable[..., int]


@pytest.fixture
def resolve(tiny_dataset: Dataset) -> Resolve:
    def resolved(room: int | None, **leaves: Any) -> int:
        size = resolve_batch_size(asking(**leaves), tiny_dataset, CPU, room).training.batch_size
        assert isinstance(size, int)
        return size

    return resolved


def test_a_number_that_is_given_stays(tiny_dataset: Dataset) -> None:
    config = asking(training__batch_size=7)
    assert resolve_batch_size(config, tiny_dataset, CPU) is config


def test_the_more_room_the_larger_the_batch_up_to_the_windows_of_an_epoch(
    resolve: Resolve, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "model.training.batch_size"):
        small, large = resolve(16 << 20), resolve(8 << 30)
    assert 1 <= small < large == 12
    assert caplog.messages[-1].startswith("batch_size=auto: 12 windows, ")
    assert caplog.messages[-1].endswith(" GB of the 8.6 GB a trial may take")


def test_room_is_kept_for_the_largest_pictures_of_a_training(resolve: Resolve) -> None:
    assert resolve(24 << 20, data__augment__multi_scale=0.5) < resolve(24 << 20)


@pytest.mark.parametrize(
    "leaves",
    [
        {"training__precision": "bf16"},
        {"data__order": "streaming", "data__sampling": "stride"},
        {"training__windows_per_epoch": None},
    ],
)
def test_every_kind_of_training_is_tried(resolve: Resolve, leaves: dict[str, Any]) -> None:
    assert resolve(8 << 30, **leaves) in (12, 36)
