"""An ablation's files: its tables as Markdown, its numbers as JSON and CSV."""

import csv
import dataclasses
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.storage import whole_text
from tuner.ablation.cells import TITLES, cells, header
from tuner.ablation.spec import Column
from tuner.ablation.table import Line, Table


def markdown(tables: Sequence[Table], columns: Sequence[Column], objective: str) -> str:
    """The tables, each under its heading."""
    parts = []
    for table in tables:
        head = header(table, columns, objective)
        rows = [head, ["---"] * len(head), *cells(table, columns)]
        body = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
        parts.append(f"### {TITLES[table.design]}\n\n{body}\n")
    return "\n".join(parts)


def as_tree(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """The tables' numbers as JSON values; null for what is not known."""
    return [{"design": table.design.value, "lines": [_line(line) for line in table.lines]} for table in tables]


def _line(line: Line) -> dict[str, Any]:
    tree = dataclasses.asdict(line)
    if line.gain is not None:
        tree["gain"]["significant"] = line.gain.significant
    return {name: _finite(value) for name, value in tree.items()}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_csv(tables: Sequence[Table], path: Path) -> None:
    """One line for each of all tables, numbers in full."""
    lines = [{"design": table.design.value, **_flat(line)} for table in tables for line in table.lines]
    names = list(dict.fromkeys(name for line in lines for name in line))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    whole_text(path, text.getvalue())


def _flat(line: Line) -> dict[str, Any]:
    flat: dict[str, Any] = {"configuration": line.name, "claimed": line.claimed}
    tree = _line(line)
    for mean, numbers in tree["means"].items():
        flat |= {mean: numbers["value"], f"{mean}_margin": numbers["margin"], "seeds": numbers["count"]}
    for part in ("speed_up", "costs"):
        for name, value in (tree[part] or {}).items():
            flat[f"{part}_{name}"] = value
    gain = tree["gain"]
    if gain is not None:
        flat |= {f"gain_{name}": value for name, value in gain["difference"].items()}
        flat |= {"adjusted_p": gain["adjusted_p"], "significant": gain["significant"]}
    return {**flat, "missing": sum(line.missing.values())}


def write_json(path: Path, tree: dict[str, Any]) -> None:
    """The whole result."""
    whole_text(path, json.dumps(tree, indent=2, allow_nan=False) + "\n")
