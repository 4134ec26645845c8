"""Jobs spread over a real cluster of one node: deaths, errors, an end that comes early."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from data.errors import InputError
from tuner import spread as spreading
from tuner.spread import TRIES, spread


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.delenv("RAY_ADDRESS", raising=False)
        ray.init(
            address="local", num_cpus=2, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=False
        )
        try:
            yield
        finally:
            ray.shutdown()


def noted(job: tuple[Path, int]) -> int:
    """Leaves a line in the folder's file `begun`; then what its number says."""
    folder, number = job
    with (folder / "begun").open("a") as file:
        file.write(f"{number}\n")
    if number == 13:
        os._exit(1)
    if number == 99:
        raise InputError("99: is no number; choose another")
    if number >= 1000:
        time.sleep(60)
    return number * number


def given_up(job: tuple[Path, int], why: str) -> int:
    assert why
    return -job[1]


def named(folder: Path, *numbers: int) -> list[tuple[str, tuple[Path, int]]]:
    return [(str(number), (folder, number)) for number in numbers]


def begun(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "begun").read_text().split()]


def test_every_job_is_done_once_and_told_with_what_became_of_it(tmp_path: Path) -> None:
    ticks: list[None] = []
    done = dict(spread(noted, named(tmp_path, *range(10)), given_up, tick=lambda: ticks.append(None)))
    assert {job[1]: result for job, result in done.items()} == {number: number**2 for number in range(10)}
    assert sorted(begun(tmp_path)) == list(range(10))


def test_a_job_that_ends_its_worker_is_given_up_after_some_tries_and_the_others_are_done(tmp_path: Path) -> None:
    done = {job[1]: result for job, result in spread(noted, named(tmp_path, 12, 13, 14), given_up)}
    assert done == {12: 144, 13: -13, 14: 196}
    assert begun(tmp_path).count(13) == TRIES


def test_an_error_comes_as_it_was_raised_and_ends_the_rest(tmp_path: Path) -> None:
    begin = time.monotonic()
    with pytest.raises(InputError, match=r"^99: is no number; choose another$"):
        list(spread(noted, named(tmp_path, 99, 1000, 1001), given_up))
    assert time.monotonic() - begin < 50  # those that sleep for a minute were interrupted


def test_no_more_are_handed_out_than_there_is_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spreading, "AT_LEAST", 0)
    assert spreading._Bound(None).now() == 4  # twice the processors
    assert spreading._Bound(3).now() == 3
    jobs = iter(named(tmp_path, *range(8)))
    outcomes = spread(noted, jobs, given_up, most=1)
    next(outcomes)
    outcomes.close()
    assert len(begun(tmp_path)) == 1
