"""How far a cluster's head goes: reports a second, memory and databases for trials at one time; long histories.

    pip install -e '.[dev]'    # and PostgreSQL, Debian's package postgresql
    python benchmarks/scaling.py [--trials 10 100 1000 10000] [--history 10000 100000] [--recordings 10000]
        [--seconds 20] [--json FILE]

Workers are simulated: they train nothing, and report as fast as the real driver takes it in, with the study in SQLite
and in a real PostgreSQL. What it has spooled is then written to MLflow's real server over PostgreSQL. The peer is what
is needed where each trial reports once a minute; so a ratio of 10 is a tenth of the head. Every size is measured in a
process of its own, for so many seconds each.
"""

import argparse
import multiprocessing
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

# Beside this file lie some that share their names with packages: its folder must not be searched first.
sys.path[0] = str(Path(__file__).parent.parent)

from benchmarks.scaling_engine import sustained
from benchmarks.scaling_history import read, resume, write_history
from benchmarks.scaling_ingest import handed
from benchmarks.scaling_mlflow import written
from benchmarks.table import Row, console, finish, limit, row
from tests.system.servers import MlflowServer, Postgres, studies_and_runs

EPOCH_S = 60.0  # of a trial, between two reports
SECONDS = 20.0  # of reports, and of writing to MLflow
MEMORY_MIB = 8192.0  # of a head
READ_S, RESUME_S, START_MS, HANDED_S = 120.0, 600.0, 1000.0, 600.0
P = ParamSpec("P")
R = TypeVar("R")


def alone(function: Callable[P, R], *given: P.args, **named: P.kwargs) -> R:
    """Call it in a process of its own, whose memory is that of nothing else."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *given, **named).result()


def concurrent_rows(home: Path, trials: int, seconds: float, servers: tuple[Postgres, MlflowServer]) -> list[Row]:
    """The driver and MLflow's writer, with so many trials at one time."""
    database, server = servers
    needed = trials / EPOCH_S
    with_file = alone(sustained, home / f"file-{trials}", trials, seconds, None)
    file_kib = _kib(home / f"file-{trials}" / "study.db") / with_file.reports
    before = _database_kib(database, "studies")
    with_server = alone(sustained, home / f"server-{trials}", trials, seconds, database.url("studies"))
    server_kib = (_database_kib(database, "studies") - before) / with_server.reports
    before = _database_kib(database, "runs")
    mlflow = alone(written, home / f"file-{trials}", server.uri, seconds, _processes(servers))
    runs_kib = (_database_kib(database, "runs") - before) / mlflow.records
    told = f"{trials:,} trials"
    console.print(
        f"{told}: {with_file.starts_per_s:.0f} and {with_server.starts_per_s:.0f} starts/s (SQLite, PostgreSQL), "
        f"{mlflow.starts_per_s:.1f} runs begun/s in MLflow; longest report {with_file.longest_ms:.0f} ms and "
        f"{with_server.longest_ms:.0f} ms; {with_file.reports} and {with_server.reports} reports, {mlflow.records} "
        "records written"
    )
    return [
        row(f"reports/s of the driver, SQLite, {told}", with_file.reports_per_s, needed, 1),
        row(f"reports/s of the driver, PostgreSQL, {told}", with_server.reports_per_s, needed, 1),
        row(f"reports a processor second of the driver, SQLite, {told}", with_file.reports_per_cpu_s, needed, 1),
        row(f"reports a processor second of the driver, PostgreSQL, {told}", with_server.reports_per_cpu_s, needed, 1),
        row(f"reports/s of MLflow's writer, {told}", mlflow.reports_per_s, needed, 1),
        row(f"records a processor second of writer and server, {told}", 1000 / mlflow.cpu_ms, needed, 1),
        limit(f"MiB of the driver, {told}", max(with_file.driver_mib, with_server.driver_mib), MEMORY_MIB),
        limit(f"KiB of SQLite a report, {told}", file_kib, 10.0),
        limit(f"KiB of PostgreSQL a report, {told}", server_kib, 10.0),
        limit(f"KiB of MLflow's database a record, {told}", runs_kib, 30.0),
    ]


def history_rows(home: Path, trials: int) -> list[Row]:
    """Reading a study of so many trials, and going on with it."""
    folder = home / f"history-{trials}"
    mib = write_history(folder, trials) / 2**20
    found, gone_on = alone(read, folder), alone(resume, folder)
    told = f"{trials:,} trials"
    return [
        limit(f"MiB of the study's file, {told} that have ended", mib, 10_240.0),
        limit(f"s to read {told}", found.seconds, READ_S),
        limit(f"MiB of memory to read {told}", found.mib, MEMORY_MIB),
        limit(f"s to go on after {told}", gone_on.seconds, RESUME_S),
        limit(f"MiB of the driver after {told}", gone_on.mib, MEMORY_MIB),
        limit(f"ms a new trial after {told}", gone_on.start_ms, START_MS),
    ]


def ingest_rows(recordings: int) -> list[Row]:
    """Handing out so many recordings."""
    found = alone(handed, recordings)
    told = f"{recordings:,} recordings"
    return [
        limit(f"s to hand out {told}", found.seconds, HANDED_S),
        limit(f"MiB that the driver grows by, {told}", found.mib, 1024.0),
    ]


def _processes(servers: tuple[Postgres, MlflowServer]) -> list[int]:
    """Of the servers, which start all others."""
    database, server = servers
    assert server._process is not None
    postmaster = (database._data / "postmaster.pid").read_text(encoding="ascii").split()[0]
    return [server._process.pid, int(postmaster)]


def _kib(path: Path) -> float:
    """Of a database's file, and its journal."""
    return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*")) / 1024


def _database_kib(server: Postgres, name: str) -> float:
    import sqlalchemy

    engine = sqlalchemy.create_engine(server.url(name))
    try:
        with engine.connect() as connection:
            size = connection.execute(sqlalchemy.text("SELECT pg_database_size(current_database())")).scalar_one()
    finally:
        engine.dispose()
    return float(size) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="*", default=[10, 100, 1000, 10_000])
    parser.add_argument("--history", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--recordings", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        if arguments.trials:
            with studies_and_runs("scaling", home) as servers:
                for trials in arguments.trials:
                    rows += concurrent_rows(home, trials, arguments.seconds, servers)
        for trials in arguments.history:
            rows += history_rows(home, trials)
    if arguments.recordings:
        rows += ingest_rows(arguments.recordings)
    finish(rows, arguments.json)


if __name__ == "__main__":
    main()
