"""Every trial in a table, what ended them, and the errors they ended with."""

from collections import Counter

from tuner.faults import alike
from tuner.history import SearchHistory
from tuner.report.section import Cell, Column, Section, nothing, table_html
from tuner.report.trade import COSTS
from tuner.report.view import first_quantity, quantity, shared_settings
from tuner.result import SearchResult
from tuner.study.record import LOST, TrialKind, TrialRecord, TrialState

_SHOWN = (*COSTS, "firing_rate")
_LONGEST = 160  # letters of an error in the table

_REASONS = {
    TrialState.COMPLETE: "trained for the whole budget, or as long as its patience lasted",
    TrialState.STOPPED: "ended by the scheduler, by the health check, or because the search's budget was spent",
    TrialState.PAUSED: "waits at a rung until it is promoted",
    TrialState.RUNNING: "is being trained",
    TrialState.PREEMPTED: "interrupted; a resumed search goes on with it",
    TrialState.DIVERGED: "its numbers were no longer finite",
    TrialState.OUT_OF_MEMORY: "did not fit into memory",
    TrialState.INFEASIBLE: "broke a constraint before training",
    TrialState.FAILED: "an error ended it",
}


def states_section(history: SearchHistory) -> Section:
    """How many trials ended how, and the errors in groups."""
    title = "How trials ended"
    counts = Counter(trial.state for trial in history.result.trials)
    if not counts:
        return Section("states", title, nothing("No trial has begun yet."))
    columns = [Column("state"), Column("trials", form=",d"), Column("epochs", form=",d"), Column("what it means")]
    rows: list[list[Cell]] = [
        [
            state.value,
            counts[state],
            sum(trial.epochs for trial in history.result.trials if trial.state is state),
            _REASONS[state],
        ]
        for state in TrialState
        if counts[state]
    ]
    html = table_html(columns, rows)
    groups = error_groups(history.result)
    if not groups:
        return Section("states", title, html + nothing("No trial said why it was lost or stopped."))
    told = [
        Column("trials", form=",d"),
        Column("state"),
        Column("what was said of the first of them"),
        Column("their numbers"),
    ]
    lines: list[list[Cell]] = [
        [len(trials), trials[0].state.value, _short(trials[0].error or ""), _numbers(trials)] for trials in groups
    ]
    return Section("states", title, html + table_html(told, lines))


def error_groups(result: SearchResult) -> list[list[TrialRecord]]:
    """The trials that said why they ended, together where state and words are the same but for numbers."""
    groups = alike(trial for trial in result.trials if trial.error)
    return sorted(groups, key=lambda trials: (trials[0].state not in LOST, -len(trials)))


def table_section(history: SearchHistory) -> Section:
    """A row for each trial."""
    result = history.result
    if not result.trials:
        return Section("trials", "All trials", nothing("No trial has begun yet."))
    leaves = result.spec.space.leaves
    short = shared_settings(leaves)
    metrics = [name for name in _SHOWN if any(name in (trial.metrics or {}) for trial in result.trials)]
    objective = result.spec.file.objective.metric
    first = [Column(first_quantity(result).title, first_quantity(result).unit)]
    columns = [
        Column("trial", form="d"),
        Column("state"),
        *first,
        Column("at epoch", form="d"),
        Column("epochs", form="d"),
        Column("on workers", "min", ".1f"),
        *(Column(quantity(name).title, quantity(name).unit, ",.4g") for name in metrics if name != objective),
        *(Column(short[leaf]) for leaf in leaves),
        Column("kind"),
        Column("node"),
        Column("said"),
    ]
    rows = [_row(trial, leaves, [name for name in metrics if name != objective]) for trial in result.trials]
    return Section("trials", f"All {len(rows):,} trials", table_html(columns, rows))


def _row(trial: TrialRecord, leaves: list[str], metrics: list[str]) -> list[Cell]:
    known, sampled = trial.metrics or {}, trial.config
    kind = "search" if trial.origin.kind is TrialKind.SEARCH else f"repeats {trial.origin.repeats}"
    return [
        trial.number,
        trial.state.value,
        trial.values[0] if trial.best_epoch is not None else None,
        trial.best_epoch,
        trial.epochs,
        trial.busy_s / 60,
        *(known.get(name) for name in metrics),
        *(_setting(sampled.get(leaf)) for leaf in leaves),
        f"heir of {trial.origin.donor}" if trial.origin.donor is not None else kind,
        trial.node,
        _short(trial.error or trial.diagnosis or "") or None,
    ]


def _setting(value: object) -> Cell:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None if value is None else str(value)
    return value


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _numbers(trials: list[TrialRecord]) -> str:
    told = ", ".join(str(trial.number) for trial in trials[:12])
    return f"{told} and {len(trials) - 12} more" if len(trials) > 12 else told
