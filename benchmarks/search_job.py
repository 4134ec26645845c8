"""One search of the benchmark, and the file that keeps what has been run."""

import ast
import dataclasses
import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner import samplers, schedulers

SAMPLE = "sample"  # not a search: a large random sample, which says what is good on a task
READINGS = (0.25, 0.5, 1.0)  # shares of the budget after which scores are read


def is_ours(strategy: str) -> bool:
    """Ours are named by sampler and scheduler: auto+promotion."""
    return "+" in strategy


@functools.cache
def code_digest() -> str:
    """Of the samplers and schedulers as they are, whatever their comments and docstrings say."""
    digest = hashlib.sha256()
    for folder in (samplers, schedulers):
        for file in sorted(Path(folder.__path__[0]).glob("*.py")):
            digest.update(ast.dump(_without_docstrings(file)).encode())
    return digest.hexdigest()[:12]


def _without_docstrings(file: Path) -> ast.Module:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return tree


@dataclass(frozen=True, slots=True)
class Job:
    """What is searched by whom, and with which luck."""

    strategy: str
    task: str
    seed: int = 0
    noise: float = 0.0  # standard deviation of what is added to every epoch's accuracy, in points
    budget: int = 20  # full trainings
    neighbours: tuple[str, ...] = ()  # tasks of which earlier trials are known
    code: str = ""  # digest of ours, so that a file of earlier runs is not taken for those of changed code

    @property
    def is_ours(self) -> bool:
        return is_ours(self.strategy)

    @classmethod
    def parse(cls, line: str) -> "Job":
        told = json.loads(line)
        return cls(**{**told, "neighbours": tuple(told["neighbours"])})

    def line(self) -> str:
        return json.dumps(dataclasses.asdict(self))


class Runs:
    """Results by job; with a file, they outlive the process: a line of JSON for each run."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._results: dict[Job, dict[str, Any]] = {}
        if file is not None and file.exists():
            for line in file.read_text(encoding="utf-8").splitlines():
                told = json.loads(line)
                self._results[Job.parse(json.dumps(told["job"]))] = told["result"]

    def __contains__(self, job: Job) -> bool:
        return job in self._results

    def __getitem__(self, job: Job) -> dict[str, Any]:
        return self._results[job]

    def searches(self) -> list[Job]:
        """The jobs that have been run, without samples."""
        return [job for job in self._results if job.strategy != SAMPLE]

    def add(self, job: Job, result: dict[str, Any]) -> None:
        self._results[job] = result
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as opened:
                opened.write(json.dumps({"job": dataclasses.asdict(job), "result": result}) + "\n")
