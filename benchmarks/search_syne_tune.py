"""Rivals made of Syne Tune's own schedulers, called as its Tuner calls them. Imported in Syne Tune's environments only.

Version 0.13 is the last with promotion and MOBSTER and wants NumPy 1; conformal quantile regression is in 0.16 alone:

    python -m venv syne13 && syne13/bin/pip install 'syne-tune==0.13.0' 'numpy<2' autograd statsmodels onnxruntime
    python -m venv syne16 && syne16/bin/pip install 'syne-tune==0.16.0' scikit-learn xgboost huggingface_hub onnxruntime
"""

import datetime
import logging
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from syne_tune.backend.trial_status import Trial as SyneTrial  # type: ignore[import-not-found]
from syne_tune.config_space import lograndint, loguniform, randint, uniform  # type: ignore[import-not-found]
from syne_tune.optimizer import baselines  # type: ignore[import-not-found]

from benchmarks.search_simulation import Trial, best_observed
from benchmarks.search_surrogate import EPOCHS, Config, Parameter
from tuner.schedulers.decision import Decision

METRIC, EPOCH, LAST_EPOCH = "accuracy", "epoch", "epochs"
# Fitted to convergence before every suggestion, MOBSTER takes seconds for one; its own examples skip fits as well.
REDUCED_FITTING = {"opt_skip_init_length": 50, "opt_skip_period": 5, "opt_maxiter": 20}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "syne-asha-stopping": ("ASHA", {"type": "stopping"}),
    "syne-asha-promotion": ("ASHA", {"type": "promotion"}),
    "syne-bohb": ("BOHB", {"type": "stopping"}),
    "syne-mobster": ("MOBSTER", {"type": "promotion", "search_options": {"debug_log": False, **REDUCED_FITTING}}),
}


class SyneTune:
    """A scheduler with its searcher. It hands over the best value ever reported."""

    def __init__(self, scheduler: Any, suggest: Callable[[int], Any]) -> None:
        self._scheduler, self._suggest = scheduler, suggest
        self._known: list[SyneTrial] = []
        self._removed: set[int] = set()  # by the scheduler's own decision

    def next(self, trials: Sequence[Trial]) -> int | Config:
        suggestion = self._suggest(len(trials))
        if not suggestion.spawn_new_trial_id:
            number = int(suggestion.checkpoint_trial_id)
            if suggestion.config is not None:
                self._known[number] = self._as_trial(number, suggestion.config)
            self._removed.discard(number)
            return number
        trial = self._as_trial(len(trials), suggestion.config)
        self._known.append(trial)
        self._scheduler.on_trial_add(trial=trial)
        return {name: value for name, value in suggestion.config.items() if name != LAST_EPOCH}

    def report(self, trial: Trial, epoch: int, value: float) -> Decision:
        known = self._known[trial.number]
        decision = Decision(self._scheduler.on_trial_result(known, {METRIC: value, EPOCH: epoch}).lower())
        if decision is not Decision.CONTINUE:
            self._scheduler.on_trial_remove(known)
            self._removed.add(trial.number)
        return decision

    def end(self, trial: Trial) -> None:
        if trial.number not in self._removed:
            last = len(trial.curve)
            self._scheduler.on_trial_complete(self._known[trial.number], {METRIC: trial.curve[last], EPOCH: last})

    def choose(self, trials: Sequence[Trial]) -> int:
        return best_observed(trials)

    def _as_trial(self, number: int, config: Config) -> SyneTrial:
        return SyneTrial(number, config, datetime.datetime(2000, 1, 1))  # never read


def strategy(name: str, parameters: Sequence[Parameter], seed: int) -> SyneTune:
    """A strategy by its name."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    space = {parameter.name: _domain(parameter) for parameter in parameters}
    if name == "syne-cqr":
        return _conformal(space, seed)
    kind, settings = KINDS[name]
    scheduler = getattr(baselines, kind)(
        {**space, LAST_EPOCH: EPOCHS},
        metric=METRIC,
        mode="max",
        resource_attr=EPOCH,
        max_resource_attr=LAST_EPOCH,
        grace_period=2,
        reduction_factor=3,
        random_seed=seed,
        points_to_evaluate=[],  # by default the middle of the space comes first, where no rival begins
        **settings,
    )
    return SyneTune(scheduler, lambda number: scheduler.suggest(trial_id=number))


def _conformal(space: dict[str, Any], seed: int) -> SyneTune:
    scheduler = baselines.ASHACQR(
        space,
        metric=METRIC,
        do_minimize=False,
        time_attr=EPOCH,
        max_t=EPOCHS,
        grace_period=2,
        reduction_factor=3,
        random_seed=seed,
    )
    return SyneTune(scheduler, lambda _: scheduler.suggest())


def _domain(parameter: Parameter) -> Any:
    if parameter.integer:
        return (lograndint if parameter.log else randint)(int(parameter.low), int(parameter.high))
    return (loguniform if parameter.log else uniform)(parameter.low, parameter.high)
