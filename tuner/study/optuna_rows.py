"""A trial as Optuna knows it: its parameters and its state, for any of its tools to read."""

from collections.abc import Sequence
from typing import Any

from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from tuner.samplers.mirror import distribution
from tuner.space import Branch
from tuner.study.record import Origin, TrialState

OPTUNA_STATES = {
    TrialState.RUNNING: OptunaState.RUNNING,
    TrialState.PAUSED: OptunaState.WAITING,
    TrialState.PREEMPTED: OptunaState.WAITING,
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.STOPPED: OptunaState.PRUNED,
    TrialState.DIVERGED: OptunaState.FAIL,
    TrialState.OUT_OF_MEMORY: OptunaState.FAIL,
    TrialState.INFEASIBLE: OptunaState.FAIL,
    TrialState.FAILED: OptunaState.FAIL,
}


def new_row(origin: Origin, observed: Sequence[tuple[Branch, Any]]) -> FrozenTrial:
    """A trial as it begins, with the parameters that lie in their domains."""
    return create_trial(
        state=OptunaState.RUNNING,
        params={branch.name: value for branch, value in observed},
        distributions={branch.name: distribution(branch.domain) for branch, _ in observed},
        user_attrs={"origin": origin.as_json()},
    )
