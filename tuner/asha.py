"""Asynchronous successive halving on epochs or phases that leaves the default configuration alone."""

from typing import Any

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from model.training.phases import phase_plans
from tuner.spec import Fidelity, SchedulerName, SearchSpec
from tuner.study import DEFAULT_TRIAL


class ProtectiveASHA(ASHAScheduler):
    """ASHA (Li et al. 2020) whose trial 0 counts at every rung but is never stopped before the last epoch."""

    def __init__(self, spec: SearchSpec) -> None:
        self._epochs = spec.file.budget.epochs
        super().__init__(
            # An own epoch: Ray's training_iteration may restart after a restore.
            time_attr="epoch",
            metric=spec.file.objective.metric,
            mode=spec.file.objective.mode,
            max_t=self._epochs,
            grace_period=spec.file.scheduler.grace,
            reduction_factor=spec.file.scheduler.reduction_factor,
        )
        if spec.file.scheduler.fidelity is Fidelity.PHASES:
            # Ray only spaces rungs by powers of the factor. Its bracket keeps them with the last one first.
            ends = [plan.last for plan in phase_plans(spec.default)[:-1]]
            self._brackets[0]._rungs = [(end, {}) for end in reversed(ends)]

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Ray's decision for this report; CONTINUE for the default trial until its budget is spent."""
        decision = super().on_trial_result(tune_controller, trial, result)
        stops = decision == TrialScheduler.STOP
        if stops and trial.config["number"] == DEFAULT_TRIAL and result["epoch"] < self._epochs:
            return str(TrialScheduler.CONTINUE)
        return str(decision)


def scheduler(spec: SearchSpec) -> TrialScheduler:
    """Who stops weak trials, as the spec asks."""
    if spec.file.scheduler.name is SchedulerName.ASHA:
        return ProtectiveASHA(spec)
    return FIFOScheduler()
