"""Rivals made of Ray's and Optuna's own classes, called as Ray's controller calls them."""

import types
from collections.abc import Callable, Sequence
from typing import Any

import optuna
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from benchmarks.search_simulation import Trial, best_observed
from benchmarks.search_surrogate import EPOCHS, Config, Parameter
from tuner.schedulers.decision import Decision

METRIC = {"metric": "accuracy", "mode": "max"}


class RayTune:
    """A searcher and a scheduler of Ray Tune. It hands over the best value ever reported."""

    def __init__(self, searcher: Any, scheduler: Any) -> None:
        self._searcher, self._scheduler = searcher, scheduler

    def next(self, trials: Sequence[Trial]) -> Config:
        trial = _as_ray_trial(len(trials))
        config: Config = self._searcher.suggest(trial.trial_id)
        self._scheduler.on_trial_add(None, trial)
        return config

    def report(self, trial: Trial, epoch: int, value: float) -> Decision:
        known, result = _as_ray_trial(trial.number), _result(epoch, value)
        if self._scheduler.on_trial_result(None, known, result) == TrialScheduler.STOP:
            return Decision.STOP
        if epoch < EPOCHS:
            self._searcher.on_trial_result(known.trial_id, result)
        return Decision.CONTINUE

    def end(self, trial: Trial) -> None:
        last = len(trial.curve)
        known, result = _as_ray_trial(trial.number), _result(last, trial.curve[last])
        self._scheduler.on_trial_complete(None, known, result)
        self._searcher.on_trial_complete(known.trial_id, result)

    def choose(self, trials: Sequence[Trial]) -> int:
        return best_observed(trials)


def random_search(parameters: Sequence[Parameter], seed: int) -> RayTune:
    """Without any stopping."""
    return RayTune(_searcher(parameters, optuna.samplers.RandomSampler(seed)), FIFOScheduler())


def random_asha(parameters: Sequence[Parameter], seed: int) -> RayTune:
    return RayTune(_searcher(parameters, optuna.samplers.RandomSampler(seed)), _asha())


def tpe_asha(parameters: Sequence[Parameter], seed: int) -> RayTune:
    sampler = optuna.samplers.TPESampler(seed=seed, multivariate=False, constant_liar=False)
    return RayTune(_searcher(parameters, sampler), _asha())


def multivariate_tpe_asha(parameters: Sequence[Parameter], seed: int) -> RayTune:
    """What Optuna's sampler does unless told otherwise."""
    sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
    return RayTune(_searcher(parameters, sampler), _asha())


def ray_defaults(parameters: Sequence[Parameter], seed: int) -> RayTune:
    """Ray's OptunaSearch and ASHAScheduler as they come; only the length of a training is told."""
    searcher = OptunaSearch(space=_distributions(parameters), seed=seed, **METRIC)
    return RayTune(searcher, ASHAScheduler(max_t=EPOCHS, **METRIC))


def ultralytics(parameters: Sequence[Parameter], seed: int) -> RayTune:
    """As ultralytics.utils.tuner.run_ray_tune sets both up (8.4): its grace is 10 epochs."""
    sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
    scheduler = ASHAScheduler(max_t=EPOCHS, grace_period=10, reduction_factor=3, **METRIC)
    return RayTune(_searcher(parameters, sampler), scheduler)


def _searcher(parameters: Sequence[Parameter], sampler: optuna.samplers.BaseSampler) -> Any:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return OptunaSearch(space=_distributions(parameters), sampler=sampler, **METRIC)


def _asha() -> Any:
    return ASHAScheduler(max_t=EPOCHS, grace_period=2, reduction_factor=3, **METRIC)


def _distributions(parameters: Sequence[Parameter]) -> dict[str, optuna.distributions.BaseDistribution]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return {
        p.name: optuna.distributions.IntDistribution(int(p.low), int(p.high), log=p.log)
        if p.integer
        else optuna.distributions.FloatDistribution(p.low, p.high, log=p.log)
        for p in parameters
    }


def _as_ray_trial(number: int) -> Any:
    """All that these classes read of a trial."""
    return types.SimpleNamespace(trial_id=f"{number:05}")


def _result(epoch: int, value: float) -> dict[str, float]:
    return {"training_iteration": epoch, METRIC["metric"]: value}


STRATEGIES: dict[str, Callable[[Sequence[Parameter], int], RayTune]] = {
    "random": random_search,
    "random-asha": random_asha,
    "tpe-asha": tpe_asha,
    "optuna-asha": multivariate_tpe_asha,
    "ray": ray_defaults,
    "ultralytics": ultralytics,
}
