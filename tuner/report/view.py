"""How trials and metrics look on the page: names with units, a colour for each state, what is told when one points."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuner.result import SearchResult
from tuner.study.record import DEFAULT_TRIAL, TrialKind, TrialRecord, TrialState
from tuner.wording import settings_told, short_name

WINNER = "#e8590c"
FAINT = "rgba(128,140,156,0.55)"
STATE_COLOURS = {
    TrialState.COMPLETE: "#2f80d0",
    TrialState.STOPPED: "#8593a6",
    TrialState.PAUSED: "#8c7ae6",
    TrialState.RUNNING: "#1fa37a",
    TrialState.PREEMPTED: "#4aa8b5",
    TrialState.DIVERGED: "#d6336c",
    TrialState.OUT_OF_MEMORY: "#ae3ec9",
    TrialState.INFEASIBLE: "#a9803f",
    TrialState.FAILED: "#d02f2f",
}
STATE_MARKS = {
    TrialState.COMPLETE: "circle",
    TrialState.STOPPED: "x",
    TrialState.PAUSED: "line-ns-open",
    TrialState.RUNNING: "triangle-right",
    TrialState.PREEMPTED: "diamond-open",
    TrialState.DIVERGED: "star",
    TrialState.OUT_OF_MEMORY: "square",
    TrialState.INFEASIBLE: "hourglass",
    TrialState.FAILED: "star-square",
}
SCALE = "Viridis"


@dataclass(frozen=True)
class Quantity:
    """What a metric is called, and its unit."""

    title: str
    unit: str = ""

    @property
    def label(self) -> str:
        """Both, as an axis bears them."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    def told(self, value: float) -> str:
        """A value with its unit."""
        return f"{_number(value)} {self.unit}" if self.unit and self.unit != _OF_ONE else _number(value)


def _number(value: float) -> str:
    """Four digits, and no power of ten to count in."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:,.4g} million"
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


_OF_ONE = "0 to 1"
_QUANTITIES = {
    "map": Quantity("mAP", _OF_ONE),
    "map50": Quantity("AP50", _OF_ONE),
    "map75": Quantity("AP75", _OF_ONE),
    "loss": Quantity("loss"),
    "seconds": Quantity("time of an epoch", "s"),
    "windows_per_second": Quantity("speed of training", "windows/s"),
    "parameters": Quantity("parameters", "weights"),
    "macs": Quantity("multiply-accumulates", "a window"),
    "latency_ms": Quantity("latency", "ms a window"),
    "energy_uj": Quantity("energy", "µJ a window"),
    "synops": Quantity("synaptic operations", "a window"),
    "firing_rate": Quantity("firing rate", "spikes a neuron and step"),
}


def quantity(metric: str) -> Quantity:
    """Name and unit of a metric."""
    return _QUANTITIES.get(metric, Quantity(metric))


def first_quantity(result: SearchResult) -> Quantity:
    """What the search compares trials by."""
    return quantity(result.spec.file.objective.metric)


def plain(text: str) -> str:
    """Text from data for a figure, in which plotly would read tags."""
    return html.escape(text, quote=False)


def searched(result: SearchResult) -> list[TrialRecord]:
    """The trials the search proposed, the default configuration with them, and no repeats."""
    return [trial for trial in result.trials if trial.origin.kind is TrialKind.SEARCH]


def title_of(result: SearchResult, trial: TrialRecord) -> str:
    """A trial's number, and its name where it has one."""
    names = result.spec.file.names
    if trial.number < len(names):
        return f"trial {trial.number}: {names[trial.number]}"
    if trial.origin.repeats is not None:
        return f"trial {trial.number}: repeats trial {trial.origin.repeats} with seed {trial.seed}"
    return f"trial {trial.number}: default" if trial.number == DEFAULT_TRIAL else f"trial {trial.number}"


def hover(result: SearchResult, trial: TrialRecord, further: Sequence[str] = ()) -> str:
    """What is told of a trial when one points at it: lines of plotly's own markup."""
    best = [] if trial.best_epoch is None else [_best(result, trial)]
    lines = [*best, f"{trial.state.value} after {trial.last_epoch} epochs", *further, *_wrapped(_settings(trial))]
    if trial.error:
        lines += _wrapped(trial.error[:200])
    return "<br>".join([f"<b>{plain(title_of(result, trial))}</b>", *map(plain, lines)])


def shared_settings(leaves: Sequence[str]) -> dict[str, str]:
    """A short name for each leaf; the whole one where two would be called the same."""
    short = {leaf: short_name(leaf) for leaf in leaves}
    names = list(short.values())
    return {leaf: name if names.count(name) == 1 else leaf for leaf, name in short.items()}


def _best(result: SearchResult, trial: TrialRecord) -> str:
    objective = result.spec.file.objective
    told = [
        f"{quantity(name).title} {quantity(name).told(value)}"
        for name, value in zip(objective.metrics, trial.values, strict=True)
    ]
    return f"{', '.join(told)} at epoch {trial.best_epoch}"


def _settings(trial: TrialRecord) -> str:
    sampled: Mapping[str, Any] = trial.sampled
    return settings_told(sampled) if sampled else "the default configuration"


def _wrapped(text: str, width: int = 44) -> list[str]:
    """Lines that fit beside a pointer on a phone."""
    lines: list[str] = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
