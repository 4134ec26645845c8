"""The five things that can be asked of MLflow, each a line of the spool; asked twice they change nothing."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SEARCH = -1  # the run of the search itself, where a trial has its number


@dataclass(frozen=True)
class Open:
    """There is to be a run, and it is running."""

    search: str
    run: int
    at: int  # ms since 1970; of what happened, not of the writing
    name: str
    below: int | None  # the run it is a child of
    tags: Mapping[str, str] = field(default_factory=dict)
    experiment: Mapping[str, str] = field(default_factory=dict)  # tags of the experiment, where it has no such ones


@dataclass(frozen=True)
class Params:
    """The run has these parameters; those it has already stay as they are."""

    search: str
    run: int
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """The run has these metrics at a step, and these tags."""

    search: str
    run: int
    at: int
    step: int
    epoch: bool = False  # whether they are what a trial reported of the epoch `step`
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Upload:
    """The run has this file."""

    search: str
    run: int
    path: str  # below the search's folder, or absolute
    version: int  # its time of change, in ns


@dataclass(frozen=True)
class Close:
    """The run has ended."""

    search: str
    run: int
    at: int
    status: str
    state: str  # of the trial


Record = Open | Params | Batch | Upload | Close
_KINDS: dict[str, type[Record]] = {kind.__name__.lower(): kind for kind in (Open, Params, Batch, Upload, Close)}


_BODIES = ("values", "metrics", "tags", "experiment")


def to_line(record: Record) -> bytes:
    """The record as two objects of JSON with a tab between them; the second one holds what may be long.

    A float is the same number when it is read again; NaN and infinities too.
    """
    facts = {"do": type(record).__name__.lower(), **vars(record)}
    body = {name: facts.pop(name) for name in _BODIES if name in facts}
    return b"\t".join(json.dumps(each, separators=(",", ":")).encode() for each in (facts, body)) + b"\n"


def from_line(line: bytes, *, whole: bool = True) -> Record | None:
    """The record of a line, or None where there is none: a process was killed in the middle of writing it.

    Without its second part, which takes most of the time, its mappings are empty.
    """
    head, _, body = line.partition(b"\t")
    try:
        facts: dict[str, Any] = json.loads(head)
        return _KINDS[facts.pop("do")](**facts, **(json.loads(body) if whole else {}))
    except (ValueError, TypeError, AttributeError, KeyError):
        return None
