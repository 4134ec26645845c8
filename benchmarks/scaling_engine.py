"""Many simulated workers that report to the real driver: searcher, engine, study, scheduler and the spool for MLflow.

All of a search's trials run at one time. Workers are what Ray's trials are to the driver; they train nothing, and
report as fast as the driver takes it in, so that what is measured is the most that it can. MLflow is away meanwhile:
the spool is written, and read by scaling_mlflow.py.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.search_engine import SIX
from benchmarks.stopwatch import peak_bytes
from tuner.assembly import engine_of, scheduler_of
from tuner.cluster import Room
from tuner.halt import Halt
from tuner.ledger import Ledger
from tuner.prices import Meter
from tuner.ray_events import StudySearcher, TrialEvents
from tuner.search_folder import Identity
from tuner.spec.search_spec import SearchSpec, load_spec
from tuner.study.address import URL_VARIABLE
from tuner.study.study import Study
from tuner.tracking import Tracker

METRICS = 20  # beside the driver's own, as many as a trial's
AWAY = "http://127.0.0.1:9"  # nobody answers at the port of "discard"
FIRST_RUNG = 27  # no trial stops before: all that are begun report
SPEC = f"""\
name: scaling
{SIX}sampler: {{name: random}}
scheduler: {{name: asha, grace: 27, reduction_factor: 3}}
budget: {{trials: 2000000, epochs: 81}}
"""


@dataclass(frozen=True)
class Sustained:
    """What the driver did."""

    starts_per_s: float
    reports_per_s: float
    reports_per_cpu_s: float  # of the driver's own processor time, whatever else runs on the machine
    longest_ms: float  # that a report took
    reports: int
    driver_mib: float  # resident at most


def spec_in(folder: Path) -> SearchSpec:
    """The search's spec, written where a search has it."""
    folder.mkdir(exist_ok=True)
    (folder / "spec.yaml").write_text(SPEC, encoding="utf-8")
    return load_spec(folder / "spec.yaml")


def sustained(folder: Path, trials: int, seconds: float, url: str | None) -> Sustained:
    """Start so many trials, and have them report in turn for so long, or to their first rung.

    Args:
        folder: of the search.
        trials: at one time.
        seconds: of reports.
        url: the study's database; a file in the folder if None.
    """
    os.environ["MLFLOW_TRACKING_URI"] = AWAY
    if url is not None:
        os.environ[URL_VARIABLE] = url
    spec = spec_in(folder)
    study = Study.create(folder, spec, f"scaling-{trials}")
    engine = engine_of(spec, study, scheduler_of(spec), Ledger(spec), trials)
    tracker = Tracker.begin(spec, study, folder, Identity(study.search_id, "nowhere", "0" * 64), lambda _: None)
    events = TrialEvents(engine, study, Halt(5), Meter({}, spec.file.resources), folder, [tracker])
    searcher = StudySearcher(engine, folder, _Room(trials))
    workers: list[Any] = []
    report_s: list[float] = []
    start_s = start_cpu_s = 0.0
    begun_cpu = time.process_time()
    for _ in range(trials):
        begun, cpu = time.perf_counter(), time.process_time()
        workers.append(_worker(searcher, events, folder))
        start_s += time.perf_counter() - begun
        start_cpu_s += time.process_time() - cpu
        report_s.append(_report(workers[-1], events, 1))  # so that a spool has both from its beginning
    until = time.perf_counter() + seconds
    rounds = ((worker, epoch) for epoch in range(2, FIRST_RUNG) for worker in workers)
    while time.perf_counter() < until and (one := next(rounds, None)) is not None:
        report_s.append(_report(one[0], events, one[1]))
    cpu_s = time.process_time() - begun_cpu - start_cpu_s
    study.close()
    return Sustained(
        starts_per_s=trials / start_s,
        reports_per_s=len(report_s) / sum(report_s),
        reports_per_cpu_s=len(report_s) / cpu_s,
        longest_ms=1000 * max(report_s),
        reports=len(report_s),
        driver_mib=peak_bytes() / 2**20,
    )


class _Room(Room):
    """A cluster that has room for so many trials."""

    def __init__(self, trials: int) -> None:
        self._trials = trials

    def __call__(self) -> int:
        return self._trials

    def wants(self, trials: int | None) -> None:
        """It grows for nobody."""


def _worker(searcher: StudySearcher, events: TrialEvents, folder: Path) -> Any:
    """A worker with a trial, as Ray shows it to the driver."""
    assignment = searcher.suggest("")
    assert isinstance(assignment, dict)
    trial = SimpleNamespace(config=assignment, path=f"{folder}/trials/{assignment['number']}", last_result=None)
    events.on_trial_start(trial=trial)
    return trial


def _report(worker: Any, events: TrialEvents, epoch: int) -> float:
    """An epoch is reported; the seconds it took."""
    result = _result(worker.config["number"], epoch)
    begun = time.perf_counter()
    events.take(worker, result)
    events.on_trial_result(trial=worker, result=result)
    return time.perf_counter() - begun


def _result(number: int, epoch: int) -> dict[str, Any]:
    value = 0.5 - 0.4 * 0.9**epoch + 1e-6 * number
    metrics = {f"metric{place}": value for place in range(METRICS)}
    metrics |= {"epoch": epoch, "map": value, "map50": value, "map75": value, "best": 1.0, "last": 0.0, "loss": 1.0}
    metrics |= {"steps": 5.0, "skipped_steps": 0.0}
    ray_s = {"time_total_s": 60.0 * epoch, "hostname": f"node{number % 1000}", "node_ip": "192.0.2.1"}
    files = {"checkpoint_dir_name": f"checkpoint_{epoch:06d}"}
    return {**metrics, **ray_s, **files, "reported": list(metrics), "diagnosis": None}
