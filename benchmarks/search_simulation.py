"""A search in virtual time: four workers train what a strategy tells them, until the budget's epochs are trained.

An epoch takes the surrogate's own time for the configuration, which decides who reports before whom. The budget counts
epochs, whatever they take: a full training is 52. Scores are read when 25, 50 and 100 % of the budget are spent. A
strategy then names a trial; what it is left with is that trial's checkpoint of the best epoch as observed, and its
score is the true accuracy of that checkpoint, free of noise. The rule is the same for all.
"""

import heapq
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from benchmarks.search_job import READINGS, Job
from benchmarks.search_surrogate import EPOCHS, Config, Curve, Surrogate
from tuner.samplers.observation import Stage
from tuner.schedulers.decision import Decision

WORKERS = 4
NOISE_STREAM = 0x401E  # keeps these draws apart from a sampler's, which may have the same seed and number


@dataclass
class Trial:
    """A configuration on its way; strategies see everything but `truth`."""

    number: int
    config: Config
    truth: Curve
    curve: dict[int, float] = field(default_factory=dict)  # as observed, by epoch from 1
    stage: Stage = Stage.RUNNING

    @property
    def best_epoch(self) -> int:
        return max(self.curve, key=lambda epoch: self.curve[epoch])


class Strategy(Protocol):
    """A searcher and its scheduler."""

    def next(self, trials: Sequence[Trial]) -> int | Config:
        """For a free worker: the waiting trial to go on with, or the configuration of a new one."""

    def report(self, trial: Trial, epoch: int, value: float) -> Decision:
        """Take in an epoch; what becomes of the trial. It is asked after the last epoch, too."""

    def end(self, trial: Trial) -> None:
        """The trial is over: stopped, or trained in full."""

    def choose(self, trials: Sequence[Trial]) -> int:
        """The trial that the search would hand over now, of those that have reported."""


@dataclass
class Outcome:
    """How a search went."""

    scores: list[float] = field(default_factory=list)  # at each reading
    trials: int = 0
    resumed: int = 0
    suggesting_ms: float = 0.0  # of this process's time, for each new configuration


def best_observed(trials: Sequence[Trial]) -> int:
    """The trial with the highest value that was ever reported."""
    return max((trial for trial in trials if trial.curve), key=lambda trial: max(trial.curve.values())).number


class Simulation:
    """One search."""

    def __init__(self, strategy: Strategy, surrogate: Surrogate, job: Job) -> None:
        self._strategy, self._surrogate, self._job = strategy, surrogate, job
        self._trials: list[Trial] = []
        self._queue: list[tuple[float, int, Trial]] = []  # when a worker's current epoch ends
        self._outcome = Outcome()
        self._suggesting_s = 0.0

    def run(self) -> Outcome:
        """Until the budget is spent."""
        readings = [round(share * self._job.budget * EPOCHS) for share in READINGS]
        for worker in range(WORKERS):
            self._assign(worker, now=0.0)
        for done in range(1, readings[-1] + 1):
            now, worker, trial = heapq.heappop(self._queue)
            self._finish_epoch(trial)
            if done in readings:
                chosen = self._trials[self._strategy.choose(self._trials)]
                self._outcome.scores.append(float(chosen.truth.accuracy[chosen.best_epoch - 1]))
            if trial.stage is Stage.RUNNING:
                self._begin_epoch(worker, now, trial)
            else:
                self._assign(worker, now)
        self._outcome.trials = len(self._trials)
        self._outcome.suggesting_ms = 1000 * self._suggesting_s / len(self._trials)
        return self._outcome

    def _finish_epoch(self, trial: Trial) -> None:
        epoch = len(trial.curve) + 1
        luck = np.random.default_rng((self._job.seed, trial.number, epoch, NOISE_STREAM)).normal()
        trial.curve[epoch] = float(trial.truth.accuracy[epoch - 1] + self._job.noise * luck)
        decision = self._strategy.report(trial, epoch, trial.curve[epoch])
        if epoch == EPOCHS or decision is Decision.STOP:
            trial.stage = Stage.ENDED
            self._strategy.end(trial)
        elif decision is Decision.PAUSE:
            trial.stage = Stage.WAITING

    def _assign(self, worker: int, now: float) -> None:
        begun = time.process_time()
        answer = self._strategy.next(self._trials)
        self._suggesting_s += time.process_time() - begun
        if isinstance(answer, int):
            trial = self._trials[answer]
            trial.stage = Stage.RUNNING
            self._outcome.resumed += 1
        else:
            trial = Trial(len(self._trials), answer, self._surrogate.train(self._job.task, answer))
            self._trials.append(trial)
        self._begin_epoch(worker, now, trial)

    def _begin_epoch(self, worker: int, now: float, trial: Trial) -> None:
        heapq.heappush(self._queue, (now + trial.truth.seconds[len(trial.curve)], worker, trial))
