"""The engine over a study in SQLite: what a report and a new trial cost, and what ten thousand trials do to it.

Without a model in the sampler: suggestions are measured apart, by search_overhead.py, which calls this.
"""

import resource
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.table import Row, console, limit
from tuner.assembly import engine_of, scheduler_of
from tuner.engine import Engine
from tuner.ledger import Ledger
from tuner.schedulers.decision import Decision
from tuner.spec.search_spec import SearchSpec, load_spec
from tuner.study.record import TrialState
from tuner.study.study import Study

MANY = 10_000
FEW = 60  # trials whose calls are timed one by one
METRICS = 20  # a report carries, as a trial's does
SIX = """\
base: {loss.box: 1}
space:
  loss.box: {uniform: [2, 15]}
  loss.cls: {log_uniform: [0.3, 10]}
  loss.focal_gamma: {uniform: [0, 3]}
  optimizer.lr: {log_uniform: [1e-4, 2e-3]}
  optimizer.weight_decay: {log_uniform: [1e-5, 1e-2]}
  optimizer.name: {choice: [sgd, adamw]}
"""
SPEC = f"""\
name: overhead
{SIX}sampler: {{name: SAMPLER}}
scheduler: {{name: promotion, grace: 1, reduction_factor: 3}}
budget: {{trials: 20000, epochs: 9}}
"""


class Driven:
    """A search whose trials cost nothing."""

    def __init__(self, folder: Path, sampler: str) -> None:
        self.folder = folder
        (folder / "spec.yaml").write_text(SPEC.replace("SAMPLER", sampler))
        self.spec: SearchSpec = load_spec(folder / "spec.yaml")
        self.reports_ms: list[float] = []
        self.starts_ms: list[float] = []
        self._take(Study.create(folder, self.spec, "overhead-1"))

    def resume(self) -> float:
        """A new process finds the study; seconds it took."""
        self.study.close()
        begun = time.perf_counter()
        self._take(Study.resume(self.folder, self.spec, "overhead-1"))
        return time.perf_counter() - begun

    def _take(self, study: Study) -> None:
        self.study = study
        self.engine: Engine = engine_of(self.spec, study, scheduler_of(self.spec), Ledger(self.spec), 1)

    def run(self, trials: int) -> None:
        """Until so many trials more have begun."""
        until = len(self.study.trials()) + trials
        while len(self.study.trials()) < until:
            begun = time.perf_counter()
            record = self.engine.next()
            self.starts_ms.append(1000 * (time.perf_counter() - begun))
            assert record is not None
            self._train(record.number)

    def _train(self, number: int) -> None:
        while True:
            record = self.study.trial(number)
            epoch, epochs = record.last_epoch + 1, int(record.config["training.epochs"])
            value = float(record.config["loss.box"]) / 20 * (1 - 0.5**epoch)
            metrics = {f"metric{place}": value for place in range(METRICS)}
            metrics |= {"epoch": epoch, "map": value, "map50": value, "map75": value, "best": 1.0}
            metrics |= {"last": float(epoch == epochs), "loss": 1.0, "steps": 5.0, "skipped_steps": 0.0}
            begun = time.perf_counter()
            _, decision, _ = self.engine.report(number, metrics, f"trials/{number:04d}/checkpoint_{epoch:06d}", epoch)
            self.reports_ms.append(1000 * (time.perf_counter() - begun))
            if epoch == epochs:
                self.engine.ended(number, TrialState.COMPLETE)
                return
            if decision is not Decision.CONTINUE:
                self.engine.ended(number, TrialState.PAUSED if decision is Decision.PAUSE else TrialState.STOPPED)
                return


def engine_rows(trials: int = MANY) -> list[Row]:
    """Reports and starts at the beginning and at so many trials, resuming, and memory."""
    with tempfile.TemporaryDirectory() as name:
        driven = Driven(Path(name), "random")
        driven.run(FEW)
        early = statistics.median(driven.reports_ms), statistics.median(driven.starts_ms)
        driven.run(trials - FEW)
        driven.reports_ms.clear()
        driven.starts_ms.clear()
        driven.run(FEW)
        late = statistics.median(driven.reports_ms), statistics.median(driven.starts_ms)
        resume_s = driven.resume()
        driven.run(3)
        size_mib = (Path(name) / "study.db").stat().st_size / 2**20
        driven.study.close()
    console.print(f"the database of {trials} trials has {size_mib:.0f} MiB")
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [
        limit("ms a report", early[0], 5.0),
        limit("ms a new trial, without the suggestion", early[1], 50.0),
        limit(f"ms a report at {trials} trials", late[0], 5.0),
        limit(f"ms a new trial at {trials} trials", late[1], 50.0),
        limit(f"s to resume {trials} trials", resume_s, 20.0),
        limit(f"MiB of memory at {trials} trials", peak_mib, 1024.0),
    ]
