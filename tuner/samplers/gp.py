"""The `gp` sampler: expected improvement at the last epoch, learned from every epoch of every trial."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import ndtri

from tuner.samplers.acquisition import PARENTS, best_candidate, improvement_of
from tuner.samplers.axes import Floats
from tuner.samplers.encoding import Encoding
from tuner.samplers.feasibility import feasible, log_chance
from tuner.samplers.model import Learner, Model
from tuner.samplers.observation import Observation, Proposal, Stage
from tuner.samplers.several import scalarised, weights
from tuner.samplers.surrogate import Points, Surrogate
from tuner.space import Space

BY = "by"  # in a proposal's memory: who made it
QUANTILES_N: Floats = ndtri((np.arange(64) + 0.5) / 64)


class GaussianProposer:
    """One Gaussian process over the space and the logarithm of the epoch.

    A proposal depends on the seed, its number and the history alone; the history carries the last fit.
    """

    def __init__(self, space: Space, *, seed: int, epochs: int, objectives: int, startup_trials: int) -> None:
        self._encoding = Encoding(space)
        self._seed, self._startup, self._objectives = seed, startup_trials, objectives
        self._learner = Learner(self._encoding, epochs, seed)

    def propose(self, number: int, history: Sequence[Observation]) -> Proposal:
        """Values for trial `number`: Sobol points first, unless earlier searches tell where to begin."""
        if self.starting(number, history):
            return self.started(number)
        single = self.single(number, history)
        model = self.model(number, single)
        return self.started(number) if model is None else self.improved(model, number, single)

    def single(self, number: int, history: Sequence[Observation]) -> Sequence[Observation]:
        """The history by one objective: its own, or the several ones weighted at random."""
        if self._objectives == 1:
            return history
        return scalarised(history, weights(self._objectives, np.random.default_rng((self._seed, number, 1))))

    def starting(self, number: int, history: Sequence[Observation]) -> bool:
        """Whether the search still has to look around: every second time where earlier searches tell where to begin."""
        own = sum(trial.source is None and trial.stage is not Stage.LOST for trial in history)
        if own >= self._startup:
            return False
        return number % 2 == 1 or not any(trial.source is not None and trial.curve for trial in history)

    def started(self, number: int) -> Proposal:
        """A point of the Sobol sequence."""
        return Proposal(self._encoding.decoded(self._encoding.spread(number, self._seed)), {BY: "quasi-random"})

    def model(self, number: int, history: Sequence[Observation]) -> Model | None:
        """What the history teaches; None if nothing has reported."""
        return self._learner.learned(history, np.random.default_rng((self._seed, number)))

    def improved(self, model: Model, number: int, history: Sequence[Observation]) -> Proposal:
        """The configuration that is expected to improve most on the best so far."""
        tried = model.tried()
        means_N = model.surrogate.means(tried)
        allowed_N = np.array([feasible(trial) for trial in model.trials], dtype=bool)
        best = float(means_N[allowed_N].max()) if allowed_N.any() else None
        unfinished = self._unfinished(model, tried, history)
        surrogate = model.surrogate.believing(unfinished) if len(unfinished) else model.surrogate
        chance = log_chance(self._encoding, history)
        score = self._score(model, surrogate, best, chance)
        own_NB = self._encoding.encoded([trial.values for trial in history if trial.source is None])
        order = np.argsort(-np.where(allowed_N, means_N, -np.inf))[:PARENTS]
        chosen_B = best_candidate(self._encoding, score, own_NB, model.points_NB[order], [self._seed, number])
        gain = None if best is None or model.task is None else self._gain(model, surrogate, chosen_B, best)
        return Proposal(self._encoding.decoded(chosen_B), {BY: "gp", **model.memory}, gain)

    def _unfinished(self, model: Model, tried: Points, history: Sequence[Observation]) -> Points:
        """Trials that may go on, as they are expected to end."""
        going = [row for row, trial in enumerate(model.trials) if trial.stage in (Stage.RUNNING, Stage.WAITING)]
        fresh = [trial for trial in history if trial.source is None and trial.stage is Stage.RUNNING]
        fresh = [trial for trial in fresh if not trial.curve]
        asked = model.asked(self._encoding.encoded([trial.values for trial in fresh]))
        numbers_N = len(tried) + np.arange(len(fresh), dtype=np.intp)
        waiting = tried.taken(np.array(going, dtype=np.intp))
        return waiting.joined(Points(asked.features_NF, asked.times_N, numbers_N, asked.tasks_N))

    def _score(
        self, model: Model, surrogate: Surrogate, best: float | None, chance: Callable[[Floats], Floats] | None
    ) -> Callable[[Floats], Floats]:
        """Log expected improvement and log chance of being feasible; without anything feasible yet the latter alone."""
        if best is None and chance is not None:
            return chance
        if best is None:  # earlier searches alone: what they expect of the best of a few hundred
            generator = np.random.default_rng(self._seed)
            best = float(surrogate.means(model.asked(self._encoding.drawn(500, generator))).max())
        improvement = improvement_of(surrogate, model.asked, best)
        if chance is None:
            return improvement
        return lambda points_NB: improvement(points_NB) + chance(points_NB)

    def _gain(self, model: Model, surrogate: Surrogate, chosen_B: Floats, best: float) -> float:
        """Expected improvement in the metric's units."""
        assert model.task is not None
        means_N, deviations_N = surrogate.predicted(model.asked(chosen_B[None, :]))
        values_N = model.task.warp.inverse(means_N[0] + deviations_N[0] * QUANTILES_N)
        base = float(model.task.warp.inverse(np.array([best]))[0])
        return float(np.maximum(values_N - base, 0.0).mean())
