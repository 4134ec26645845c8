"""Runs what is missing of a benchmark's searches: a few processes at a time, each in the environment it needs."""

import contextlib
import json
import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.search_job import Job, Runs
from benchmarks.table import console

WORKER = Path(__file__).parent / "search_worker.py"
# A search is one thread's work, and others may be measured beside it.
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
Interpreter = Callable[[Job], Path]


def complete(jobs: Sequence[Job], runs: Runs, surrogate: Path, interpreter: Interpreter, processes: int) -> None:
    """Run the jobs that have no result yet.

    Raises:
        RuntimeError: a worker failed; its own words are on standard error.
    """
    missing = [job for job in dict.fromkeys(jobs) if job not in runs]
    if missing:
        _Team(missing, runs, surrogate, interpreter).work(processes)


class _Team:
    """Threads that feed a worker process each, and take its answers."""

    def __init__(self, missing: list[Job], runs: Runs, surrogate: Path, interpreter: Interpreter) -> None:
        self._missing: queue.SimpleQueue[Job] = queue.SimpleQueue()
        for job in missing:
            self._missing.put(job)
        self._runs, self._surrogate, self._interpreter = runs, surrogate, interpreter
        self._lock = threading.Lock()
        self._total, self._done, self._told = len(missing), 0, time.monotonic()
        self._failed: Job | None = None

    def work(self, processes: int) -> None:
        threads = [threading.Thread(target=self._feed) for _ in range(min(processes, self._total))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._failed is not None:
            raise RuntimeError(f"the worker failed on {self._failed}")

    def _feed(self) -> None:
        current, worker = None, None
        while self._failed is None and not self._missing.empty():
            try:
                job = self._missing.get_nowait()
            except queue.Empty:
                break
            if worker is None or self._interpreter(job) != current:
                _end(worker)
                current = self._interpreter(job)
                worker = self._start(current)
            assert worker.stdin is not None
            assert worker.stdout is not None
            worker.stdin.write(job.line() + "\n")
            worker.stdin.flush()
            self._take(job, worker.stdout.readline())
        _end(worker)

    def _take(self, job: Job, answer: str) -> None:
        with self._lock:
            if not answer:
                self._failed = job
                return
            self._runs.add(job, json.loads(answer))
            self._done += 1
            if time.monotonic() - self._told > 30 or self._done == self._total:
                self._told = time.monotonic()
                console.print(f"  {self._done} of {self._total}, last {job.strategy} on task {job.task}")

    def _start(self, interpreter: Path) -> subprocess.Popen[str]:
        command = [str(interpreter), str(WORKER), str(self._surrogate)]
        environment = {**os.environ, **THREADS}
        return subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )


def _end(worker: subprocess.Popen[str] | None) -> None:
    if worker is None:
        return
    assert worker.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # one that failed has said why
        worker.stdin.close()
    worker.wait()
