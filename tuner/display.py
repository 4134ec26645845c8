"""What a search shows while it runs: a live table on a terminal, plain lines anywhere else."""

import math
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table

from tuner.result import SearchResult
from tuner.search_folder import REPORT_FILE
from tuner.spec.search_spec import EPOCHS, SearchSpec
from tuner.study.record import TrialKind, TrialRecord, TrialState
from tuner.wording import trial_told

_COLOURS = {
    TrialState.RUNNING: "cyan",
    TrialState.PAUSED: "blue",
    TrialState.PREEMPTED: "blue",
    TrialState.COMPLETE: "green",
    TrialState.STOPPED: "yellow",
    TrialState.DIVERGED: "magenta",
    TrialState.OUT_OF_MEMORY: "magenta",
    TrialState.INFEASIBLE: "yellow",
    TrialState.FAILED: "red",
}


class Display:
    """A listener of the search that shows it; a context manager, for the live table has to be closed."""

    def __init__(self, stream: TextIO, spec: SearchSpec) -> None:
        self._console = Console(file=stream, highlight=False, soft_wrap=not stream.isatty())
        self._spec = spec
        self._trials: dict[int, TrialRecord] = {}
        self._best: dict[int, Mapping[str, float]] = {}  # each trial's best epoch
        self._reports = 0
        self._begun: float | None = None
        self._live = Live(get_renderable=self._view, console=self._console, refresh_per_second=2, transient=True)

    def __enter__(self) -> Self:
        """Open the live table, if there is a terminal to draw it on."""
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the live table; the result's own table follows it."""
        self._live.stop()

    def say(self, text: str) -> None:
        """Show a message, above the table if there is one."""
        self._console.print(text, markup=False)

    def restore(self, trials: Sequence[TrialRecord]) -> None:
        """Know the trials of earlier sessions."""
        for trial in trials:
            self._trials[trial.number] = trial
            if trial.metrics is not None:
                self._best[trial.number] = trial.metrics

    def started(self, trial: TrialRecord) -> None:
        """Show a trial that has begun, or goes on."""
        self._begun = self._begun or time.monotonic()
        self._trials[trial.number] = trial
        if trial.last_epoch:
            self._line(f"trial {trial.number} goes on after epoch {trial.last_epoch}")
        else:
            self._line(f"trial {trial.number} started: {self._named(trial)}")

    def waiting(self, trial: TrialRecord) -> None:
        """Show a trial that has given up its worker."""
        self._trials[trial.number] = trial
        self._line(f"trial {trial.number} {trial.state.value} after epoch {trial.last_epoch}")

    def reported(self, trial: TrialRecord, metrics: Mapping[str, float]) -> None:
        """Show a trial's epoch."""
        self._reports += 1
        self._trials[trial.number] = trial
        if metrics["best"]:
            self._best[trial.number] = metrics
        self._line(
            f"trial {trial.number} epoch {metrics['epoch']:.0f}/{self._epochs(trial)} "
            f"mAP {metrics['map']:.4f} mAP50 {metrics['map50']:.4f}{self._best_so_far()}{self._left()}"
        )

    def ended(self, trial: TrialRecord) -> None:
        """Show how a trial ended."""
        self._trials[trial.number] = trial
        scores = f", best mAP {trial.scores['map']:.4f} in epoch {trial.best_epoch}" if trial.scores else ""
        error = f": {trial.error}" if trial.error else ""
        self._line(f"trial {trial.number} {trial.state.value}{scores}{error}")

    def _line(self, text: str) -> None:
        if not self._console.is_terminal:
            self.say(text)

    def _view(self) -> Table:
        elapsed = time.monotonic() - self._begun if self._begun else 0.0
        counts = [f"{count} {state.value}" for state in TrialState if (count := self._count(state))]
        searched = sum(trial.origin.kind is TrialKind.SEARCH for trial in self._trials.values())
        waiting = max(self._spec.file.budget.trials - searched, 0)
        title = f"{', '.join(counts)}, {waiting} to come{self._best_so_far()} · {clock(elapsed)}{self._left()}"
        table = Table(title=title)
        leader = self._leader()
        for column in ("trial", "state", "epoch", "mAP", "mAP50", "sampled"):
            table.add_column(column)
        for number in sorted(self._trials):
            table.add_row(*self._row(number), style="bold" if number == leader else None)
        return table

    def _row(self, number: int) -> list[str]:
        trial = self._trials[number]
        best = self._best.get(number)
        scores = [f"{best['map']:.3f}", f"{best['map50']:.3f}"] if best else ["", ""]
        mark = "* " if number == self._leader() else "  "
        state = f"[{_COLOURS[trial.state]}]{trial.state.value}[/]"
        return [f"{mark}{number}", state, f"{trial.last_epoch}/{self._epochs(trial)}", *scores, self._named(trial)]

    def _named(self, trial: TrialRecord) -> str:
        return trial_told(trial, self._spec.file.names)

    def _epochs(self, trial: TrialRecord) -> int:
        """How many it is to have if it is not stopped."""
        return int(trial.config.get(EPOCHS, self._spec.file.budget.epochs))

    def _leader(self) -> int | None:
        objective = self._spec.file.objective
        sign = objective.mode.sign
        return max(self._best, key=lambda number: sign * self._best[number][objective.metric], default=None)

    def _best_so_far(self) -> str:
        leader = self._leader()
        return "" if leader is None else f" · best mAP {self._best[leader]['map']:.4f}"

    def _count(self, state: TrialState) -> int:
        return sum(trial.state is state for trial in self._trials.values())

    def _left(self) -> str:
        """The time left, from the epochs to come at the pace so far; trials to come cost what ended ones did."""
        if not self._begun or not self._reports:
            return ""
        budget = self._spec.file.budget
        ended = [t for t in self._trials.values() if t.state is not TrialState.RUNNING]
        mean = sum(trial.epochs for trial in ended) / len(ended) if ended else budget.epochs
        running = [number for number, trial in self._trials.items() if trial.state is TrialState.RUNNING]
        epochs = mean * max(budget.trials - len(self._trials), 0)
        epochs += sum(max(mean - self._trials[number].last_epoch, 0) for number in running)
        return f" · about {clock(epochs * (time.monotonic() - self._begun) / self._reports)} left"


def clock(seconds: float) -> str:
    """Minutes and seconds, 3:07."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def show_result(console: Console, result: SearchResult, dataset: str) -> None:
    """Print a search's trials, its winner against the default, and what to do next."""
    table = Table(title=result.search_id)
    for column in ("trial", "state", "epochs", "mAP", "mAP50", "sampled"):
        table.add_column(column)
    best, default = result.best, result.default
    for trial in result.trials:
        scores = [f"{trial.scores['map']:.3f}", f"{trial.scores['map50']:.3f}"] if trial.scores else ["", ""]
        mark = "* " if best is not None and trial.number == best.number else "  "
        why = trial.error or trial_told(trial)
        table.add_row(f"{mark}{trial.number}", trial.state.value, str(trial.epochs), *scores, why)
    console.print(table)
    for note in result.notes:
        console.print(f"warning: {note}", markup=False)
    for trial in result.trials:
        if trial.diagnosis is not None and (trial.scores is None or trial.scores["map"] == 0):
            console.print(f"mAP of trial {trial.number} is 0: {trial.diagnosis}", markup=False, soft_wrap=True)
    if best is None or best.scores is None:
        console.print("no trial came to a score", markup=False)
        return
    console.print(f"best is trial {best.number}: {trial_told(best)}", markup=False)
    console.print(f"  mAP {best.scores['map']:.4f}  mAP50 {best.scores['map50']:.4f}")
    if default is not None and default.scores is not None:
        console.print(f"  mAP {default.scores['map']:.4f}  mAP50 {default.scores['map50']:.4f}  with the default")
    _show_finalists(console, result)
    _show_front(console, result)
    report = result.folder / REPORT_FILE
    if report.is_file():
        console.print(f"report: {report}", markup=False, soft_wrap=True)
    checkpoint = result.folder / "best.safetensors"
    console.print(f"checkpoint: {checkpoint}\n\nnext:", markup=False, soft_wrap=True)
    for command in (f"best {result.folder}", f"evaluate {checkpoint} --data {dataset}", "ui"):
        console.print(f"  spiketune {command}", markup=False, soft_wrap=True)


def _show_finalists(console: Console, result: SearchResult) -> None:
    for one in result.finalists:
        bound = "" if math.isnan(one.lower) else f", 95 % sure above {one.lower:.4f}"
        values = " ".join(f"{value:.4f}" for value in one.values)
        console.print(f"  trial {one.number} again: mean {one.mean:.4f}{bound} ({values})", markup=False)
    found = result.verdict
    if found is not None:
        chance = "" if math.isnan(found.p_value) else f" (p = {found.p_value:.2g})"
        console.print(f"  trial {found.winner} {found.told} trial {found.runner_up}{chance}", markup=False)


def _show_front(console: Console, result: SearchResult) -> None:
    front, names = result.front, result.spec.file.objective.metrics
    if not front:
        return
    table = Table(title="front: no trial is better in everything")
    for column in ("trial", *names, "sampled"):
        table.add_column(column)
    for trial in sorted(front, key=lambda one: one.values):
        values = [f"{value:.4g}" for value in trial.values]
        table.add_row(str(trial.number), *values, trial_told(trial))
    console.print(table)
