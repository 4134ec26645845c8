"""A spec's sampler by its name."""

from tuner.samplers.auto import AutoProposer
from tuner.samplers.gp import GaussianProposer
from tuner.samplers.names import SamplerName
from tuner.samplers.native import QuasiRandomProposer, RandomProposer, optuna_proposer
from tuner.samplers.observation import Proposer
from tuner.samplers.tpe import ParzenProposer
from tuner.space import Space


def build_sampler(
    name: SamplerName,
    space: Space,
    *,
    seed: int,
    epochs: int,
    trials: int,
    workers: int,
    objectives: int = 1,
    startup_trials: int | None = None,
) -> Proposer:
    """The sampler for a search of `trials` trials of `epochs` epochs on `workers` workers at once.

    Raises:
        ConfigError: the sampler cannot search this space or by so many objectives.
    """
    startup = _startup(space, trials, workers) if startup_trials is None else startup_trials
    match name:
        case SamplerName.RANDOM:
            return RandomProposer(space, seed)
        case SamplerName.QUASI_RANDOM:
            return QuasiRandomProposer(space, seed)
        case SamplerName.TPE:
            return ParzenProposer(space, seed=seed, epochs=epochs, objectives=objectives, startup_trials=startup)
        case SamplerName.AUTO:
            return AutoProposer(space, seed=seed, epochs=epochs, objectives=objectives, startup_trials=startup)
        case SamplerName.GP:
            return GaussianProposer(space, seed=seed, epochs=epochs, objectives=objectives, startup_trials=startup)
        case SamplerName.GRID | SamplerName.CMA_ES | SamplerName.NSGA2 | SamplerName.NSGA3:
            population = max(4, min(50, trials // 10))  # ten generations, or Optuna's own size
            return optuna_proposer(
                name, space, seed=seed, objectives=objectives, population=population, startup_trials=startup
            )


def _startup(space: Space, trials: int, workers: int) -> int:
    """Trials before a model speaks: about one a parameter, one a worker at least, and no more than a third of all."""
    return max(2, min(max(len(space.leaves) + 1, workers, 6), 12, trials // 3))
