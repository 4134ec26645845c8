"""What Ray asks of a scheduler, at a cost that does not grow with the search."""

import time
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


IDLE_S = 1.0  # that a worker may wait for the next trial where others wait for workers


class RayScheduler(LeftOutOfSnapshots, FIFOScheduler):
    """Does what is decided on a report: a pause ends Ray's trial as a stop does, and a later one takes its files up.

    The run's own `CheckpointConfig` must not have `num_to_keep`: Ray would write a snapshot of all its trials for every
    checkpoint, whatever its period is. Each trial is told here to keep its last one.

    Args:
        decide: what becomes of a trial that reports.
        is_shared: whether others wait for workers that are not used.
        clock: seconds, ever rising.
    """

    def __init__(
        self,
        decide: Callable[[Trial, dict[str, Any]], Decision],
        is_shared: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._decide, self._is_shared, self._clock = decide, is_shared, clock
        self._idle_since: float | None = None

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
        pending = next((trial for trial in live if trial.status == Trial.PENDING), None)
        self._give_back(tune_controller, needed=pending is not None)
        return pending

    def _give_back(self, tune_controller: Any, *, needed: bool) -> None:
        """Let a worker go that has nothing to do: Ray keeps one, and all it has reserved, for a trial to come."""
        controller = tune_controller._tune_controller  # what we are given shows a part of it, and warns of the rest
        if needed or not controller._actor_cache.num_cached_objects or not self._is_shared():
            self._idle_since = None
            return
        now = self._clock()
        self._idle_since = now if self._idle_since is None else self._idle_since
        if now - self._idle_since >= IDLE_S:
            self._idle_since = None
            for actor in controller._actor_cache.flush_cached_objects(force_all=True):
                actor.set_on_stop(None)  # no trial is on it that Ray would tell of its end
                actor.set_on_error(None)
                controller._remove_actor(tracked_actor=actor)
