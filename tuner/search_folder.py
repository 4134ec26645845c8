"""A search's folder: its spec and identity, so that any later process can go on with it; one process at a time."""

import fcntl
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from filelock import FileLock, Timeout

from data.errors import InputError
from data.storage import whole_text
from tuner.output import new_folder
from tuner.study.address import URL_VARIABLE

if TYPE_CHECKING:  # what a search runs on takes seconds to import, and its folder is also read at a glance
    from data.dataset import Dataset
    from tuner.spec.search_spec import SearchSpec

SPEC_FILE = "spec.yaml"
IDENTITY_FILE = "search.json"
LOCK_FILE = ".lock"
RESULT_FILE = "result.json"
REPORT_FILE = "report.html"
RUNS = Path("runs")
_STAMP = re.compile(r"-\d{8}-\d{6}(-[0-9a-f]{4})?$")
# What a resumed search may change; everything else would make its trials incomparable.
MAY_CHANGE = frozenset({"budget", "resources", "repeat", "warm_start", "mlflow"})


@dataclass(frozen=True)
class Identity:
    """Which search the folder is, and on what."""

    search_id: str
    dataset: str  # where it was
    digest: str  # of the dataset: a search never goes on with another


def new_search_id(name: str) -> str:
    """NAME-YYYYmmdd-HHMMSS, in local time; where a database is shared, with four digits more."""
    stamp = f"{name}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    return f"{stamp}-{secrets.token_hex(2)}" if os.environ.get(URL_VARIABLE) else stamp


def spec_name(search_id: str) -> str:
    """Of the spec, which the time of the search's begin follows."""
    return _STAMP.sub("", search_id)


def search_folders() -> list[Path]:
    """The folders of runs/ with a search, oldest first."""
    found = [file.parent for file in RUNS.glob(f"*/{IDENTITY_FILE}")]
    return sorted(found, key=lambda folder: (folder / IDENTITY_FILE).stat().st_mtime)


def latest_folder(name: str) -> Path | None:
    """The newest folder of runs/ with a search of this name."""
    return next((folder for folder in reversed(search_folders()) if spec_name(folder.name) == name), None)


def begun(spec: "SearchSpec", dataset: "Dataset", out: Path | None, *, resume: bool) -> tuple[Path, Identity]:
    """The folder of a new search, or of the one that is resumed; a search that came to nothing yet is begun.

    Raises:
        InputError: the folder is another's, or the spec or the dataset have changed in what must not.
    """
    folder = out if out is not None else (latest_folder(spec.file.name) if resume else None)
    if resume and folder is not None and (folder / IDENTITY_FILE).is_file():
        return folder, _resumed(spec, dataset, folder)
    identity = Identity(new_search_id(spec.file.name), dataset.location, dataset.digest)
    folder = folder if folder is not None else RUNS / identity.search_id
    if not (resume and folder.is_dir() and {file.name for file in folder.iterdir()} <= {SPEC_FILE, LOCK_FILE}):
        new_folder(folder)
    spec.write(folder / SPEC_FILE)
    whole_text(folder / IDENTITY_FILE, json.dumps(asdict(identity), indent=2) + "\n")
    return folder, identity


def read_identity(folder: Path) -> Identity:
    """Which search the folder is.

    Raises:
        InputError: it is none.
    """
    try:
        return Identity(**json.loads((folder / IDENTITY_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        raise InputError(f"{folder}: holds no {IDENTITY_FILE}; give the folder a search wrote") from None


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep the folder to this process; a process that dies lets go of it.

    Raises:
        InputError: another process has it.
    """
    lock = FileLock(folder / LOCK_FILE, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(f"{folder}: another process is running this search; wait for it, or stop it first") from None
    try:
        (folder / LOCK_FILE).touch()  # its time tells since when
        yield
    finally:
        lock.release()


def held_since(folder: Path) -> float | None:
    """Since when a process has been running the search in this folder, Unix seconds; None if none is."""
    try:
        with (folder / LOCK_FILE).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return (folder / LOCK_FILE).stat().st_mtime
    return None


def _resumed(spec: "SearchSpec", dataset: "Dataset", folder: Path) -> Identity:
    identity = read_identity(folder)
    old = yaml.safe_load((folder / SPEC_FILE).read_text(encoding="utf-8"))
    changed = sorted(_differences(old, spec.as_tree()) - MAY_CHANGE)
    if changed:
        raise InputError(
            f"{folder}: {', '.join(changed)} of the spec changed since the search began; a resumed search may change "
            f"{', '.join(sorted(MAY_CHANGE))} only; undo it, or begin a new search with warm_start: [{folder}]"
        )
    if dataset.digest != identity.digest:
        raise InputError(
            f"{folder}: the dataset {dataset.location} is not the one the search began with ({identity.dataset}); "
            "give that one, or begin a new search"
        )
    spec.write(folder / SPEC_FILE)
    return identity


def _differences(old: Mapping[str, object], new: Mapping[str, object]) -> set[str]:
    return {key for key in {*old, *new} if old.get(key) != new.get(key)}
