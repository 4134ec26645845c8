"""Keeps jobs running: submits those again whose driver was lost with its head, or was killed."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from data.errors import InputError, SpiketuneError
from tuner.jobs.fate import Fate, ending_of, fate_of
from tuner.jobs.ray_jobs import answered, connect, drivers, start_driver
from tuner.jobs.record import Ending, Record, Records

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

EVERY_S = 10.0
MOST_LOST = 5  # drivers in a row that are killed soon after their begin: the job kills them
SOON_S = 600.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 5.0, 300.0
_WORDS = 300
Say = Callable[[str], None]


def keep(records: Records, address: str, say: Say, *, once: bool = False) -> None:
    """Look after all jobs, for ever or once; only one process of a cluster may.

    Raises:
        InputError: another process does already; or, with `once`, the cluster does not answer.
    """
    lock = FileLock(records.folder / "keeper.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(f"{records.folder}: another keeper looks after these jobs; stop it first") from None
    told = ""
    try:
        while True:
            try:
                with answered(address):
                    look(records, connect(address), say)
                told = ""
            except (SpiketuneError, OSError) as error:  # Ray is being restarted, or the folder is away
                if once:
                    raise
                if str(error) != told:  # once is enough, however long it lasts
                    say(str(error))
                told = str(error)
            if once:
                return
            time.sleep(EVERY_S)
    finally:
        lock.release()


def look(records: Records, client: "JobSubmissionClient", say: Say) -> None:
    """Look at every job once, and do what is to be done."""
    known = drivers(client)
    for job in records.jobs():
        try:
            if records.read(job).ending is None:
                with records.held(job):
                    _look_after(records, client, records.read(job), known, say)
        except InputError as error:  # a damaged record must not keep the others from being looked after
            say(str(error))


def _look_after(
    records: Records, client: "JobSubmissionClient", record: Record, known: "dict[str, JobDetails]", say: Say
) -> None:
    driver = known.get(record.submission)
    if fate_of(record, driver) in (Fate.LOST, Fate.KILLED):  # unless somebody has resumed it since Ray was asked
        driver = drivers(client).get(record.submission)
    fate = fate_of(record, driver)
    ending = ending_of(fate)
    if record.ending is None and ending is not None:
        why = (driver.message or "")[-_WORDS:] if driver is not None and ending is Ending.FAILED else None
        records.write(record.ended(ending, why))
        say(f"{record.job}: {ending.value}")
    elif fate is Fate.LOST:
        _again(records, client, record.again(lost=0), "Ray knows it no more", say)
    elif fate is Fate.KILLED and driver is not None:
        lost = _lost(record, driver)
        if lost >= MOST_LOST:
            told = f"its driver was killed {lost} times, each within {SOON_S / 60:.0f} min of its begin"
            records.write(record.ended(Ending.FAILED, told))
            say(f"{record.job}: failed: {told}")
        elif time.time() > _ended_s(driver) + wait_s(lost):
            _again(records, client, record.again(lost), "its driver was killed", say)


def _again(records: Records, client: "JobSubmissionClient", record: Record, why: str, say: Say) -> None:
    records.write(record)  # before: a keeper that dies in between leaves a driver that Ray knows nothing of
    start_driver(client, record, records.package(record.job), records.shared)
    say(f"{record.job}: {why}; attempt {record.attempt} is on its way")


def _lost(record: Record, driver: "JobDetails") -> int:
    """How many drivers were lost in a row, this one included; one that lived for long begins a new row."""
    begun_s = record.begun_s if record.begun_s is not None else record.sent_s
    return record.lost + 1 if _ended_s(driver) - begun_s < SOON_S else 1


def _ended_s(driver: "JobDetails") -> float:
    return (driver.end_time or 0) / 1000


def wait_s(lost: int) -> float:
    """Before the next attempt, after so many drivers lost in a row: 5 s, 10 s, 20 s, up to 5 min."""
    return min(_FIRST_WAIT_S * 2.0 ** (lost - 1), _LONGEST_WAIT_S)
