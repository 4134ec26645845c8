"""The report of one search: its sections in their order, written into its folder."""

from datetime import datetime
from pathlib import Path

from data.storage import whole_text
from tuner.examination.examination import Examination, examine
from tuner.history import SearchHistory, read_history
from tuner.report.answer import answer_section
from tuner.report.course import course_section
from tuner.report.curves import curves_section
from tuner.report.importance import importance_section, importances_by_epoch
from tuner.report.page import page_html
from tuner.report.reproduce import reproduce_section
from tuner.report.section import Section
from tuner.report.settings import settings_section
from tuner.report.trade import constraints_section, trade_section
from tuner.report.trials import states_section, table_section
from tuner.report.winner import winner_sections
from tuner.report.workers import workers_section
from tuner.search_folder import REPORT_FILE


def write_report(folder: Path, out: Path | None = None, *, examined: bool = True) -> Path:
    """Write the page of a search, which may be running; where it is.

    Args:
        folder: of the search.
        out: file to write; report.html in the folder unless given.
        examined: measure the winner, unless that is kept; otherwise what is kept is shown.

    Raises:
        InputError: the folder holds no search that can be read.
    """
    at = datetime.now().astimezone()
    history = read_history(folder)
    examination = examine(history, only_kept=not examined)
    target = out if out is not None else folder / REPORT_FILE
    whole_text(target, page_html(f"Search {history.result.search_id}", search_sections(history, examination), at))
    return target


def search_sections(history: SearchHistory, examination: Examination) -> list[Section]:
    """All that the study tells, and what was measured of its winner."""
    found = importances_by_epoch(history)
    ranked = [one.branch for one in next(reversed(found.values()), [])]  # at the epoch that most have reached
    return [
        answer_section(history, examination),
        course_section(history),
        curves_section(history),
        importance_section(history, found),
        settings_section(history, ranked),
        trade_section(history),
        constraints_section(history),
        *winner_sections(examination),
        workers_section(history),
        states_section(history),
        table_section(history),
        reproduce_section(history),
    ]
