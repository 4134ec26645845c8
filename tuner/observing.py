"""From the study's records to what a sampler sees."""

from collections.abc import Sequence

from tuner.samplers.observation import Observation, Stage
from tuner.spec.search_spec import SearchSpec
from tuner.study.record import LOST, TrialKind, TrialRecord, TrialState

_STAGES = {
    TrialState.RUNNING: Stage.RUNNING,
    TrialState.PAUSED: Stage.WAITING,
    TrialState.PREEMPTED: Stage.RUNNING,  # it is about to go on
    TrialState.COMPLETE: Stage.ENDED,
    TrialState.STOPPED: Stage.ENDED,
    **dict.fromkeys(LOST, Stage.LOST),
}


class Observer:
    """Turns records into observations, and keeps those of records that have not changed."""

    def __init__(self, spec: SearchSpec, earlier: Sequence[Observation] = ()) -> None:
        self._space = spec.space
        self._objective = spec.file.objective
        self._earlier = tuple(earlier)  # of other searches, numbered below zero
        self._known: dict[int, tuple[TrialRecord, Observation]] = {}

    def history(self, records: Sequence[TrialRecord]) -> list[Observation]:
        """Observations of earlier searches, then of this one's trials by number; repeats teach the sampler nothing."""
        mine = [self._observed(record) for record in records if record.origin.kind is TrialKind.SEARCH]
        return [*self._earlier, *mine]

    def _observed(self, record: TrialRecord) -> Observation:
        known = self._known.get(record.number)
        if known is not None and known[0] is record:
            return known[1]
        observation = Observation(
            number=record.number,
            values={branch.name: value for branch, value in self._space.observed(record.config)},
            curve={epoch: self._objective.rising(values) for epoch, values in record.curve.items()},
            stage=_STAGES[record.state],
            violation=record.violation,
            memory=record.origin.memory,
        )
        self._known[record.number] = (record, observation)
        return observation
