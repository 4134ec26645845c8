"""What a client asks of a cluster, answered on its head: `python -m tuner.jobs.desk QUESTION`, as a short job of Ray.

The shared folder is there and not where the client is. The answer is one line of JSON on stdout.
"""

import base64
import hashlib
import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data.errors import InputError, SpiketuneError
from tuner.jobs.environment import load_from
from tuner.jobs.fate import Fate, fate_of
from tuner.jobs.kinds import Work, kind_of
from tuner.jobs.order import Order
from tuner.jobs.ray_jobs import connect_from_within, drivers, start_driver
from tuner.jobs.record import Record, Records

MARK = "spiketune answers: "
_LOG_BYTES = 5_000_000  # of the end of a log that is sent
MOST_BYTES = 200_000_000  # of files that are brought home through the job server
Answer = dict[str, Any]


def admit(records: Records, job: str, named: bool) -> Answer:
    """Keep what was sent, in whose folder this runs, and start the job; or tell that it is there already.

    Raises:
        InputError: the name was given to another job.
    """
    order, package = Order.read(Path.cwd()), records.package(job)
    with records.held("submissions"):
        if records.knows(job):
            return {"record": records.read(job).as_dict(), "new": False}
        others = [record.job for record in records.all() if record.name == order.name] if named else []
        if others:
            raise InputError(
                f"--name {order.name}: is the name of {others[-1]}, which was sent with another spec, option or code; "
                "choose another name"
            )
        records.keep_package(job, Path.cwd())
        record = Record.new(job, order)
        records.write(record)
        try:
            start_driver(connect_from_within(), record, package, records.shared)
        except BaseException:
            records.forget(job)
            raise
    return {"record": record.as_dict(), "new": True}


def listed(records: Records) -> Answer:
    """Every job's record."""
    return {"records": [record.as_dict() for record in records.all()]}


def status(records: Records, job: str) -> Answer:
    """A job's record, and how its work stands."""
    record = records.read(job)
    try:
        work = _work(records, job)
        told: Answer | None = asdict(kind_of(work.order).status(work))
    except InputError as error:
        return {"record": record.as_dict(), "work": None, "why": str(error)}
    return {"record": record.as_dict(), "work": told, "why": None}


def stop(records: Records, job: str) -> Answer:
    """Write down that the job is not wanted any more; the driver itself is ended by whoever asks."""
    with records.held(job):
        record = records.read(job)
        if record.ending is None:
            record = record.stopped()
            records.write(record)
    return {"record": record.as_dict()}


def resume(records: Records, job: str) -> Answer:
    """Start a job again that was stopped, has failed or was lost.

    Raises:
        InputError: it runs, or has finished.
    """
    client = connect_from_within()
    with records.held(job):
        record = records.read(job)
        fate = fate_of(record, drivers(client).get(record.submission))
        if fate is Fate.FINISHED:
            raise InputError(f"{job}: has finished; for more trials, submit it with --trials and another --name")
        if fate in (Fate.WAITING, Fate.RUNNING, Fate.STOPPING):
            raise InputError(f"{job}: is {fate.value}; only a job that has ended can be resumed")
        record = record.again(lost=0)
        records.write(record)
        start_driver(client, record, records.package(job), records.shared)
    return {"record": record.as_dict()}


def results(records: Records, job: str) -> Answer:
    """What a job came to."""
    work = _work(records, job)
    return asdict(kind_of(work.order).results(work))


def files(records: Records, job: str) -> Answer:
    """The files of a job's results, and their content.

    Raises:
        InputError: there are none, or they are too large.
    """
    work = _work(records, job)
    found = kind_of(work.order).files(work)
    if not found:
        raise InputError(f"{job}: has no results yet; `spiketune status {job}` tells how it stands")
    size = sum(path.stat().st_size for path in found)
    if size > MOST_BYTES:
        raise InputError(f"{job}: its results have {size >> 20} MiB; copy them from {found[0].parent} with rsync")
    contents = {path.name: path.read_bytes() for path in found}
    return {
        "files": [
            {
                "name": name,
                "sha256": hashlib.sha256(content).hexdigest(),
                "base64": base64.b64encode(content).decode(),
            }
            for name, content in contents.items()
        ]
    }


def logs(records: Records, job: str, trial: int | None) -> Answer:
    """What the job's drivers have said; or of that what is about a trial, and what its workers failed with."""
    records.read(job)
    file = records.log(job)
    data = file.read_bytes()[-_LOG_BYTES:] if file.is_file() else b""
    text = data.decode(errors="replace")
    if trial is None:
        return {"text": text}
    work = _work(records, job)
    errors = kind_of(work.order).trial_errors(work, trial)
    lines = [line for line in text.splitlines() if re.match(rf"trial {trial}\b", line)]
    return {"text": "".join(f"{line}\n" for line in lines) + errors}


def _work(records: Records, job: str) -> Work:
    records.read(job)
    work = records.undertaking(job)
    load_from(work.package)
    return work


QUESTIONS: Mapping[str, Callable[..., Answer]] = {
    "admit": admit,
    "list": listed,
    "status": status,
    "stop": stop,
    "resume": resume,
    "results": results,
    "files": files,
    "logs": logs,
}


def main(question: str) -> int:
    """Answer; the exit code."""
    asked = json.loads(question)
    try:
        load_from(Path.cwd())
        answer = QUESTIONS[asked.pop("verb")](Records.here(), **asked)
    except InputError as error:
        answer = {"wrong": str(error)}
    except (SpiketuneError, OSError, RuntimeError) as error:
        answer = {"failed": str(error)}
    sys.stdout.write(f"\n{MARK}{json.dumps(answer)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
