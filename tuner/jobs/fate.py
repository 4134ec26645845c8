"""What has become of a job: what its record says, and what Ray says of its driver, put together."""

import time
from enum import StrEnum
from typing import TYPE_CHECKING

from tuner.jobs.record import Ending, Record

if TYPE_CHECKING:
    from ray.job_submission import JobDetails

GRACE_S = 60.0  # between a record and what Ray knows of it
_SIGNALS = 128  # exit codes from here on, and negative ones, are deaths by a signal


class Fate(StrEnum):
    """How a job stands."""

    WAITING = "waiting"  # for its driver to begin
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FINISHED = "finished"
    FAILED = "failed"  # by itself
    KILLED = "killed"  # its driver alone: it should run
    LOST = "lost"  # with its head: it should run


def fate_of(record: Record, driver: "JobDetails | None", now_s: float | None = None) -> Fate:
    """What has become of a job, whose present driver Ray knows this of."""
    if record.ending is not None:
        return Fate(record.ending.value)
    status = None if driver is None else driver.status.value
    if status in ("PENDING", "RUNNING"):
        if not record.wanted:
            return Fate.STOPPING
        return Fate.WAITING if record.begun_s is None else Fate.RUNNING
    if not record.wanted or status == "STOPPED":
        return Fate.STOPPED
    if driver is None:
        fresh = (time.time() if now_s is None else now_s) - record.sent_s < GRACE_S and record.begun_s is None
        return Fate.WAITING if fresh else Fate.LOST
    code = driver.driver_exit_code
    return Fate.FAILED if code is not None and 0 <= code < _SIGNALS else Fate.KILLED


def ending_of(fate: Fate) -> Ending | None:
    """The ending to write down, where the driver itself could not."""
    return {Fate.STOPPED: Ending.STOPPED, Fate.FAILED: Ending.FAILED}.get(fate)
