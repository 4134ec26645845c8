"""The trials of a search as a table: for people, and as CSV or Arrow for their tools."""

import csv
import difflib
import io
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.storage import whole_path, whole_text
from tuner.overview import Overview
from tuner.spec.objective import Mode
from tuner.study.history import TrialHistory
from tuner.study.record import SCORES, TrialState

Cell = bool | int | float | str | None


@dataclass(frozen=True)
class Column:
    """What one column holds; None where a trial has nothing there."""

    name: str
    kind: type[bool] | type[int] | type[float] | type[str]
    falling: bool = False  # the largest is the best, and comes first
    leaf: bool = False  # a setting that the search chose
    detail: bool = False  # for tools; people are told less


@dataclass(frozen=True)
class Trials:
    """Rows of cells, a row a trial."""

    search_id: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def dicts(self) -> list[dict[str, Cell]]:
        """The rows by the names of their columns."""
        return [dict(zip((column.name for column in self.columns), row, strict=True)) for row in self.rows]

    def of_states(self, names: Iterable[str]) -> "Trials":
        """Only trials in one of these states.

        Raises:
            InputError: there is no such state.
        """
        wanted, known = set(names), [state.value for state in TrialState]
        for name in sorted(wanted - set(known)):
            raise InputError(f"--state {name}: must be one of {', '.join(known)}")
        place = self._place("state", "--state")
        return Trials(self.search_id, self.columns, tuple(row for row in self.rows if row[place] in wanted))

    def sorted_by(self, name: str) -> "Trials":
        """By a column: the best first where there is one, else ascending; `-NAME` turns it round.

        Raises:
            InputError: there is no such column.
        """
        place = self._place(name.removeprefix("-"), "--sort")
        falling = self.columns[place].falling is not name.startswith("-")
        known = [row for row in self.rows if not _empty(row[place])]
        unknown = [row for row in self.rows if _empty(row[place])]  # last in any order
        rows = sorted(known, key=lambda row: row[place], reverse=falling)  # type: ignore[arg-type,return-value]
        return Trials(self.search_id, self.columns, (*rows, *unknown))

    def _place(self, name: str, option: str) -> int:
        names = [column.name for column in self.columns]
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(names)}"
            raise InputError(f"{option} {name}: is no column; {hint}")
        return names.index(name)

    def as_csv(self) -> str:
        """A line of names, then one for each trial; nothing where there is nothing."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(column.name for column in self.columns)
        writer.writerows(self.rows)
        return text.getvalue()

    def write_csv(self, path: Path) -> None:
        """Write the table as CSV, in UTF-8."""
        whole_text(path, self.as_csv())

    def write_arrow(self, path: Path) -> None:
        """Write the table as an Arrow IPC file, which is Feather's second version."""
        import pyarrow as pa

        kinds = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
        fields = [pa.field(column.name, kinds[column.kind]) for column in self.columns]
        schema = pa.schema(fields, metadata={"search_id": self.search_id})
        with whole_path(path) as part, pa.OSFile(str(part), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            writer.write_table(pa.Table.from_pylist(self.dicts(), schema=schema))


def trials_of(search: Overview) -> Trials:
    """All trials of a search by number; of a setting the value that was in effect, sampled or not."""
    objective = search.file.objective
    metrics = [Column(n, float, falling=m is Mode.MAX) for n, m in zip(objective.metrics, objective.modes, strict=True)]
    scores = [Column(name, float, falling=True, detail=name == "map75") for name in SCORES]
    metrics += [column for column in scores if column.name not in objective.metrics]
    parts: list[tuple[Column, Callable[[TrialHistory], Any]]] = [*_BEFORE]
    parts += [(column, _metric(column.name)) for column in metrics]
    parts += _AFTER
    for leaf in dict.fromkeys(leaf for record in search.records for leaf in record.sampled):
        values = [record.config.get(leaf) for record in search.records]
        kind = _kind(values)
        parts.append((Column(leaf, kind, leaf=True), _leaf(leaf, kind)))
    parts += _LAST
    columns = tuple(column for column, _ in parts)
    rows = tuple(tuple(read(trial) for _, read in parts) for trial in search.trials)
    return Trials(search.study.search_id, columns, rows)


_BEFORE: Sequence[tuple[Column, Callable[[TrialHistory], Any]]] = (
    (Column("number", int), lambda trial: trial.record.number),
    (Column("state", str), lambda trial: trial.record.state.value),
    (Column("kind", str, detail=True), lambda trial: trial.record.origin.kind.value),
    (Column("repeats", int, detail=True), lambda trial: trial.record.origin.repeats),
    (Column("epochs", int), lambda trial: trial.record.epochs),
    (Column("best_epoch", int, detail=True), lambda trial: trial.record.best_epoch),
)
_AFTER: Sequence[tuple[Column, Callable[[TrialHistory], Any]]] = (
    (Column("violation", float), lambda trial: trial.record.violation),
    (Column("busy_s", float), lambda trial: trial.record.busy_s),
    (Column("cost", float), lambda trial: trial.record.cost),
    (Column("node", str), lambda trial: trial.record.node),
    (Column("begun_s", float, detail=True), lambda trial: trial.begun_s),
    (Column("ended_s", float, detail=True), lambda trial: trial.ended_s),
)
_LAST: Sequence[tuple[Column, Callable[[TrialHistory], Any]]] = (
    (Column("diagnosis", str), lambda trial: trial.record.diagnosis),
    (Column("error", str), lambda trial: trial.record.error),
)


def _metric(name: str) -> Callable[[TrialHistory], float | None]:
    return lambda trial: None if trial.record.metrics is None else trial.record.metrics.get(name)


def _leaf(leaf: str, kind: type) -> Callable[[TrialHistory], Cell]:
    def read(trial: TrialHistory) -> Cell:
        value = trial.record.config.get(leaf)
        if value is None:
            return None
        if kind is str and not isinstance(value, str):
            return json.dumps(value)
        cell: Cell = kind(value)
        return cell

    return read


def _kind(values: Iterable[Any]) -> type[bool] | type[int] | type[float] | type[str]:
    """What a column of these can be: values of one kind, whole numbers among others are numbers, else words."""
    kinds = {type(value) for value in values if value is not None}
    for kind, fits in ((bool, {bool}), (int, {int}), (float, {int, float})):
        if kinds and kinds <= fits:
            return kind
    return str


def _empty(cell: Cell) -> bool:
    return cell is None or (isinstance(cell, float) and math.isnan(cell))
