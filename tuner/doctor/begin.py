"""Settles what to examine, from the command's options and the environment."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data.errors import InputError
from tuner.doctor import reach
from tuner.doctor.examine import Examination, all_s
from tuner.doctor.verdict import Level, Verdict, gathered
from tuner.head import read_head
from tuner.jobs.environment import SHARED, parse_environment
from tuner.services.state import default_folder
from tuner.study.address import URL_VARIABLE


@dataclass(frozen=True)
class Wishes:
    """What the user wants to have looked at."""

    address: str | None = None  # Ray's; the environment's if not given
    dataset: str | None = None  # that every node should see
    shared: str | None = None  # a place that every node should see; the environment's if not given
    env_file: Path | None = None  # variables to take as if they were set
    patience_s: float = 60.0  # for an answer of a node

    def as_options(self) -> list[str]:
        """Of the command, but for the address."""
        given = {"--data": self.dataset, "--shared": self.shared, "--env-file": self.env_file}
        options = [word for name, value in given.items() if value for word in (name, str(value))]
        return [*options, "--patience", f"{self.patience_s:g}"]


def diagnose(wishes: Wishes, cluster: Path | None) -> list[Verdict]:
    """What there is to say.

    Args:
        wishes: what to look at.
        cluster: a cluster file; without an address all but the way to the head is examined there.

    Raises:
        InputError: an option is wrong.
    """
    found = list(reach.programs(needed=cluster is not None))
    if cluster is None:
        return [*found, *_here(wishes)]
    head = read_head(cluster)
    found += reach.secrets_here(head)
    way = reach.head_answers(head)
    found.append(way)
    if wishes.address is not None:
        found += _here(wishes)
    elif way.level is Level.PASS:
        found += reach.on_the_head(head, wishes.as_options(), all_s(wishes.patience_s) + 60)
    return gathered(found)


def _here(wishes: Wishes) -> list[Verdict]:
    address = _ray_address(wishes.address)
    found = list(_load(wishes.env_file or _of_the_services()))
    place = wishes.shared or os.environ.get(SHARED) or None
    return gathered([*found, *Examination(address, place, wishes.dataset, wishes.patience_s).verdicts()])


def _ray_address(given: str | None) -> str | None:
    address = given or os.environ.get("RAY_ADDRESS") or None
    if address is not None and "://" in address:
        raise InputError(
            f"--address {address}: must be Ray's own, such as 10.0.0.5:6379, or auto on a node of the cluster; "
            "from another machine give --cluster and the file of `ray up`"
        )
    return address


def _of_the_services() -> Path | None:
    """What `spiketune services` wrote on this machine for searches, where the environment says nothing else."""
    file = default_folder() / "client.env"
    said = any(os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", URL_VARIABLE))
    return file if file.is_file() and not said else None


def _load(file: Path | None) -> Iterator[Verdict]:
    """Set a file's variables; its mode is for the doctor to judge."""
    if file is None:
        return
    try:
        text, mode = file.read_text(encoding="utf-8"), file.stat().st_mode & 0o777
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--env-file {file}: cannot be read ({error}); give a file with lines KEY=VALUE") from None
    os.environ.update(parse_environment(text, file))
    yield from reach.private(file, mode)
