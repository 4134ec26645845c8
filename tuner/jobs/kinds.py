"""The kinds of jobs: what each does on the cluster, and what it tells of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from data.errors import InputError
from tuner.jobs.order import Order

# Modules, each with the functions of `Kind`; they are heavy, and imported on the cluster only.
LEASE_S = 180.0  # after which a file server lets go of what a lost host had locked
KINDS = {"search": "tuner.jobs.search_job", "ingest": "tuner.jobs.ingest_job"}


@dataclass(frozen=True)
class Told:
    """What a kind says of its work: for programs, and as text for people."""

    values: dict[str, Any]
    text: str


@dataclass(frozen=True)
class Work:
    """A job on the cluster, with its env file loaded."""

    job: str
    order: Order
    package: Path  # what was sent
    shared: Path  # the folder that every node sees


class Kind(Protocol):
    """What the module of a kind offers."""

    def run(self, work: Work) -> str | None:
        """Do it, or go on with what an earlier attempt has left; why it ended early, if it was asked to by a signal.

        Raises:
            SpiketuneError: it cannot be done, and trying again would not help.
        """

    def status(self, work: Work) -> Told:
        """How it stands; also while it runs, and after it has ended.

        Raises:
            InputError: it has not begun yet.
        """

    def results(self, work: Work) -> Told:
        """What it came to.

        Raises:
            InputError: there is nothing yet.
        """

    def files(self, work: Work) -> list[Path]:
        """What `spiketune results --out` brings home, of what there is."""

    def trial_errors(self, work: Work, trial: int) -> str:
        """What the workers of a trial failed with.

        Raises:
            InputError: the kind has no trials.
        """


def is_let_go(is_held: Callable[[], bool]) -> bool:
    """Wait until nobody holds what a job works on; whether that came: an earlier attempt may still be dying."""
    until = time.monotonic() + LEASE_S
    while is_held():
        if time.monotonic() > until:
            return False
        time.sleep(1)
    return True


def kind_of(order: Order) -> Kind:
    """What does this order.

    Raises:
        InputError: this version knows no such kind.
    """
    if order.kind not in KINDS:
        raise InputError(f"kind '{order.kind}': must be one of {', '.join(KINDS)}")
    return cast("Kind", import_module(KINDS[order.kind]))
