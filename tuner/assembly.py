"""Puts a spec's sampler, scheduler and engine together."""

from collections.abc import Sequence

from model.training.phases import phase_plans
from tuner.engine import Engine
from tuner.heirs import Inherit, files_as_they_lie
from tuner.ledger import Ledger
from tuner.samplers.build import build_sampler
from tuner.samplers.observation import Observation
from tuner.schedulers.build import build_scheduler
from tuner.schedulers.decision import Scheduler
from tuner.schedulers.names import SchedulerName
from tuner.schedulers.population import Population
from tuner.spec.search_spec import SearchSpec
from tuner.spec.sections import Fidelity
from tuner.study.record import DEFAULT_TRIAL
from tuner.study.study import Study


def scheduler_of(spec: SearchSpec) -> Scheduler:
    """The scheduler that the spec asks for, having seen nothing yet."""
    section = spec.file.scheduler
    if section.name is SchedulerName.PBT:
        return Population(
            spec.space,
            size=spec.file.budget.trials,
            epochs=spec.file.budget.epochs,
            interval=section.grace,
            seed=spec.file.sampler.seed,
            protected=frozenset({DEFAULT_TRIAL}),
        )
    phases = section.fidelity is Fidelity.PHASES
    return build_scheduler(
        section.name,
        epochs=spec.file.budget.epochs,
        grace=section.grace,
        reduction_factor=section.reduction_factor,
        seed=spec.file.sampler.seed,
        brackets=section.brackets,
        ends=[one.last for one in phase_plans(spec.default)[:-1]] if phases else (),
        protected=frozenset({DEFAULT_TRIAL}),
    )


def engine_of(
    spec: SearchSpec,
    study: Study,
    scheduler: Scheduler,
    ledger: Ledger,
    workers: int,
    earlier: Sequence[Observation] = (),
    inherit: Inherit = files_as_they_lie,
) -> Engine:
    """The engine with the sampler that the spec asks for."""
    proposer = build_sampler(
        spec.file.sampler.name,
        spec.space,
        seed=spec.file.sampler.seed,
        epochs=spec.file.budget.epochs,
        trials=spec.file.budget.trials,
        workers=workers,
        objectives=len(spec.file.objective.metrics),
        startup_trials=spec.file.sampler.startup_trials,
    )
    return Engine(spec, study, proposer, scheduler, ledger, earlier, inherit)
