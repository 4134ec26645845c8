"""A search as it was: its result, and what became of each trial and when."""

import difflib
from dataclasses import dataclass
from pathlib import Path

from data.errors import InputError
from tuner.result import SearchResult
from tuner.search_folder import IDENTITY_FILE, RUNS, SPEC_FILE, Identity, latest_folder, read_identity
from tuner.spec.search_spec import load_spec
from tuner.study.history import TrialHistory, read_histories


@dataclass(frozen=True)
class SearchHistory:
    """A search with the histories of its trials, which are those of the result, by number."""

    result: SearchResult
    trials: tuple[TrialHistory, ...]
    identity: Identity


def read_history(folder: Path) -> SearchHistory:
    """The history of a search, from its spec and its study; it may be running.

    Raises:
        InputError: the folder holds no search that can be read.
    """
    identity = read_identity(folder)
    search_id, trials = read_histories(folder, identity.search_id)
    spec = load_spec(folder / SPEC_FILE)
    return SearchHistory(SearchResult(search_id, folder, spec, [one.record for one in trials]), tuple(trials), identity)


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
    known = sorted(file.parent.name for file in RUNS.glob(f"*/{IDENTITY_FILE}"))
    near = difflib.get_close_matches(text, [*known, *{name.rsplit("-", 2)[0] for name in known}], 1)
    hint = f"did you mean '{near[0]}'?" if near else "give the folder a search wrote"
    raise InputError(f"{text}: is no search, neither a folder nor an id or a name below {RUNS}/; {hint}")
