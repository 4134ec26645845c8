"""The table a benchmark prints, and the rows it writes."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

console = Console()
Row = dict[str, Any]


def row(figure: str, ours: float, peer: float, least: float, *, smaller_is_better: bool = False) -> Row:
    """A figure against a peer's: `ratio` says how many times better ours is, and must be at least `least`."""
    ratio = (peer / ours if smaller_is_better else ours / peer) if ours and peer else float("nan")
    return {
        "figure": figure,
        "ours": ours,
        "peer": peer,
        "ratio": ratio,
        "must": f">= {least:g}",
        "holds": ratio >= least,
    }


def limit(figure: str, ours: float, most: float) -> Row:
    """A figure that must stay below a limit; the limit stands in the place of a peer."""
    return {
        "figure": figure,
        "ours": ours,
        "peer": most,
        "ratio": ours / most,
        "must": f"< {most:g}",
        "holds": ours < most,
    }


def finish(rows: list[Row], file: Path | None) -> None:
    """Print the table, and write its rows as JSON where a file is named."""
    table = Table(*rows[0])
    for line in rows:
        table.add_row(*(_text(value) for value in line.values()))
    console.print(table)
    if file is not None:
        file.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
