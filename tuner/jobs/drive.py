"""The driver of a job, on the head and in the job's working directory: `python -m tuner.jobs.drive JOB ATTEMPT`."""

import os
import socket
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data.errors import SpiketuneError
from tuner.jobs.environment import load_from
from tuner.jobs.kinds import kind_of
from tuner.jobs.record import Ending, Record, Records, this_node

_INTERRUPTED = 143  # 128 + SIGTERM: somebody else's doing, so another attempt may follow
_HEAD_LOST = 137
_BLOCK = 1 << 16


def main(job: str, attempt: int) -> int:
    """Run an attempt; the exit code."""
    load_from(Path.cwd())
    records = Records.here()
    with _kept(records.log(job)):
        try:
            return _attempt(records, job, attempt)
        except SpiketuneError as error:
            _say(f"spiketune: {error}")
            return 1


def _attempt(records: Records, job: str, attempt: int) -> int:
    with records.held(job):
        record = records.read(job)
        if record.attempt != attempt or record.ending is not None or not record.wanted:
            _say(f"attempt {attempt} of {job} is not wanted any more")
            return 0
        record = record.begun(this_node())
        records.write(record)
    _say(f"attempt {attempt} of {job} on {this_node()}")
    work = records.undertaking(job)
    os.chdir(records.shared)  # what is written below ./runs outlives the working directory
    try:
        why = kind_of(work.order).run(work)
    except SpiketuneError as error:
        return _failed(records, record, str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, the record must tell
        traceback.print_exc()
        return _failed(records, record, f"{type(error).__name__}: {error}")
    if why is None:
        _end(records, record, Ending.FINISHED)
        return 0
    _say(f"ended early: {why}")
    if records.read(job).wanted:  # it was not the user: the machine is going down
        return _INTERRUPTED
    _end(records, record, Ending.STOPPED)
    return 0


def _failed(records: Records, record: Record, why: str) -> int:
    _say(f"spiketune: {why}")
    if not _head_lives():
        return _HEAD_LOST
    _end(records, record, Ending.FAILED if records.read(record.job).wanted else Ending.STOPPED, why)
    return 1


def _end(records: Records, mine: Record, ending: Ending, why: str | None = None) -> None:
    """Write down how the job ended, unless another attempt has taken over."""
    with records.held(mine.job):
        record = records.read(mine.job)
        if record.attempt == mine.attempt:
            records.write(record.ended(ending, why))


def _head_lives() -> bool:
    """Whether Ray still answers: a driver that loses it fails too, but not by itself."""
    host, _, port = os.environ.get("RAY_ADDRESS", "").rpartition(":")
    if not port.isdecimal():
        return True
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except OSError:
        return False
    return True


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


@contextmanager
def _kept(log: Path) -> Iterator[None]:
    """Write what goes to stdout and stderr to a file also, for Ray's own log is gone with its head.

    By a thread and not by `tee`, which Ray would end first of all.
    """
    reader, writer = os.pipe()
    before = os.dup(1), os.dup(2)
    with log.open("ab", buffering=0) as file:
        thread = threading.Thread(target=_copy, args=(reader, before[0], file.fileno()), daemon=True)
        thread.start()
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        os.close(writer)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, real in enumerate(before, start=1):
                os.dup2(real, descriptor)
            thread.join(5)  # a process that the driver has left behind may hold the other end


def _copy(source: int, *targets: int) -> None:
    while block := os.read(source, _BLOCK):
        for target in targets:
            view = memoryview(block)
            while view:
                view = view[os.write(target, view) :]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
