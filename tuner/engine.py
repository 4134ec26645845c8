"""The engine: what a free worker does next, and what becomes of a trial that reports or ends.

It knows the study, a sampler and a scheduler, and nothing of the workers, so a simulation can drive it as Ray does.
"""

from collections import deque
from collections.abc import Mapping, Sequence

from tuner.finalists import next_repeat
from tuner.heirs import Inherit, files_as_they_lie, next_heir
from tuner.ledger import Ledger, plateaued
from tuner.observing import Observer
from tuner.samplers.names import SamplerName
from tuner.samplers.observation import Observation, Proposer
from tuner.schedulers.decision import Decision, Scheduler
from tuner.schedulers.health import Health
from tuner.schedulers.population import Population
from tuner.spec.search_spec import SearchSpec
from tuner.study.record import DEFAULT_TRIAL, UNFINISHED, Origin, Told, TrialKind, TrialRecord, TrialState
from tuner.study.study import Study

FRUITLESS = 3  # workers in a row that died without an epoch: the trial kills them, not the machine


class Engine:
    """Asks the sampler, obeys the scheduler, keeps to the budget, and writes everything to the study first."""

    def __init__(
        self,
        spec: SearchSpec,
        study: Study,
        proposer: Proposer,
        scheduler: Scheduler,
        ledger: Ledger,
        earlier: Sequence[Observation] = (),
        inherit: Inherit = files_as_they_lie,
    ) -> None:
        self._spec, self._study, self._proposer, self._scheduler = spec, study, proposer, scheduler
        self._population = scheduler if isinstance(scheduler, Population) else None
        self._inherit = inherit
        self._ledger = ledger
        self._observer = Observer(spec, earlier)
        self._health = Health()
        self._closing: str | None = None  # why nothing new is begun
        self._running: set[int] = set()
        self._fruitless: dict[int, int] = {}
        self._promoted: set[int] = set()  # before their workers have let go of them
        self._closed: list[TrialRecord] = []  # ended where they waited, and not told yet
        # In the order in which they were begun: what the last process left unfinished.
        self._to_go_on: deque[int] = deque(
            record.number
            for record in study.trials()
            if record.state in UNFINISHED and record.state is not TrialState.PAUSED
        )
        self._restore()

    @property
    def running(self) -> int:
        """How many trials are on workers, or on their way there."""
        return len(self._running)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do: asked after `next` has answered with nothing."""
        return self._closing is not None and not self._running and not self._to_go_on

    @property
    def closing(self) -> str | None:
        """Why nothing new is begun, if so."""
        return self._closing

    def next(self) -> TrialRecord | None:
        """The trial a free worker shall take up, or None if there is none now; it counts as running from here on."""
        number = self._next_number()
        if number is None:
            return None
        self._running.add(number)
        return self._study.take_up(number)

    def started(self, number: int, node: str, since_s: float = 0.0) -> TrialRecord:
        """A worker on this node has begun with the trial, so many seconds ago."""
        return self._study.started(number, node, since_s)

    def report(
        self,
        number: int,
        metrics: Mapping[str, float],
        files: str | None,
        busy_s: float,
        cost: float = 0.0,
        diagnosis: str | None = None,
    ) -> tuple[TrialRecord, Decision, str | None]:
        """Take in an epoch.

        Args:
            number: of the trial.
            metrics: by name; `epoch` is one of them, and every objective is.
            files: folder to go on from.
            busy_s: seconds on workers so far.
            cost: money so far.
            diagnosis: the line that came with the epoch, if the net was examined.

        Returns:
            The record, what becomes of the trial, and why if that is not the scheduler's doing.
        """
        before = self._study.trial(number)
        epoch = int(metrics["epoch"])
        decision, why = self._decide(before, epoch, metrics, diagnosis)
        after = self._study.report(number, Told(epoch, metrics, files, decision, busy_s, cost))
        self._ledger.reported(before, after)
        if diagnosis is not None:
            after = self._study.tag(number, diagnosis=diagnosis)
        violation = sum(constraint.violation(metrics) for constraint in self._spec.constraints)
        if violation != after.violation:
            after = self._study.tag(number, violation=violation)
        return after, decision, why

    def ended(self, number: int, state: TrialState, error: str | None = None) -> TrialRecord:
        """The trial has left its worker in this state; paused and preempted ones may go on."""
        self._running.discard(number)
        if state in (TrialState.PAUSED, TrialState.PREEMPTED):
            if number in self._promoted:
                self._promoted.remove(number)
                self._to_go_on.append(number)
            return self._study.wait(number, state)
        record = self._study.finish(number, state, error)
        if record.origin.kind is TrialKind.SEARCH:
            self._scheduler.end(number)
        return record

    def lost(self, number: int, why: str, *, with_node: bool) -> TrialRecord:
        """The trial's worker is gone: another goes on with it, unless the trial seems to kill them."""
        record = self._study.trial(number)
        progress = record.last_epoch > record.leg_from
        fruitless = 0 if progress else self._fruitless.get(number, 0) + (not with_node)
        self._fruitless[number] = fruitless
        if fruitless >= FRUITLESS:
            after = f"after epoch {record.last_epoch}" if record.last_epoch else "before the first epoch"
            return self.ended(number, TrialState.FAILED, f"its worker died {FRUITLESS} times {after}: {why}")
        self._running.discard(number)
        self._to_go_on.append(number)
        return self._study.wait(number, TrialState.PREEMPTED)

    def close(self, why: str) -> None:
        """Begin nothing more, and end the trials that wait: nobody will go on with them."""
        self._closing = self._closing or why
        self._to_go_on.clear()
        unfinished = [r.number for r in self._study.trials() if r.state in UNFINISHED and r.number not in self._running]
        self._closed += [self.ended(number, TrialState.STOPPED) for number in unfinished]

    def take_closed(self) -> list[TrialRecord]:
        """The trials that `close`, or a budget that was spent, has ended since this was last asked."""
        closed, self._closed = self._closed, []
        return closed

    def _next_number(self) -> int | None:
        spent = self._ledger.over()
        if spent is not None:
            self._closing = spent
            if not self._running:
                self._to_go_on.clear()
            return None
        if self._to_go_on:
            return self._to_go_on.popleft()
        running = [self._study.trial(number) for number in self._running]
        if self._closing is None:
            self._closing = plateaued(self._study.trials(), self._spec)
        member = self._member(running)
        if member is not None:
            return member
        promoted = self._scheduler.promote() if self._ledger.affords(1, running) else None
        if promoted in self._running:
            self._promoted.add(promoted)
            return None
        if promoted is not None:
            return promoted
        if self._closing is None and self._ledger.affords_trial(running):
            return self._begin()
        return self._repeat()

    def _member(self, running: Sequence[TrialRecord]) -> int | None:
        """A new member of the population, if there is to be one; it comes before those that wait."""
        if self._population is None or self._closing is not None:
            return None
        if self._ledger.affords_trial(running):
            return self._begin()
        if not self._ledger.affords(1, running):
            return None
        return self._added(next_heir(self._population, self._study, self._inherit))

    def _begin(self) -> int | None:
        """A new trial: the default, then what the spec starts with, then what the sampler proposes."""
        return self._added(self._first(len(self._study.trials())) or self._proposed())

    def _added(self, origin: Origin | None) -> int | None:
        if origin is None:
            return None
        record = self._study.begin(origin)
        self._ledger.began(record)
        return record.number

    def _first(self, number: int) -> Origin | None:
        given = ({}, *self._spec.start_with)
        return Origin(dict(given[number])) if number < len(given) else None

    def _proposed(self) -> Origin | None:
        records = self._study.trials()
        proposal = self._proposer.propose(len(records), self._observer.history(records))
        leaves = self._spec.space.leaves_of(proposal.values)
        if self._spec.file.sampler.name is SamplerName.GRID and any(r.sampled == leaves for r in records):
            self._closing = "every configuration of the grid has been tried"
            return None
        return Origin(leaves, memory=proposal.memory, expected_gain=proposal.expected_gain)

    def _repeat(self) -> int | None:
        """A finalist again, once nothing of the search itself runs any more; None ends the search when all are done."""
        if any(self._study.trial(number).origin.kind is TrialKind.SEARCH for number in self._running):
            return None
        self.close(self._closing or "its budget is spent")
        return self._added(next_repeat(self._spec, self._study.trials()))

    def _decide(
        self, record: TrialRecord, epoch: int, metrics: Mapping[str, float], diagnosis: str | None
    ) -> tuple[Decision, str | None]:
        objective = self._spec.file.objective
        value = objective.worth(tuple(metrics[name] for name in objective.metrics))
        repeats = record.origin.kind is TrialKind.REPEAT
        decision = Decision.CONTINUE if repeats else self._scheduler.report(record.number, epoch, value)
        if metrics.get("last"):  # it ends by itself, even if it would wait at a rung
            self._scheduler.end(record.number)
            return Decision.CONTINUE, None
        why = self._hopeless(record.number, metrics, diagnosis) or self._ledger.over(len(self._running))
        if why is not None:
            self._scheduler.end(record.number)
            return Decision.STOP, why
        return decision, None

    def _hopeless(self, number: int, metrics: Mapping[str, float], diagnosis: str | None) -> str | None:
        if number == DEFAULT_TRIAL:
            return None  # whatever it is worth, the winner is compared with it
        return self._health.verdict(number, metrics, diagnosis)

    def _restore(self) -> None:
        """Rungs, ledger and states, from the study alone."""
        records = self._study.trials()
        self._ledger.restore(records)
        worth = self._spec.file.objective.worth
        self._scheduler.restore(r.past(worth) for r in records if r.origin.kind is TrialKind.SEARCH)
        for record in list(records):
            stopped = record.decision is Decision.STOP and record.leg_from < record.last_epoch
            if record.state in UNFINISHED and (record.over or stopped):  # the process died before it could say so
                if record.number in self._to_go_on:
                    self._to_go_on.remove(record.number)
                self.ended(record.number, TrialState.COMPLETE if record.over else TrialState.STOPPED)
