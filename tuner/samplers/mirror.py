"""The history as an Optuna study in memory, for Optuna's samplers."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuner.domains import Choice, Domain, Integer
from tuner.samplers.evidence import finite, merit
from tuner.samplers.observation import Observation, Proposal, Stage
from tuner.space import Space

MEMORY = "optuna"  # under which a proposal remembers what Optuna attached to its trial
LOST_VIOLATION = 1.0  # a lost trial is as bad as a constraint broken by its whole bound

logging.getLogger("optuna").setLevel(logging.WARNING)


def distribution(domain: Domain) -> BaseDistribution:
    """The domain as Optuna knows it."""
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.options)
    if isinstance(domain, Integer):
        return IntDistribution(domain.low, domain.high, log=domain.log, step=domain.step)
    return FloatDistribution(domain.low, domain.high, log=domain.log, step=domain.step)


class _Shared(dict[str, BaseDistribution]):
    """Distributions that a copy of their trial shares; to copy them takes most of the time of making a study."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Shared":
        return self


class Mirror:
    """Makes studies of histories and asks Optuna's samplers for trials."""

    def __init__(self, space: Space, objectives: int) -> None:
        self._space = space
        self._objectives = objectives
        self._distributions = {branch.name: distribution(branch.domain) for branch in space.branches}

    def ask(self, sampler: optuna.samplers.BaseSampler, trials: Sequence[FrozenTrial]) -> Proposal:
        """The sampler's next trial after these."""
        study = optuna.create_study(
            storage=optuna.storages.InMemoryStorage(),
            sampler=sampler,
            pruner=optuna.pruners.NopPruner(),
            directions=["maximize"] * self._objectives,
        )
        study.add_trials(trials)
        trial = study.ask()
        self._space.sample(trial)
        attributes = study.get_trials(deepcopy=False)[trial.number].system_attrs
        return Proposal(dict(trial.params), {MEMORY: attributes} if attributes else {})

    def pruned(self, trial: Observation, epochs: int) -> FrozenTrial | None:
        """The trial as TPE should see it: complete after `epochs`, otherwise pruned where it stands now.

        With several objectives Optuna ranks complete trials alone, so any trial with a curve counts as complete.
        """
        curve = finite(trial.curve, 0)
        if trial.stage is Stage.LOST:
            return self._frozen(trial, TrialState.PRUNED, curve={})
        if not curve:
            return None
        if self._objectives > 1 or max(curve) >= epochs:
            return self._frozen(trial, TrialState.COMPLETE, curve)
        return self._frozen(trial, TrialState.PRUNED, curve)

    def counted(self, trial: Observation) -> FrozenTrial:
        """The trial as generations should see it: complete with its best value so far as soon as it is not running.

        Stopped and waiting trials have to count, or no generation would ever be full.
        """
        curve = finite(trial.curve, 0)
        if trial.stage is Stage.RUNNING:
            return self._frozen(trial, TrialState.RUNNING, {})
        if trial.stage is Stage.LOST or not curve:
            return self._frozen(trial, TrialState.FAIL, {})
        return self._frozen(trial, TrialState.COMPLETE, curve)

    def _frozen(self, trial: Observation, state: TrialState, curve: Mapping[int, float]) -> FrozenTrial:
        values = {name: value for name, value in trial.values.items() if name in self._distributions}
        violation = trial.violation + (LOST_VIOLATION if trial.stage is Stage.LOST else 0.0)
        best = max(curve, key=lambda epoch: curve[epoch]) if curve else None
        complete = state is TrialState.COMPLETE and best is not None
        frozen = create_trial(
            state=state,
            values=list(trial.curve[best]) if complete and best is not None else None,
            params=values,
            distributions={name: self._distributions[name] for name in values},
            system_attrs=dict(trial.memory.get(MEMORY, {})),
            intermediate_values=dict(curve) if self._objectives == 1 else {},
            constraints={"violation": violation},
        )
        frozen.distributions = _Shared(frozen.distributions)
        return frozen


def recent(history: Sequence[Observation], limit: int) -> list[Observation]:
    """The search's own trials; of more than `limit` the best tenth of the limit and otherwise the latest."""
    own = [trial for trial in history if trial.source is None]
    if len(own) <= limit:
        return own
    by_value = sorted(own, key=merit, reverse=True)
    kept = {trial.number for trial in by_value[: limit // 10]} | {trial.number for trial in own[-limit * 9 // 10 :]}
    return [trial for trial in own if trial.number in kept]


def reseeded(seed: int, number: int) -> int:
    """A seed for one proposal: a sampler made anew for each never repeats what it drew before a resume."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
