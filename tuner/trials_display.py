"""The trials of a search, for people."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tuner.durations import duration
from tuner.trials_table import Cell, Column, Trials
from tuner.wording import metric_told, settings_told, short_value

_HEADS = {"number": "trial", "busy_s": "busy"}
_NOTES = ("error", "diagnosis")  # in one column, the first of them that there is
_ROOM = 30  # that long notes leave to the settings


def show_trials(console: Console, trials: Trials) -> None:
    """Print the table: numbers in few digits, settings and notes in a column each, and none in which nothing stands."""
    rows = trials.dicts()
    shown = [column for column in trials.columns if not (column.detail or column.leaf or column.name in _NOTES)]
    shown = [column for column in shown if any(_told(column.name, row[column.name]) for row in rows) or not rows]
    notes = any(_note(row) for row in rows)
    table = Table(title=trials.search_id)
    for column in shown:
        head = _HEADS.get(column.name, metric_told(column.name))
        table.add_column(head, justify="left" if column.kind is str else "right", overflow="fold")
    if notes:
        table.add_column("note", overflow="fold")
    table.add_column("settings", overflow="fold", min_width=_ROOM)
    for row in rows:
        cells = [_told(column.name, row[column.name]) for column in shown]
        cells += [_note(row)] * notes + [_settings(trials.columns, row)]
        table.add_row(*map(escape, cells))
    console.print(table)


def _settings(columns: Sequence[Column], row: Mapping[str, Cell]) -> str:
    leaves = {column.name: row[column.name] for column in columns if column.leaf and row[column.name] is not None}
    again = "" if row["repeats"] is None else f"trial {row['repeats']} again: "
    return again + settings_told(leaves)


def _note(row: Mapping[str, Cell]) -> str:
    if row["error"]:
        return str(row["error"])
    cause = str(row["diagnosis"] or "").split(":")[0]  # its severity too; `spiketune explain` tells all of it
    return "" if cause == "no fault found" else cause


def _told(name: str, cell: Cell) -> str:
    if cell is None or (name in ("violation", "cost") and cell == 0):
        return ""
    return duration(cell) if name == "busy_s" and isinstance(cell, float) else short_value(cell)
