"""A search as it was: its result, and what became of each trial and when."""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import InputError
from tuner.search_folder import (
    IDENTITY_FILE,
    RUNS,
    SPEC_FILE,
    Identity,
    latest_folder,
    read_identity,
    search_folders,
    spec_name,
)
from tuner.study.history import TrialHistory, read_study

if TYPE_CHECKING:
    from tuner.result import SearchResult


@dataclass(frozen=True)
class SearchHistory:
    """A search with the histories of its trials, which are those of the result, by number."""

    result: "SearchResult"
    trials: tuple[TrialHistory, ...]
    identity: Identity


def read_history(folder: Path) -> SearchHistory:
    """The history of a search, from its spec and its study; it may be running.

    Raises:
        InputError: the folder holds no search that can be read.
    """
    # They load PyTorch for the space, and who only looks for the folder should not have to wait for it.
    from tuner.result import SearchResult
    from tuner.spec.search_spec import load_spec

    identity = read_identity(folder)
    study = read_study(folder, identity.search_id)
    result = SearchResult(
        study.search_id, folder, load_spec(folder / SPEC_FILE), [trial.record for trial in study.trials]
    )
    return SearchHistory(result, study.trials, identity)


def search_folder_of(text: str) -> Path:
    """The folder of a search: given itself, by an id below runs/, or by a spec's name, which means its newest search.

    Raises:
        InputError: there is no such search.
    """
    for folder in (Path(text), RUNS / text):
        if (folder / IDENTITY_FILE).is_file():
            return folder
    newest = latest_folder(text)
    if newest is not None:
        return newest
    if Path(text).exists():
        raise InputError(f"{text}: holds no {IDENTITY_FILE}; give the folder a search wrote")
    known = [folder.name for folder in search_folders()]
    near = difflib.get_close_matches(text, [*sorted({spec_name(name) for name in known}), *known], 1)
    hint = f"did you mean '{near[0]}'?" if near else "give the folder a search wrote"
    raise InputError(f"{text}: is no search, neither a folder nor an id or a name below {RUNS}/; {hint}")
