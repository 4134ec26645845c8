"""Samplers without a model of ours: random, quasi-random, and Optuna's grid, CMA-ES and NSGA."""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, BruteForceSampler, CmaEsSampler, NSGAIIISampler, NSGAIISampler

from data.errors import ConfigError
from tuner.domains import Real
from tuner.samplers.encoding import Encoding
from tuner.samplers.mirror import Mirror, recent, reseeded
from tuner.samplers.names import SamplerName
from tuner.samplers.observation import Observation, Proposal
from tuner.space import Space

MOST_TRIALS = 1000  # generations look back a few of their own size
MOST_GRID_TRIALS = 100_000  # a grid has to know all that it has tried


class RandomProposer:
    """Independent draws from the domains."""

    def __init__(self, space: Space, seed: int) -> None:
        self._encoding = Encoding(space)
        self._seed = seed

    def propose(self, number: int, history: Sequence[Observation]) -> Proposal:  # noqa: ARG002
        """Values for trial `number`, whatever came before."""
        drawn_NB = self._encoding.drawn(1, np.random.default_rng((self._seed, number)))
        return Proposal(self._encoding.decoded(drawn_NB[0]))


class QuasiRandomProposer:
    """Scrambled Sobol points: more even than random draws, at no cost."""

    def __init__(self, space: Space, seed: int) -> None:
        self._encoding = Encoding(space)
        self._seed = seed

    def propose(self, number: int, history: Sequence[Observation]) -> Proposal:  # noqa: ARG002
        """Values for trial `number`, whatever came before."""
        return Proposal(self._encoding.decoded(self._encoding.spread(number, self._seed)))


class OptunaProposer:
    """An Optuna sampler that keeps what it must remember with the trials: generations, an optimiser's state.

    It is made anew for each proposal, seeded by the trial's number, so a resumed search goes on as an uninterrupted
    one does.
    """

    def __init__(
        self, space: Space, make: Callable[[int], BaseSampler], *, seed: int, objectives: int, most_trials: int
    ) -> None:
        self._mirror = Mirror(space, objectives)
        self._space = space
        self._make = make
        self._seed, self._most_trials = seed, most_trials

    def propose(self, number: int, history: Sequence[Observation]) -> Proposal:
        """Values for trial `number`."""
        # Optuna's grid takes no trial that lies partly outside of the space, as the default may.
        known = [trial for trial in recent(history, self._most_trials) if self._space.complete(trial.values)]
        trials = [self._mirror.counted(trial) for trial in known]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # the grid and NSGA-III, since years
            sampler = self._make(reseeded(self._seed, number))
        return self._mirror.ask(sampler, trials)


def optuna_proposer(
    name: SamplerName, space: Space, *, seed: int, objectives: int, population: int, startup_trials: int
) -> OptunaProposer:
    """The sampler of this name, one of grid, cma-es, nsga2 and nsga3.

    Raises:
        ConfigError: a grid over a real number without steps, or CMA-ES with several objectives.
    """
    makers: dict[SamplerName, Callable[[int], BaseSampler]] = {
        SamplerName.GRID: lambda seed: BruteForceSampler(seed=seed),
        # Choices and branches under conditions are drawn at random: CMA-ES moves in numbers that always hold.
        SamplerName.CMA_ES: lambda seed: CmaEsSampler(
            n_startup_trials=startup_trials, warn_independent_sampling=False, seed=seed
        ),
        SamplerName.NSGA2: lambda seed: NSGAIISampler(population_size=population, seed=seed),
        SamplerName.NSGA3: lambda seed: NSGAIIISampler(population_size=population, seed=seed),
    }
    if name is SamplerName.GRID:
        _check_finite(space)
    if name is SamplerName.CMA_ES and objectives > 1:
        raise ConfigError("sampler cma-es searches by one objective; take auto, tpe, nsga2 or nsga3 for several")
    most = MOST_GRID_TRIALS if name is SamplerName.GRID else MOST_TRIALS
    return OptunaProposer(space, makers[name], seed=seed, objectives=objectives, most_trials=most)


def _check_finite(space: Space) -> None:
    for branch in space.branches:
        if isinstance(branch.domain, Real) and branch.domain.step is None:
            raise ConfigError(
                f"{branch.name}: a grid needs finitely many values, and [{branch.domain.low}, {branch.domain.high}] "
                "has no step; give it a step, or list its values as a choice"
            )
