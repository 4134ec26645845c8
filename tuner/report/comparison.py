"""Several searches on one page, and what forbids to compare their numbers."""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import plotly.graph_objects as go
from markupsafe import Markup

from data.errors import InputError
from data.storage import whole_text
from tuner.history import SearchHistory, read_history
from tuner.intervals import mean_interval
from tuner.leaves import flat
from tuner.report.answer import winner_repeats
from tuner.report.page import page_html
from tuner.report.section import Cell, Column, Section, figure_html, nothing, paragraph, table_html
from tuner.report.spending import Rise, rise
from tuner.report.view import first_quantity, plain
from tuner.study.record import TrialKind

COMPARISON = "comparison.html"
_COLOURS = ("#2f80d0", "#e8590c", "#1fa37a", "#8c7ae6", "#d6336c", "#a9803f", "#4aa8b5", "#8593a6")
_DIGEST = 12  # letters that are shown of one


def write_comparison(folders: Sequence[Path], out: Path | None = None) -> Path:
    """Write the page that sets searches side by side; where it is.

    Args:
        folders: of the searches.
        out: file to write; comparison.html in the working directory unless given.

    Raises:
        InputError: a folder holds no search that can be read, or one is given twice.
    """
    twice = [folder for folder in folders if [one.resolve() for one in folders].count(folder.resolve()) > 1]
    if twice:
        raise InputError(f"{twice[0]}: is given twice; leave one of them out")
    at = datetime.now().astimezone()
    histories = [read_history(folder) for folder in folders]
    target = out if out is not None else Path(COMPARISON)
    whole_text(target, page_html(f"{len(histories)} searches compared", comparison_sections(histories), at))
    return target


def comparison_sections(histories: Sequence[SearchHistory]) -> list[Section]:
    """What differs, what they came to, and how they got there."""
    return [_overview(histories), _rises(histories), _keys(histories)]


def incomparable(histories: Sequence[SearchHistory]) -> list[str]:
    """Why the searches' values mean different things, in words; empty if they can be compared."""
    found = []
    for name, values in _meanings(histories).items():
        if len(set(values)) > 1:
            told = "; ".join(f"{h.result.search_id}: {value}" for h, value in zip(histories, values, strict=True))
            found.append(f"{name} differs ({told})")
    return found


def _meanings(histories: Sequence[SearchHistory]) -> dict[str, list[str]]:
    objectives = [history.result.spec.file.objective for history in histories]
    return {
        "objective": [f"{one.metric} {one.mode.value}" for one in objectives],
        "split": [one.split.value for one in objectives],
        "windows": ["all" if one.windows is None else str(one.windows) for one in objectives],
        "dataset": [history.identity.digest[:_DIGEST] for history in histories],
    }


def _overview(histories: Sequence[SearchHistory]) -> Section:
    why = incomparable(histories)
    html = paragraph("All searches have the same objective, windows and dataset: their values can be compared.")
    if why:
        html = Markup('<p class="warning" role="alert">The values below cannot be compared: {}.</p>').format(
            "; ".join(why)
        )
    columns = [
        Column("search"),
        Column("sampler"),
        Column("scheduler"),
        Column("objective"),
        Column("split"),
        Column("windows", form=",d"),
        Column("dataset digest"),
        Column("trials", form=",d"),
        Column("epochs", form=",d"),
        Column("on workers", "h", ".2f"),
        Column("best", "of the objective"),
        Column("default", "of the objective"),
        Column("95 % interval over seeds", "of the objective"),
    ]
    return Section("overview", "Side by side", html + table_html(columns, [_row(history) for history in histories]))


def _row(history: SearchHistory) -> list[Cell]:
    result, file = history.result, history.result.spec.file
    best, default = result.best, result.default
    interval = None if best is None else mean_interval(winner_repeats(result, best))
    return [
        result.search_id,
        file.sampler.name.value,
        file.scheduler.name.value,
        f"{file.objective.metric} {file.objective.mode.value}",
        file.objective.split.value,
        file.objective.windows,
        history.identity.digest[:_DIGEST],
        sum(trial.origin.kind is TrialKind.SEARCH for trial in result.trials),
        sum(trial.epochs for trial in result.trials),
        sum(trial.busy_s for trial in result.trials) / 3600,
        None if best is None else best.values[0],
        None if default is None else default.values[0],
        None if interval is None else f"{interval[0]:.4g} to {interval[1]:.4g}",
    ]


def _rises(histories: Sequence[SearchHistory]) -> Section:
    rises = [(history, rise(history)) for history in histories]
    known = [(history, one) for history, one in rises if one.best]
    title = "How fast they rose"
    if not known:
        return Section("rise", title, nothing("No search has reported a value yet."))
    says = "Best value so far against {}: a line for each search; the higher line is ahead at equal cost."
    if any(history.result.spec.file.objective.mode.value == "min" for history in histories):
        says = "Best value so far against {}: a line for each search, the lower line ahead where smaller is better."
    html = figure_html(
        _figure(known, hours=False), says.format("the epochs all trials of a search had trained by then")
    )
    timed = [(history, one) for history, one in known if one.hours is not None]
    if timed:
        html += figure_html(_figure(timed, hours=True), says.format("the hours that a search had run"))
    missing = [history.result.search_id for history, one in known if one.hours is None]
    if missing:
        html += nothing(f"No times are kept in the study of {', '.join(missing)}.")
    return Section("rise", title, html)


def _figure(known: Sequence[tuple[SearchHistory, Rise]], *, hours: bool) -> go.Figure:
    figure = go.Figure()
    for place, (history, one) in enumerate(known):
        figure.add_scatter(
            mode="lines+markers",
            name=plain(history.result.search_id),
            x=one.hours if hours else one.epochs,
            y=one.best,
            line={"shape": "hv", "color": _COLOURS[place % len(_COLOURS)], "width": 2},
            marker={"size": 5},
            hovertemplate="%{y:.4g} after %{x:.4g} " + ("h" if hours else "epochs"),
        )
    labels = {first_quantity(history.result).label for history, _ in known}
    figure.update_layout(
        height=380,
        showlegend=True,
        xaxis={
            "title": {"text": "time the search had run (h)" if hours else "epochs of all trials"},
            "rangemode": "tozero",
        },
        yaxis={"title": {"text": labels.pop() if len(labels) == 1 else "objective (differs between them)"}},
    )
    return figure


def _keys(histories: Sequence[SearchHistory]) -> Section:
    dumps = [flat(history.result.spec.file.model_dump(mode="json")) for history in histories]
    trees = [{key: json.dumps(value) for key, value in dump.items()} for dump in dumps]
    keys = list(dict.fromkeys(key for tree in trees for key in tree))
    differing = [key for key in keys if len({tree.get(key, "–") for tree in trees}) > 1]
    title = "What differs in their specifications"
    if not differing:
        return Section("keys", title, nothing("Nothing: they were given the same specification."))
    columns = [Column("key"), *(Column(history.result.search_id) for history in histories)]
    return Section("keys", title, table_html(columns, [[key, *(tree.get(key) for tree in trees)] for key in differing]))
