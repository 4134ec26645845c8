"""Jobs that search: a spec over a dataset, in a folder that every node sees."""

import io
from pathlib import Path

from rich.console import Console

from data.errors import InputError
from tuner.jobs.kinds import Told, Work, is_let_go
from tuner.jobs.search_order import SPEC_FILE
from tuner.output import plain_console
from tuner.search_folder import IDENTITY_FILE, REPORT_FILE, held_since

SEARCHES = "searches"


def folder_of(work: Work) -> Path:
    """Of the search."""
    return work.shared / SEARCHES / work.job


def run(work: Work) -> str | None:
    """Search, or go on; why it ended early, if a signal asked for that or another driver has it."""
    from tuner.display import show_result
    from tuner.halt import INTERRUPTED, Interrupted
    from tuner.search import run_search
    from tuner.spec.search_spec import load_spec

    folder, dataset = folder_of(work), str(work.order.settings["dataset"])
    if not is_let_go(lambda: held_since(folder) is not None):
        return f"{folder}: another driver has it still"
    try:
        result = run_search(load_spec(work.package / SPEC_FILE), dataset, folder, resume=True)
    except Interrupted:
        return INTERRUPTED
    show_result(plain_console(), result, dataset)
    return INTERRUPTED if result.halted == INTERRUPTED else None


def status(work: Work) -> Told:
    """How the search stands."""
    from tuner.overview import read_overview
    from tuner.status import status_of
    from tuner.status_display import show_status

    found = status_of(read_overview(_begun(work)))
    text = io.StringIO()
    show_status(_console(text), found, go_on=f"spiketune resume {work.job}")
    return Told(found.as_dict(), text.getvalue())


def results(work: Work) -> Told:
    """What the search has found."""
    from tuner.display import show_result
    from tuner.result import read_result

    result = read_result(_begun(work))
    text = io.StringIO()
    show_result(_console(text), result, str(work.order.settings["dataset"]))
    return Told(result.as_dict(), text.getvalue())


def files(work: Work) -> list[Path]:
    """The winner, and the report."""
    from tuner.result import BEST_CHECKPOINT, BEST_CONFIG

    found = (folder_of(work) / name for name in (BEST_CONFIG, BEST_CHECKPOINT, REPORT_FILE))
    return [path for path in found if path.is_file()]


def trial_errors(work: Work, trial: int) -> str:
    """What the workers of a trial failed with."""
    from tuner.search import TRIALS_FOLDER
    from tuner.trial import leg_name

    found = sorted((folder_of(work) / TRIALS_FOLDER).glob(f"{leg_name(trial, 1)}*/error.txt"))
    return "".join(f"\n--- {path.parent.name}\n{path.read_text(encoding='utf-8', errors='replace')}" for path in found)


def _begun(work: Work) -> Path:
    folder = folder_of(work)
    if not (folder / IDENTITY_FILE).is_file():
        raise InputError(f"{work.job}: has not begun yet; `spiketune logs {work.job}` tells what its driver does")
    return folder


def _console(text: io.StringIO) -> Console:
    """As wide as `plain_console` where there is no terminal; who reads it may be anywhere."""
    return Console(file=text, highlight=False, width=150)
