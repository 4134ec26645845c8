"""What a history teaches about the last epoch of any configuration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tuner.samplers.axes import Floats
from tuner.samplers.encoding import Encoding
from tuner.samplers.evidence import Bins, Evidence, finite, gathered, telling
from tuner.samplers.observation import Observation, Stage
from tuner.samplers.relevance import relevant
from tuner.samplers.surrogate import Integers, Kernel, Points, Surrogate, fitted, log_likelihoods
from tuner.samplers.warp import Warp, warps

MOST_POINTS = 450  # of the search itself; a proposal's time grows with their cube
MOST_EARLIER_POINTS = 250  # of all earlier searches together
FIT_POINTS = 250  # that length scales and noise are fitted to
FIT_STEPS = 15  # from the last fit, so a search's fits go on where the one before ended
GROWTH = 1.08  # how many times more points call for a new fit
# Before so many trials have reported, the spread of values says nothing that would compare with an earlier search's.
FEWEST_TRIALS = 4
MEMORY = "kernel"


@dataclass(frozen=True)
class Task:
    """One search's points on the model's scale."""

    evidence: Evidence
    points: Points
    warp: Warp
    values_N: Floats
    weights_N: Floats  # of one epoch's noise

    def taken(self, rows: Integers) -> tuple[Points, Floats, Floats]:
        """Points, values and weights of some rows."""
        return self.points.taken(rows), self.values_N[rows], self.weights_N[rows]


@dataclass(frozen=True)
class Model:
    """A surrogate of the last epoch, on the warp's scale, and the search's trials that it has seen."""

    encoding: Encoding
    surrogate: Surrogate
    end: float  # the time of the last epoch
    trials: Sequence[Observation]
    points_NB: Floats  # of these trials
    task: Task | None  # None before enough of the search's own trials have reported
    memory: Mapping[str, list[float] | float]  # what the next model goes on from
    sample: Integers  # rows of the task that were fitted to: all points of some trials

    def asked(self, points_NB: Floats) -> Points:
        """Configurations that nobody has tried, at the last epoch."""
        count = len(points_NB)
        nobody_N, own_N = np.full(count, -1, dtype=np.intp), np.zeros(count, dtype=np.intp)
        return Points(self.encoding.features(points_NB), np.full(count, self.end), nobody_N, own_N)

    def tried(self) -> Points:
        """The trials' configurations at the last epoch."""
        points = self.asked(self.points_NB)
        return Points(points.features_NF, points.times_N, np.arange(len(points), dtype=np.intp), points.tasks_N)


class Learner:
    """Makes models of histories with one objective."""

    def __init__(self, encoding: Encoding, epochs: int, seed: int) -> None:
        self._encoding = encoding
        self._bins = Bins(epochs)
        self._seed = seed

    def learned(self, history: Sequence[Observation], generator: np.random.Generator) -> Model | None:
        """The model after this history; None if nothing has reported."""
        known = [trial for trial in history if trial.stage is not Stage.LOST and finite(trial.curve, 0)]
        sources = sorted({trial.source for trial in known if trial.source is not None})
        own = telling([trial for trial in known if trial.source is None], self._bins, MOST_POINTS, self._seed)
        points_NB = self._encoding.encoded([trial.values for trial in own])
        prior = Kernel.prior(self._encoding.groups_F, self._encoding.group_count, 0)
        tasks: list[Task] = []
        if len(own) >= FEWEST_TRIALS or (own and not sources):
            tasks.append(self._task(own, 0, prior, generator))
        for source in sources:
            earlier = [trial for trial in known if trial.source == source]
            chosen = telling(earlier, self._bins, MOST_EARLIER_POINTS // len(sources), self._seed)
            index = 1 + sum(bool(task.points.tasks_N[0]) for task in tasks)
            task = self._task(chosen, index, prior, generator)
            if not (tasks and tasks[0].points.tasks_N[0] == 0) or _tells(task, tasks[0], prior):
                tasks.append(task)
        if not tasks:
            return None
        kernel, fitted_to = self._remembered(history, sum(bool(task.points.tasks_N[0]) for task in tasks))
        samples = [_sample(task, FIT_POINTS // len(tasks), generator) for task in tasks]
        count = sum(len(task.points) for task in tasks)
        if count >= GROWTH * fitted_to or count < fitted_to:
            parts = [task.taken(rows) for task, rows in zip(tasks, samples, strict=True)]
            kernel, fitted_to = fitted(kernel, *_joined(parts), FIT_STEPS), count
        surrogate = Surrogate(kernel, *_joined([(t.points, t.values_N, t.weights_N) for t in tasks]))
        own_task = tasks[0] if tasks[0].points.tasks_N[0] == 0 else None
        memory: dict[str, list[float] | float] = {MEMORY: [float(v) for v in kernel.vector], "points": fitted_to}
        return Model(self._encoding, surrogate, self._bins.end, own, points_NB, own_task, memory, samples[0])

    def _remembered(self, history: Sequence[Observation], tasks: int) -> tuple[Kernel, float]:
        """The latest fit and its number of points; the prior at first, or when the tasks have become others."""
        kernel = Kernel.prior(self._encoding.groups_F, self._encoding.group_count, tasks)
        for trial in reversed(history):
            vector = trial.memory.get(MEMORY) if trial.source is None else None
            if vector is not None and len(vector) == len(kernel.vector):
                return kernel.moved(np.array(vector)), float(trial.memory["points"])
        return kernel, 0.0

    def _task(self, trials: Sequence[Observation], index: int, kernel: Kernel, generator: np.random.Generator) -> Task:
        evidence = gathered(trials, self._bins)
        features_NF = self._encoding.features(self._encoding.encoded([trial.values for trial in trials]))
        tasks_N = np.full(len(evidence.rows_N), index, dtype=np.intp)
        # A task's trials get numbers of their own.
        trials_N = evidence.rows_N + index * 1_000_000
        points = Points(features_NF[evidence.rows_N], evidence.times_N, trials_N, tasks_N)
        candidates = [_task_with(evidence, points, warp) for warp in warps(evidence.values_N)]
        rows = _sample(candidates[0], FIT_POINTS, generator)
        views = [(task.values_N[rows], task.weights_N[rows]) for task in candidates]
        likelihoods = log_likelihoods(kernel, points.taken(rows), views)
        # Of the metric's own values, so that warps can be compared.
        slopes = [float(np.log(task.warp.slopes(evidence.values_N[rows])).sum()) for task in candidates]
        return candidates[int(np.argmax(np.add(likelihoods, slopes)))]


def _task_with(evidence: Evidence, points: Points, warp: Warp) -> Task:
    values_N, slopes_N = warp(evidence.values_N), warp.slopes(evidence.values_N)
    # Noise of the metric grows with the warp's slope, noise of the model's scale does not: between both.
    return Task(evidence, points, warp, values_N, slopes_N / slopes_N.mean() / evidence.counts_N)


def _tells(task: Task, own: Task, prior: Kernel) -> bool:
    everything = np.arange(len(task.points), dtype=np.intp)
    return relevant(prior, task.taken(everything), own.points, own.values_N, own.evidence.bins_N)


def _sample(task: Task, limit: int, generator: np.random.Generator) -> Integers:
    """Rows of at most `limit` points, all of a trial or none."""
    if len(task.points) <= limit:
        return np.arange(len(task.points), dtype=np.intp)
    ranks = generator.permutation(len(task.evidence.trials))[task.evidence.rows_N]
    order = np.argsort(ranks, kind="stable")
    ends = np.flatnonzero(np.diff(ranks[order], append=-1)) + 1
    return np.sort(order[: int(ends[ends <= limit].max(initial=int(ends[0])))])


def _joined(parts: Sequence[tuple[Points, Floats, Floats]]) -> tuple[Points, Floats, Floats]:
    points, values_N, weights_N = parts[0]
    for more, more_values_N, more_weights_N in parts[1:]:
        points = points.joined(more)
        values_N = np.concatenate([values_N, more_values_N])
        weights_N = np.concatenate([weights_N, more_weights_N])
    return points, values_N, weights_N
