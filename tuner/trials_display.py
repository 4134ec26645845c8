"""The trials of a search, for people."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tuner.durations import duration
from tuner.trials_table import Cell, Trials
from tuner.wording import metric_told, settings_told, short_value

_NOT_SHOWN = {"kind", "best_epoch", "begun_s", "ended_s"}  # --json, --csv and --arrow have them
_EMPTY_DROPPED = {"repeats", "violation", "cost", "node", "error", "diagnosis"}
_HEADS = {"number": "trial", "busy_s": "busy"}


def show_trials(console: Console, trials: Trials) -> None:
    """Print the table: numbers in few digits, settings in one column, and no column in which nothing stands."""
    cells = [
        [_told(column.name, cell) for column, cell in zip(trials.columns, row, strict=True)] for row in trials.rows
    ]
    shown = [place for place, column in enumerate(trials.columns) if not column.leaf and column.name not in _NOT_SHOWN]
    kept = [p for p in shown if trials.columns[p].name not in _EMPTY_DROPPED or any(row[p] for row in cells)]
    table = Table(title=trials.search_id)
    for place in kept:
        column = trials.columns[place]
        head = _HEADS.get(column.name, metric_told(column.name))
        table.add_column(head, justify="left" if column.kind is str else "right", overflow="fold")
    table.add_column("settings", overflow="fold")
    for row, told in zip(trials.rows, cells, strict=True):
        leaves = {c.name: cell for c, cell in zip(trials.columns, row, strict=True) if c.leaf and cell is not None}
        table.add_row(*(escape(told[place]) for place in kept), escape(settings_told(leaves)))
    console.print(table)


def _told(name: str, cell: Cell) -> str:
    if cell is None or (name == "violation" and cell == 0) or (name == "cost" and cell == 0):
        return ""
    if name == "busy_s" and isinstance(cell, float):
        return duration(cell)
    if name == "diagnosis":  # its severity and cause; `spiketune explain` tells all of it
        cause = str(cell).split(":")[0]
        return "" if cause == "no fault found" else cause
    return short_value(cell)
