"""A cluster's jobs from anywhere: submit, list, look, follow, stop, resume, fetch."""

import asyncio
import base64
import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import InputError
from data.storage import whole_file
from tuner.jobs.asking import ask
from tuner.jobs.fate import Fate, fate_of
from tuner.jobs.kinds import Told
from tuner.jobs.order import Order
from tuner.jobs.package import packed
from tuner.jobs.ray_jobs import ClusterError, answered, connect, drivers, job_address
from tuner.jobs.record import Record
from tuner.jobs.search_order import search_order

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

_LOOK_S = 1.0
_NEXT_S = 5.0  # between two looks for the next attempt of a job
OVER = frozenset({Fate.FINISHED, Fate.FAILED, Fate.STOPPED})


@dataclass(frozen=True)
class Job:
    """A job, and what has become of it."""

    record: Record
    fate: Fate

    @property
    def id(self) -> str:
        """Its id."""
        return self.record.job

    @property
    def over(self) -> bool:
        """Whether nothing more happens unless it is resumed."""
        return self.fate in OVER

    def as_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {**self.record.as_dict(), "state": self.fate.value}


@dataclass(frozen=True)
class Submitted:
    """What became of a submission."""

    job: Job
    new: bool  # it was not there before


@dataclass(frozen=True)
class JobStatus:
    """How a job stands, and its work."""

    job: Job
    work: Told | None
    why: str | None  # there is nothing to be told of the work

    def as_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {**self.job.as_dict(), "work": None if self.work is None else self.work.values}


class Client:
    """The jobs of one cluster.

    Args:
        address: of its job server, such as http://127.0.0.1:8265; what the environment names if not given.
    """

    def __init__(self, address: str | None = None) -> None:
        self.address = job_address(address)

    def submit(
        self,
        spec: Path,
        data: str,
        *,
        name: str | None = None,
        env_file: Path | None = None,
        priority: str | None = None,
        max_concurrent: int | None = None,
        trials: int | None = None,
    ) -> Submitted:
        """Search on the cluster; the same once more is the same job.

        Args:
            spec: a search specification, which is checked before anything is sent.
            data: the dataset: a URL, or an absolute path that every node sees.
            name: of the job, instead of the spec's; it then belongs to this job alone.
            env_file: lines KEY=VALUE for the driver and its workers; of mode 600.
            priority: low, normal or high, instead of the spec's.
            max_concurrent: trials at a time, instead of the spec's.
            trials: in total, instead of the spec's.

        Raises:
            InputError: something of it is wrong, the name is another job's, or the cluster does not answer.
        """
        order = search_order(spec, data, name, trials, priority, max_concurrent)
        return self.send(order, env_file, named=name is not None)

    def send(self, order: Order, env_file: Path | None = None, *, named: bool = False) -> Submitted:
        """Have an order of any kind done; the same once more is the same job.

        Raises:
            InputError: the env file is none, the name is another job's, or the cluster does not answer.
        """
        with packed(order, env_file) as package, answered(self.address):
            answer = ask(self._server, "admit", package.folder, job=package.job, named=named)
        return Submitted(self._job(answer), answer["new"])

    def jobs(self) -> list[Job]:
        """All jobs, oldest first."""
        with answered(self.address):
            records = [Record.parse(given) for given in ask(self._server, "list")["records"]]
            known = drivers(self._server)
        return [Job(record, fate_of(record, known.get(record.submission))) for record in records]

    def status(self, job: str) -> JobStatus:
        """How a job stands.

        Raises:
            InputError: the cluster has no such job, or does not answer.
        """
        answer = self._ask("status", job)
        told = answer["work"]
        return JobStatus(self._job(answer), None if told is None else Told(**told), answer["why"])

    def logs(self, job: str, trial: int | None = None) -> str:
        """What all drivers of a job have said so far; or of that what is about a trial, with its workers' errors."""
        return str(self._ask("logs", job, trial=trial)["text"])

    def follow(self, job: str) -> Iterator[str]:
        """What the present driver of a job says, until it ends."""
        record = self.status(job).job.record
        with answered(self.address):
            if record.submission not in drivers(self._server):
                raise InputError(f"{job}: Ray runs no driver of it; `spiketune logs {job}` shows what it has said")
            yield from self._tail(record)

    def watch(self, job: str) -> Iterator[str]:
        """What the drivers of a job say until it is over; where one is lost, the next is waited for."""
        with answered(self.address):
            while not (found := self.status(job).job).over:
                if self._lives(found.record):
                    yield from self._tail(found.record)
                else:
                    time.sleep(_NEXT_S)

    def wait(self, job: str) -> Job:
        """Wait until a job is over."""
        for _ in self.watch(job):
            pass
        return self.status(job).job

    def stop(self, job: str) -> Job:
        """End a job in order, so that its winner is written, and wait for that."""
        answer = self._ask("stop", job)
        record = Record.parse(answer["record"])
        with answered(self.address):
            if self._lives(record):
                self._server.stop_job(record.submission)
            while self._lives(record):
                time.sleep(_LOOK_S)
        return self.status(job).job

    def resume(self, job: str) -> Job:
        """Go on with a job that was stopped, has failed or was lost.

        Raises:
            InputError: it runs, or has finished.
        """
        return self._job(self._ask("resume", job))

    def results(self, job: str) -> Told:
        """What a job came to, or has come to so far.

        Raises:
            InputError: there is nothing yet.
        """
        return Told(**self._ask("results", job))

    def fetch(self, job: str, out: Path) -> list[Path]:
        """Bring the files of a job's results home.

        Raises:
            InputError: there are none, or they are too large for this way.
            ClusterError: a file came damaged.
        """
        answer = self._ask("files", job)
        written = []
        for given in answer["files"]:
            content = base64.b64decode(given["base64"])
            if hashlib.sha256(content).hexdigest() != given["sha256"]:
                raise ClusterError(f"{given['name']}: came damaged; fetch it again")
            path = out / Path(given["name"]).name  # the cluster does not choose where we write
            with whole_file(path) as file:
                file.write(content)
            written.append(path)
        return written

    @cached_property
    def _server(self) -> "JobSubmissionClient":
        return connect(self.address)

    def _tail(self, record: Record) -> Iterator[str]:
        tail = self._server.tail_job_logs(record.submission)
        with asyncio.Runner() as runner:
            while (lines := runner.run(_next(tail))) is not None:
                yield lines

    def _ask(self, verb: str, job: str, **given: Any) -> dict[str, Any]:
        with answered(self.address):
            return ask(self._server, verb, job=job, **given)

    def _job(self, answer: dict[str, Any]) -> Job:
        record = Record.parse(answer["record"])
        with answered(self.address):
            return Job(record, fate_of(record, self._driver(record)))

    def _driver(self, record: Record) -> "JobDetails | None":
        return drivers(self._server).get(record.submission)

    def _lives(self, record: Record) -> bool:
        driver = self._driver(record)
        return driver is not None and not driver.status.is_terminal()


async def _next(tail: Any) -> str | None:
    return await anext(tail, None)
