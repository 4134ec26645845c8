"""Reads a study at once and without Optuna: its tables hold a row for each fact, and its objects for them take seconds.

Only what this package wrote itself is read, the attributes of the study and of its trials.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_core import from_json  # twice as fast as Python's own

from data.errors import DatasetError
from tuner.study.address import SQLITE, STUDY_FILE, URL_VARIABLE, study_url, told_url

Query = Callable[[str, Mapping[str, Any]], Sequence[Sequence[Any]]]

_STUDIES = "SELECT study_id, study_name FROM studies ORDER BY study_id"
_TRIALS = """\
SELECT t.number, t.state, a.key, a.value_json FROM trials t
LEFT JOIN trial_user_attributes a ON a.trial_id = t.trial_id WHERE t.study_id = :study ORDER BY t.number"""
_FACTS = "SELECT key, value_json FROM study_user_attributes WHERE study_id = :study"


@dataclass(frozen=True)
class Row:
    """A trial as the database has it."""

    number: int
    running: bool  # so it says; a trial's attributes say what else it may be
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class StudyRows:
    """A study as the database has it."""

    name: str
    facts: Mapping[str, Any]
    trials: Sequence[Row] = field(repr=False)


def read_rows(folder: Path, name: str | None = None) -> StudyRows:
    """The study of this name, or the only one, of the folder's database.

    Raises:
        DatasetError: there is no study in the folder, or it cannot be read.
    """
    url = study_url(folder)
    if url.startswith(SQLITE) and not Path(url.removeprefix(SQLITE)).is_file():
        raise DatasetError(f"{folder}: holds no {STUDY_FILE}, so no search ran there; give the folder a search wrote")
    with _connected(url) as query:
        known = {found: number for number, found in query(_STUDIES, {})}
        wanted = name or next(iter(known), "")
        if wanted not in known:
            raise DatasetError(f"{told_url(url)}: holds no study '{wanted}'; is {URL_VARIABLE} right?")
        trials: dict[int, tuple[bool, dict[str, Any]]] = {}
        for number, state, key, text in query(_TRIALS, {"study": known[wanted]}):
            _, facts = trials.setdefault(number, (state == "RUNNING", {}))
            if key is not None:
                facts[key] = from_json(text)
        # After the trials: names of metrics are written before the epochs that need them.
        facts = {key: from_json(text) for key, text in query(_FACTS, {"study": known[wanted]})}
    return StudyRows(wanted, facts, [Row(number, *found) for number, found in trials.items()])


@contextmanager
def _connected(url: str) -> Iterator[Query]:
    with _file(Path(url.removeprefix(SQLITE))) if url.startswith(SQLITE) else _server(url) as query:
        yield query


@contextmanager
def _file(path: Path) -> Iterator[Query]:
    try:
        with closing(sqlite3.connect(path, timeout=60)) as connection:
            yield lambda text, given: connection.execute(text, given).fetchall()
    except sqlite3.Error as error:
        raise DatasetError(f"{path}: is no study that can be read: {error}") from None


@contextmanager
def _server(url: str) -> Iterator[Query]:
    import sqlalchemy

    try:
        engine = sqlalchemy.create_engine(url)
        try:
            with engine.connect() as connection:
                yield lambda text, given: [tuple(row) for row in connection.execute(sqlalchemy.text(text), given)]
        finally:
            engine.dispose()
    except (sqlalchemy.exc.SQLAlchemyError, ImportError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DatasetError(f"{told_url(url)}: is no study that can be read: {reason}") from None
