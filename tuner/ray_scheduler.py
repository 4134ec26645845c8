"""What Ray asks of a scheduler, at a cost that does not grow with the search."""

from collections.abc import Callable
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from tuner.schedulers.decision import Decision


class LeftOutOfSnapshots:
    """Ray pickles its driver's parts for a restore of its own; the study is the state here, and open files stay out."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing."""
        return {}


class RayScheduler(LeftOutOfSnapshots, FIFOScheduler):
    """Does what is decided on a report: a pause ends Ray's trial as a stop does, and a later one takes its files up.

    The run's own `CheckpointConfig` must not have `num_to_keep`: Ray would write a snapshot of all its trials for every
    checkpoint, whatever its period is. Each trial is told here to keep its last one.
    """

    def __init__(self, decide: Callable[[Trial, dict[str, Any]], Decision]) -> None:
        super().__init__()
        self._decide = decide

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:  # noqa: ARG002 - Ray's signature, as below
        """Keep no checkpoint of the trial but the last."""
        trial.run_metadata.checkpoint_manager.checkpoint_config.num_to_keep = 1

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:  # noqa: ARG002
        """Stop unless the trial is to go on."""
        decision = self._decide(trial, result)
        return str(TrialScheduler.CONTINUE if decision is Decision.CONTINUE else TrialScheduler.STOP)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:  # noqa: ARG002
        """Forget the running averages that Ray has of every metric: 110 of the 150 KB that an ended trial holds."""
        trial.run_metadata.metric_analysis.clear()
        trial.run_metadata.metric_n_steps.clear()

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """As on_trial_complete."""
        self.on_trial_complete(tune_controller, trial, {})

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """A trial that is pending; Ray's own choice looks through all trials there ever were, before every event."""
        live = tune_controller.get_live_trials()
        return next((trial for trial in live if trial.status == Trial.PENDING), None)
