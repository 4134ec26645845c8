"""The real writer, on what a search has spooled, against MLflow's own server: seconds for each kind of request."""

import os
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tuner.recording.records import Batch, Record
from tuner.recording.runs import Runs, connect
from tuner.recording.spool import Spool
from tuner.recording.writer import Writer


@dataclass(frozen=True)
class Written:
    """What the writer did."""

    reports_per_s: float  # an epoch of a trial each
    starts_per_s: float  # a run with its parameters each
    cpu_ms: float  # a record, of the writer, the server and its database together
    records: int


class _Timed:
    """Runs, with a watch; calls `over` when so many seconds of writing have gone by since the first report."""

    def __init__(self, runs: Runs, seconds: float, over: Callable[[], None]) -> None:
        self._runs, self._seconds, self._over = runs, seconds, over
        self._until: float | None = None
        self.times: dict[str, list[float]] = defaultdict(list)

    def write(self, record: Record) -> None:
        begun = time.perf_counter()
        self._runs.write(record)
        now = time.perf_counter()
        self.times[type(record).__name__].append(now - begun)
        if self._until is None and isinstance(record, Batch):
            self._until = now + self._seconds
        if self._until is not None and now > self._until:
            self._over()

    def check(self) -> None:
        self._runs.check()


def written(folder: Path, uri: str, seconds: float, servers: Sequence[int]) -> Written:
    """Write the spool of a search's folder for so long, or to its end; `servers` are the processes that serve it."""
    os.environ["MLFLOW_TRACKING_URI"] = uri
    spool = Spool(folder)
    timed = _Timed(Runs(connect(uri), folder, {}, lambda _run, _id: None), seconds, lambda: writer.stop())
    writer = Writer(spool, uri, lambda: timed)  # type: ignore[arg-type, return-value]
    before = _cpu_s(servers)
    writer.catch_up()
    cpu_s = _cpu_s(servers) - before
    spool.close()
    times = timed.times
    each_s = {kind: sum(taken) / len(taken) for kind, taken in times.items()}
    if writer.refused or "Batch" not in each_s:
        raise RuntimeError(f"no report was written, or some were refused: {writer.refusal}")
    start_s = each_s["Open"] + each_s["Params"]
    records = sum(map(len, times.values()))
    return Written(1 / each_s["Batch"], 1 / start_s, 1000 * cpu_s / records, records)


def _cpu_s(servers: Sequence[int]) -> float:
    """Of this process, and of these with all that they have started."""
    processes = [psutil.Process(server) for server in servers]
    everyone = [each for process in processes for each in (process, *process.children(recursive=True))]
    times = [each.cpu_times() for each in everyone]
    # Of a process that has ended meanwhile, as PostgreSQL's do with their connection, its parent knows.
    ended = sum(process.cpu_times().children_user + process.cpu_times().children_system for process in processes)
    return time.process_time() + sum(one.user + one.system for one in times) + ended
