"""What is known of a job, as JSON in the folder that every node sees; it outlives Ray, and whoever runs the job."""

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from filelock import FileLock

from data.errors import InputError
from data.storage import whole_file
from tuner.jobs.environment import shared_folder
from tuner.jobs.kinds import Work
from tuner.jobs.order import Order, is_job

JOBS = "jobs"
PACKAGE = "package"
LOG = "driver.log"
_SECONDS = 60  # that anybody may hold a record


class Ending(StrEnum):
    """How a job came to its end."""

    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Record:
    """A job; times are Unix seconds.

    An attempt is one driver: the next follows where one was lost, or where a user resumes the job.
    """

    job: str
    kind: str
    name: str
    settings: Mapping[str, Any]
    submitted_s: float
    attempt: int  # the number of the present driver, from 1
    sent_s: float  # when Ray was given it
    wanted: bool = True  # its user has not stopped it
    begun_s: float | None = None  # the present driver
    node: str | None = None
    lost: int = 0  # drivers in a row that were killed though their head lived on
    ending: Ending | None = None
    ended_s: float | None = None
    why: str | None = None

    @classmethod
    def new(cls, job: str, order: Order) -> "Record":
        """Of a job that is about to be given to Ray."""
        now_s = time.time()
        return cls(job, order.kind, order.name, dict(order.settings), submitted_s=now_s, attempt=1, sent_s=now_s)

    @property
    def submission(self) -> str:
        """The present driver's id for Ray."""
        return self.job if self.attempt == 1 else f"{self.job}.{self.attempt}"

    def begun(self, node: str) -> "Record":
        """Its driver runs."""
        return replace(self, begun_s=time.time(), node=node)

    def ended(self, ending: Ending, why: str | None = None) -> "Record":
        """It is over."""
        return replace(self, ending=ending, ended_s=time.time(), why=why)

    def stopped(self) -> "Record":
        """Its user wants it no more."""
        return replace(self, wanted=False)

    def again(self, lost: int) -> "Record":
        """It is to be given to Ray once more."""
        fresh = replace(self, wanted=True, ending=None, ended_s=None, why=None, begun_s=None, node=None, lost=lost)
        return replace(fresh, attempt=self.attempt + 1, sent_s=time.time())

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> "Record":
        """Back from JSON."""
        ending = given.get("ending")
        return cls(**{**given, "ending": None if ending is None else Ending(ending)})


class Records:
    """The jobs of a cluster."""

    def __init__(self, shared: Path) -> None:
        self.shared = shared
        self.folder = shared / JOBS
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.folder.chmod(0o700)  # env files lie below it

    @classmethod
    def here(cls) -> "Records":
        """Those of the folder that SPIKETUNE_SHARED names.

        Raises:
            InputError: it names none.
        """
        return cls(shared_folder())

    def jobs(self) -> list[str]:
        """The ids of all jobs."""
        return sorted(path.stem for path in self.folder.glob("*.json") if is_job(path.stem))

    def all(self) -> list[Record]:
        """Every job, oldest first.

        Raises:
            InputError: one of the records cannot be read.
        """
        found = [self.read(job) for job in self.jobs()]
        return sorted(found, key=lambda record: record.submitted_s)

    def read(self, job: str) -> Record:
        """A job's.

        Raises:
            InputError: there is no such job, or its record cannot be read.
        """
        path = self._path(job)
        try:
            return Record.parse(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise InputError(f"{job}: the cluster has no such job; `spiketune jobs` lists them") from None
        except (OSError, ValueError, TypeError, UnicodeDecodeError):
            raise InputError(f"{path}: is no record that can be read; remove it, and submit the job again") from None

    def knows(self, job: str) -> bool:
        """Whether there is such a job."""
        return self._path(job).is_file()

    @contextmanager
    def held(self, job: str) -> Iterator[None]:
        """Keep a job's record to this process, for as short as it takes to change it."""
        with FileLock(self.folder / f"{job}.lock", timeout=_SECONDS):
            yield

    def write(self, record: Record) -> None:
        """Write a record, whole or not at all."""
        with whole_file(self._path(record.job)) as file:
            file.write((json.dumps(record.as_dict(), indent=2) + "\n").encode())

    def forget(self, job: str) -> None:
        """Remove what is known of a job that never came to Ray."""
        self._path(job).unlink(missing_ok=True)
        shutil.rmtree(self.work(job), ignore_errors=True)

    def work(self, job: str) -> Path:
        """What is kept beside a job's record."""
        return self.folder / job

    def package(self, job: str) -> Path:
        """Its working directory, for the next attempt."""
        return self.work(job) / PACKAGE

    def keep_package(self, job: str, source: Path) -> None:
        """Copy a job's working directory beside its record."""
        target = self.package(job)
        shutil.rmtree(self.work(job), ignore_errors=True)  # of a submission that died on its way
        self.work(job).mkdir(mode=0o700)
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        for path in target.rglob("*"):
            path.chmod(0o700 if path.is_dir() else 0o600)

    def log(self, job: str) -> Path:
        """What its drivers have said."""
        return self.work(job) / LOG

    def undertaking(self, job: str) -> Work:
        """The job as its kind sees it.

        Raises:
            InputError: its order cannot be read.
        """
        package = self.package(job)
        return Work(job, Order.read(package), package, self.shared)

    def _path(self, job: str) -> Path:
        if not is_job(job):  # a name from elsewhere must not lead out of the folder
            raise InputError(f"{job}: is no job's id, such as night-0123456789; `spiketune jobs` lists them")
        return self.folder / f"{job}.json"


def this_node() -> str:
    """What this machine calls itself."""
    return os.uname().nodename
