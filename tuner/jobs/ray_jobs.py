"""Ray's job server: where it is, what it runs, and how a driver is given to it."""

import logging
import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import InputError, SpiketuneError
from tuner.jobs.environment import HOOK, SHARED
from tuner.jobs.record import Record

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
PATIENCE_S = 300  # that a driver has for its end in order
_SERVER, _CLUSTER = "RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"


class ClusterError(SpiketuneError):
    """A cluster could not do what it was asked."""


def job_address(given: str | None = None) -> str:
    """Of the job server: as given, as the environment has it, or this machine's.

    Raises:
        InputError: it is no http address.
    """
    from_environment = os.environ.get(_SERVER) or os.environ.get(_CLUSTER, "")
    if given is None and from_environment.startswith(("http://", "https://")):
        given = from_environment
    address = given or DEFAULT_ADDRESS
    if not address.startswith(("http://", "https://")):
        raise InputError(f"--address {address}: must be the job server's, such as {DEFAULT_ADDRESS}")
    return address.rstrip("/")


def connect(address: str) -> "JobSubmissionClient":
    """A client of the job server.

    Raises:
        InputError: it does not answer, or not to us.
    """
    from ray.job_submission import JobSubmissionClient

    _hush()
    with _environment_says(address), answered(address):
        return JobSubmissionClient(address)


@contextmanager
def answered(address: str) -> Iterator[None]:
    """Turn what goes wrong between us and the job server into a sentence.

    Raises:
        InputError: it does not answer, or not to us.
        ClusterError: it cannot do what it was asked.
    """
    import requests
    from ray.exceptions import AuthenticationError

    try:
        yield
    except (ConnectionError, requests.exceptions.RequestException):
        raise InputError(
            f"{address}: no Ray job server answers there; give --address, or open a tunnel to the head's port 8265"
        ) from None
    except AuthenticationError:
        raise InputError(
            f"{address}: the cluster asks for its token; set RAY_AUTH_MODE=token, and put it into ~/.ray/auth_token"
        ) from None
    except RuntimeError as error:
        raise ClusterError(f"{address}: Ray refuses: {error}") from None


@contextmanager
def _environment_says(address: str) -> Iterator[None]:
    """Ray takes the environment's address before the one that it is given."""
    before = os.environ.get(_SERVER)
    os.environ[_SERVER] = address
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SERVER]
        else:
            os.environ[_SERVER] = before


def connect_from_within() -> "JobSubmissionClient":
    """A client of the job server of the cluster that runs this process."""
    from ray.job_submission import JobSubmissionClient

    _hush()
    return JobSubmissionClient()


def _hush() -> None:
    """Not what it uploads, and when a socket is closed."""
    for name in ("dashboard.modules.job.sdk", "dashboard.modules.dashboard_sdk", "_private.runtime_env.packaging"):
        logging.getLogger(f"ray.{name}").setLevel(logging.WARNING)


def drivers(client: "JobSubmissionClient") -> "dict[str, JobDetails]":
    """What Ray knows of each driver that it was given since its head was started."""
    return {details.submission_id: details for details in client.list_jobs() if details.submission_id}


def start_driver(client: "JobSubmissionClient", record: Record, package: Path, shared: Path) -> None:
    """Give Ray the present attempt of a job. Ray itself refuses to be given one twice, which is as good.

    The env file goes with the working directory: what stands in `env_vars` or on the command line, Ray shows to all.
    """
    command = ["exec", sys.executable, "-m", "tuner.jobs.drive", record.job, str(record.attempt)]
    runtime_env: Mapping[str, Any] = {
        "working_dir": str(package),
        "worker_process_setup_hook": HOOK,
        "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(PATIENCE_S), SHARED: str(shared)},
    }
    try:
        client.submit_job(
            entrypoint=shlex.join(command),
            submission_id=record.submission,
            runtime_env=dict(runtime_env),
            metadata={"job": record.job, "kind": record.kind, "name": record.name},
        )
    except RuntimeError as error:
        if "already exists" not in str(error):
            raise
