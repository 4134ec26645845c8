"""The phases of a training: cheaper parts first, then the full configuration, with the weights carried over."""

from dataclasses import dataclass

from model.trial_config import TrialConfig


@dataclass(frozen=True, slots=True)
class PhasePlan:
    """One part of a training."""

    first: int  # its first epoch, from 1
    last: int
    config: TrialConfig  # with what the detector is shown and measured on in this part
    recordings: float  # share of the training recordings


def phase_plans(config: TrialConfig) -> tuple[PhasePlan, ...]:
    """The parts of a training in order; the last one is the configuration itself."""
    plans: list[PhasePlan] = []
    first = 1
    for place, phase in enumerate(config.training.phases):
        given = {"data.scale": phase.scale, "data.time_steps": phase.time_steps}
        leaves = {leaf: value for leaf, value in given.items() if value is not None}
        last = first + phase.epochs - 1
        plans.append(PhasePlan(first, last, config.with_leaves(leaves, f"training.phases.{place}"), phase.recordings))
        first = last + 1
    return (*plans, PhasePlan(first, config.training.epochs, config, 1.0))
