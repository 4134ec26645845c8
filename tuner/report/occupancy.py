"""Who worked when: the workers' legs as bars on lanes, and how much of the time nobody used a lane."""

from collections.abc import Sequence
from dataclasses import dataclass

from tuner.faults import lost_legs
from tuner.history import SearchHistory
from tuner.schedulers.decision import Decision
from tuner.study.history import UNKNOWN_NODE, Leg, TrialHistory
from tuner.study.record import TrialRecord, TrialState

BETWEEN_SESSIONS_S = 60.0  # that no worker at all is busy: no search was running


@dataclass(frozen=True)
class Bar:
    """A worker's time with a trial."""

    trial: TrialRecord
    leg: Leg
    start_s: float
    end_s: float
    lost: bool  # the worker was lost, or its search interrupted: another one went on without a decision to wait
    lane: int = 0  # of its node, from 0


@dataclass(frozen=True)
class Occupancy:
    """All bars, by lane and time."""

    bars: tuple[Bar, ...]
    lanes: dict[str, int]  # how many each node needs, which is how many of its trials ran at once
    gaps: tuple[tuple[float, float], ...]  # between sessions

    @property
    def start_s(self) -> float:
        """When the first worker began, Unix seconds."""
        return min(bar.start_s for bar in self.bars)

    @property
    def end_s(self) -> float:
        """When the last one ended."""
        return max(bar.end_s for bar in self.bars)

    @property
    def span_s(self) -> float:
        """Seconds that the search ran, without the time between its sessions."""
        return self.worked_until(self.end_s)

    @property
    def busy_s(self) -> float:
        """Seconds of all workers on known nodes together."""
        return sum(bar.end_s - bar.start_s for bar in self.bars if bar.leg.node != UNKNOWN_NODE)

    @property
    def nodes(self) -> dict[str, int]:
        """The lanes of each node that is known: a worker that ended before it reported has told of none."""
        return {node: lanes for node, lanes in self.lanes.items() if node != UNKNOWN_NODE}

    @property
    def idle_share(self) -> float:
        """Share of the time of known nodes' lanes in which no trial was on them; 0 to 1."""
        room_s = self.span_s * sum(self.nodes.values())
        return 1 - self.busy_s / room_s if room_s else 0.0

    def worked_until(self, at_s: float) -> float:
        """Seconds the search had run by then."""
        left_out = sum(min(end, at_s) - start for start, end in self.gaps if start < at_s)
        return at_s - self.start_s - left_out


def occupancy(history: SearchHistory) -> Occupancy | None:
    """When each worker was busy; None for a study that did not keep the times, or that no worker has begun."""
    now_s = _latest(history)
    bars = [bar for trial in history.trials for bar in _bars(trial, now_s)]
    if not bars:
        return None
    placed, lanes = _on_lanes(sorted(bars, key=lambda bar: (bar.start_s, bar.trial.number, bar.leg.number)))
    return Occupancy(tuple(placed), lanes, tuple(_gaps(bars)))


def _latest(history: SearchHistory) -> float:
    """The last time that the study knows of: running trials are drawn up to it."""
    told = [told.at_s for trial in history.trials for told in trial.epochs if told.at_s is not None]
    legs = [leg.at_s for trial in history.trials for leg in trial.legs if leg.at_s is not None]
    ends = [trial.ended_s for trial in history.trials if trial.ended_s is not None]
    return max([*told, *legs, *ends], default=0.0)


def _bars(trial: TrialHistory, now_s: float) -> list[Bar]:
    bars, left = [], lost_legs(trial)
    for place, leg in enumerate(trial.legs):
        if leg.at_s is None:
            continue
        following = trial.legs[place + 1] if place + 1 < len(trial.legs) else None
        last_epoch = following.after_epoch if following is not None else trial.record.last_epoch
        own = [told for told in trial.epochs if leg.after_epoch < told.epoch <= last_epoch and told.at_s is not None]
        reported_s = max((told.at_s for told in own if told.at_s is not None), default=leg.at_s)
        paused = bool(own) and own[-1].decision is Decision.PAUSE
        end_s = reported_s if following is not None or paused else _end(trial, reported_s, now_s)
        dropped = following is None and not paused and trial.record.state is TrialState.PREEMPTED
        bars.append(Bar(trial.record, leg, leg.at_s, max(end_s, leg.at_s), dropped or leg in left))
    return bars


def _end(trial: TrialHistory, reported_s: float, now_s: float) -> float:
    """When the last worker of a trial that does not wait let go of it."""
    if trial.ended_s is not None:
        return trial.ended_s
    return now_s if trial.record.state is TrialState.RUNNING else reported_s


def _on_lanes(bars: Sequence[Bar]) -> tuple[list[Bar], dict[str, int]]:
    """Each bar on the first lane of its node that is free by then; bars come in the order of their beginnings."""
    free: dict[str, list[float]] = {}
    placed = []
    for bar in bars:
        ends = free.setdefault(bar.leg.node, [])
        lane = next((k for k, end_s in enumerate(ends) if end_s <= bar.start_s), len(ends))
        ends[lane : lane + 1] = [bar.end_s]
        placed.append(Bar(bar.trial, bar.leg, bar.start_s, bar.end_s, bar.lost, lane))
    return placed, {node: len(ends) for node, ends in sorted(free.items())}


def _gaps(bars: Sequence[Bar]) -> list[tuple[float, float]]:
    gaps, until = [], min(bar.start_s for bar in bars)
    for bar in sorted(bars, key=lambda bar: bar.start_s):
        if bar.start_s - until > BETWEEN_SESSIONS_S:
            gaps.append((until, bar.start_s))
        until = max(until, bar.end_s)
    return gaps
