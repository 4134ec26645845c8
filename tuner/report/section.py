"""What a page is made of: sections, figures and tables, in which everything that comes from data is escaped."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from plotly.graph_objects import Figure

ABSENT = "–"
SHOWN = 100  # rows of a long table that are seen before all are asked for
LONG = 300  # rows from which a table is long
_WORDY = 50  # letters from which a cell needs room

Cell = str | int | float | None


@dataclass(frozen=True)
class Section:
    """A part of the page, with its own line in the table of contents.

    Its html may hold no script and no style sheet: the page's policy runs its own alone. Pictures and clips are
    `data:` addresses.
    """

    anchor: str  # unique on the page
    title: str
    html: Markup


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    title: str
    unit: str = ""
    form: str = ".4g"  # how its numbers are written


def figure_html(figure: Figure, says: str) -> Markup:
    """A figure without plotly's library, which the page carries once.

    Args:
        figure: colours of paper, text and grid are the page's, by day and by night; so leave its template alone.
        says: one sentence: what it shows and how it is read.
    """
    figure.update_layout(template=None)
    # In a script only `<` can end it, and a data block is never run.
    told = str(figure.to_json()).replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    return Markup(
        '<figure class="plot"><div class="canvas" style="height:{}px" role="img" aria-label="{}"></div>'
        '<script type="application/json">{}</script><figcaption>{}</figcaption></figure>'
    ).format(figure.layout.height or 420, says, Markup(told), says)  # noqa: S704 - escaped above


def table_html(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> Markup:
    """A table that is sorted by a click on a column's head; numbers as numbers, what is absent last."""
    heads = Markup("").join(map(_head, columns))
    body = Markup("").join(_row(columns, row, k >= SHOWN and len(rows) > LONG) for k, row in enumerate(rows))
    more = Markup("")
    if len(rows) > LONG:
        more = Markup('<button type="button" class="more" data-shown="{}">show all {:,} rows</button>').format(
            SHOWN, len(rows)
        )
    return Markup(
        '<div class="scroll" tabindex="0" role="region" aria-label="table"><table class="sortable">'
        "<thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>{}"
    ).format(heads, body, more)


def pairs_html(pairs: Iterable[tuple[str, str]]) -> Markup:
    """Names beside what is told of them."""
    told = Markup("").join(Markup("<dt>{}</dt><dd>{}</dd>").format(name, text) for name, text in pairs)
    return Markup("<dl>{}</dl>").format(told)


def paragraph(text: str) -> Markup:
    """A paragraph of plain text."""
    return Markup("<p>{}</p>").format(text)


def nothing(why: str) -> Markup:
    """Why there is nothing to show, in place of an empty figure."""
    return Markup('<p class="nothing">{}</p>').format(why)


def _head(column: Column) -> Markup:
    unit = Markup(' <span class="unit">{}</span>').format(column.unit) if column.unit else ""
    return Markup('<th scope="col"><button type="button">{}{}</button></th>').format(column.title, unit)


def _row(columns: Sequence[Column], row: Sequence[Cell], hidden: bool) -> Markup:
    cells = Markup("").join(_cell(column, cell) for column, cell in zip(columns, row, strict=True))
    return Markup("<tr{}>{}</tr>").format(Markup(" hidden") if hidden else "", cells)


def _cell(column: Column, cell: Cell) -> Markup:
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return Markup('<td class="absent">{}</td>').format(ABSENT)
    if isinstance(cell, str):  # markup too, which is not escaped again
        return Markup("<td{}>{}</td>").format(Markup(' class="long"') if len(cell) > _WORDY else "", cell)
    return Markup('<td class="number" data-value="{}">{}</td>').format(repr(cell), format(cell, column.form))
