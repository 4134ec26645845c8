"""The product's own samplers and schedulers as a strategy: its classes, as a search drives them."""

from collections.abc import Sequence
from typing import Any

from benchmarks.search_job import Job
from benchmarks.search_simulation import WORKERS, Trial
from benchmarks.search_surrogate import EPOCHS, Config, Parameter, Surrogate
from tuner.domains import Domain, Integer, Real
from tuner.samplers.build import build_sampler
from tuner.samplers.choose import final_choice
from tuner.samplers.names import SamplerName
from tuner.samplers.observation import Observation, Proposer, Stage
from tuner.schedulers.build import build_scheduler
from tuner.schedulers.decision import Decision, Scheduler
from tuner.schedulers.names import SchedulerName
from tuner.space import Branch, Space

KNOWN = 30  # trials of each neighbouring task


class Spiketune:
    """A proposer and a scheduler. `earlier` are trials of other searches, which a warm start knows."""

    def __init__(self, proposer: Proposer, scheduler: Scheduler, earlier: Sequence[Observation] = ()) -> None:
        self._proposer, self._scheduler, self._earlier = proposer, scheduler, list(earlier)
        self._memory: list[Any] = []  # of each trial's proposal

    def next(self, trials: Sequence[Trial]) -> int | Config:
        waiting = self._scheduler.promote()
        if waiting is not None:
            return waiting
        proposal = self._proposer.propose(len(trials), self._earlier + self._observed(trials))
        self._memory.append(proposal.memory)
        return {name: value for name, value in proposal.values.items() if not isinstance(value, str)}

    def report(self, trial: Trial, epoch: int, value: float) -> Decision:
        return self._scheduler.report(trial.number, epoch, value)

    def end(self, trial: Trial) -> None:
        self._scheduler.end(trial.number)

    def choose(self, trials: Sequence[Trial]) -> int:
        chosen = final_choice(self._observed(trials), EPOCHS)
        assert chosen is not None, "something has reported"
        return chosen

    def _observed(self, trials: Sequence[Trial]) -> list[Observation]:
        return [
            Observation(
                number=trial.number,
                values=trial.config,
                curve={epoch: (value,) for epoch, value in trial.curve.items()},
                stage=trial.stage,
                memory=memory,
            )
            for trial, memory in zip(trials, self._memory, strict=True)
        ]


def strategy(job: Job, surrogate: Surrogate) -> Spiketune:
    """A job's sampler and scheduler."""
    sampler, scheduler = job.strategy.split("+")
    proposer = build_sampler(
        SamplerName(sampler),
        space(surrogate.parameters),
        seed=job.seed,
        epochs=EPOCHS,
        trials=3 * job.budget,  # about as many as are begun where halving spares full trainings
        workers=WORKERS,
    )
    halving = build_scheduler(SchedulerName(scheduler), epochs=EPOCHS, grace=2, reduction_factor=3, seed=job.seed)
    return Spiketune(proposer, halving, earlier(job, surrogate))


def earlier(job: Job, surrogate: Surrogate) -> list[Observation]:
    """Full trainings of random configurations on the neighbouring tasks."""
    found = []
    for place, task in enumerate(job.neighbours):
        for number, config in enumerate(surrogate.sample(job.seed, KNOWN, place)):
            accuracy = surrogate.train(task, config).accuracy
            curve = {epoch: (float(value),) for epoch, value in enumerate(accuracy, start=1)}
            found.append(Observation(number, config, curve, Stage.ENDED, source=task))
    return found


def space(parameters: Sequence[Parameter]) -> Space:
    """The benchmark's space, in the product's terms."""
    return Space([Branch(parameter.name, _domain(parameter)) for parameter in parameters])


def _domain(parameter: Parameter) -> Domain:
    if parameter.integer:
        return Integer(int(parameter.low), int(parameter.high), log=parameter.log)
    return Real(parameter.low, parameter.high, log=parameter.log)
